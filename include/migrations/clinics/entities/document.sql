-- key: document_id
-- unit: clinic_id
-- changed: updated_at
-- title: Documents
SELECT d.document_id, d.patient_id, d.clinic_id, d.encounter_id, d.kind_code, d.received_at, d.mime_type, d.file_name,
       d.content, c.time_zone, d.updated_at, d.deleted_at
FROM documents d
LEFT JOIN clinics c ON c.clinic_id = d.clinic_id
