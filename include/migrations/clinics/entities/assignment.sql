-- key: assignment_id
-- unit: clinic_id
-- changed: updated_at
-- title: Staff assignments
SELECT a.assignment_id, a.staff_id, a.clinic_id, a.role_code, a.specialty_code, a.start_on, a.end_on,
       a.updated_at, a.deleted_at
FROM staff_clinics a
