-- key: id
-- unit: unit
SELECT id, 'shared' AS unit, clinic_id, family FROM staff
