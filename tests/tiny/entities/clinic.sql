-- key: id
-- unit: unit
SELECT id, 'shared' AS unit, parent_id, name FROM clinic
