-- key: id
-- unit: unit
SELECT id, unit, clinic_id, family, born, sex, deleted_at FROM patient
