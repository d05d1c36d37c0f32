-- key: encounter_id
-- unit: clinic_id
-- changed: updated_at
-- title: Encounters
SELECT e.encounter_id, e.patient_id, e.clinic_id, e.staff_id, e.location_id, e.appointment_id, e.class_code,
       e.status_code, e.started_at, e.ended_at, e.reason_text, c.time_zone, e.updated_at, e.deleted_at
FROM encounters e
LEFT JOIN clinics c ON c.clinic_id = e.clinic_id
