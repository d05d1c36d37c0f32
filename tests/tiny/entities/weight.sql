-- key: id
-- unit: unit
-- changed: updated_at
-- dated: taken_at
SELECT id, unit, patient_id, kg, taken_at, updated_at FROM weight
