-- key: coverage_key
-- unit: unit_id
-- title: Coverages
-- One row a stretch of time with one payer. The same patient can begin two on one day: they are counted.
SELECT r.patient || '/' || r.start_date || '/'
         || CAST(ROW_NUMBER() OVER (PARTITION BY r.patient, r.start_date ORDER BY r.csv_row) AS TEXT) AS coverage_key,
       'shared' AS unit_id,
       r.patient, r.memberid, r.start_date, r.end_date, r.payer, p.name AS payer_name,
       r.secondary_payer, r.plan_ownership, r.owner_name
FROM payer_transitions r
LEFT JOIN payers p ON p.id = r.payer
