-- key: note_id
-- unit: clinic_id
-- changed: updated_at
-- title: Notes
SELECT n.note_id, n.patient_id, n.clinic_id, n.staff_id, n.encounter_id, n.kind_code, n.written_at, n.title, n.body,
       n.status_code, c.time_zone, n.updated_at, n.deleted_at
FROM notes n
LEFT JOIN clinics c ON c.clinic_id = n.clinic_id
