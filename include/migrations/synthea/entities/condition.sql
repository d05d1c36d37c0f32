-- key: condition_key
-- unit: unit_id
-- title: Conditions
-- The key is the encounter (the patient where there is none), code and time, and which of several equal ones it is.
SELECT CASE WHEN r.encounter = '' THEN r.patient ELSE r.encounter END || '/' || r.code || '/' || r.start || '/'
         || CAST(ROW_NUMBER() OVER (
              PARTITION BY CASE WHEN r.encounter = '' THEN r.patient ELSE r.encounter END, r.code, r.start
              ORDER BY r.csv_row) AS TEXT) AS condition_key,
       COALESCE(o.id, 'shared') AS unit_id,
       r.start, r.stop, r.patient, r.encounter, r.system, r.code, r.description
FROM conditions r
LEFT JOIN encounters e ON e.id = r.encounter
LEFT JOIN organizations o ON o.id = e.organization
