-- key: problem_id
-- unit: clinic_id
-- changed: updated_at
-- title: Problems
SELECT p.problem_id, p.patient_id, p.clinic_id, p.staff_id, p.problem_code, p.problem_text, p.onset_date, p.resolved_on,
       p.recorded_at, p.status_code, c.time_zone, p.updated_at, p.deleted_at
FROM problems p
LEFT JOIN clinics c ON c.clinic_id = p.clinic_id
