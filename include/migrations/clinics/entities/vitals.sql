-- key: vitals_id
-- unit: clinic_id
-- changed: updated_at
-- title: Vital signs
SELECT v.vitals_id, v.patient_id, v.clinic_id, v.encounter_id, v.staff_id, v.taken_at, v.weight, v.weight_unit,
       v.height, v.height_unit, v.systolic, v.diastolic, v.heart_rate, v.temperature, v.temperature_unit, v.spo2,
       c.time_zone, v.updated_at, v.deleted_at
FROM vitals v
LEFT JOIN clinics c ON c.clinic_id = v.clinic_id
