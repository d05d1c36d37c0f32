-- key: appointment_id
-- unit: clinic_id
-- changed: updated_at
-- title: Appointments
SELECT a.appointment_id, a.patient_id, a.clinic_id, a.staff_id, a.location_id, a.starts_at, a.minutes, a.status_code,
       a.type_code, a.reason_text, c.time_zone, a.updated_at, a.deleted_at
FROM appointments a
LEFT JOIN clinics c ON c.clinic_id = a.clinic_id
