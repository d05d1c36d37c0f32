-- As imaging_study.sql, with PostgreSQL's functions.
SELECT r.id || '/' || r.series_uid || '/' || r.instance_uid AS instance_key,
       COALESCE(o.id, 'shared') AS unit_id,
       r.id, r.date, r.patient, r.encounter, r.procedure_code,
       ROW_NUMBER() OVER study AS part,
       CAST(JSON_AGG(JSON_BUILD_ARRAY(r.series_uid, r.bodysite_code, r.bodysite_description, r.modality_code,
         r.modality_description, r.instance_uid, r.sop_code, r.sop_description)) OVER study AS TEXT) AS instances
FROM imaging_studies r
LEFT JOIN encounters e ON e.id = r.encounter
LEFT JOIN organizations o ON o.id = e.organization
WINDOW study AS (PARTITION BY r.id ORDER BY r.csv_row ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
