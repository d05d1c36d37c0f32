-- key: supply_key
-- unit: unit_id
-- title: Supplies
-- The key is the encounter (the patient where there is none), code and time, and which of several equal ones it is.
SELECT CASE WHEN r.encounter = '' THEN r.patient ELSE r.encounter END || '/' || r.code || '/' || r.date || '/'
         || CAST(ROW_NUMBER() OVER (
              PARTITION BY CASE WHEN r.encounter = '' THEN r.patient ELSE r.encounter END, r.code, r.date
              ORDER BY r.csv_row) AS TEXT) AS supply_key,
       COALESCE(o.id, 'shared') AS unit_id,
       r.date, r.patient, r.encounter, r.code, r.description, r.quantity
FROM supplies r
LEFT JOIN encounters e ON e.id = r.encounter
LEFT JOIN organizations o ON o.id = e.organization
