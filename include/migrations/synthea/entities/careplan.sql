-- key: id
-- unit: unit_id
-- title: Care plans
SELECT r.id, COALESCE(o.id, 'shared') AS unit_id,
       r.start, r.stop, r.patient, r.encounter, r.code, r.description, r.reasoncode, r.reasondescription
FROM careplans r
LEFT JOIN encounters e ON e.id = r.encounter
LEFT JOIN organizations o ON o.id = e.organization
