-- key: staff_id
-- unit: unit_id
-- changed: updated_at
-- title: Staff
-- The unit is the one clinic of the person's assignments that are not deleted; "shared" with several, or with none.
SELECT s.staff_id,
       COALESCE((SELECT CASE WHEN MIN(a.clinic_id) = MAX(a.clinic_id) THEN MIN(a.clinic_id) END
                 FROM staff_clinics a
                 WHERE a.staff_id = s.staff_id AND a.deleted_at IS NULL), 'shared') AS unit_id,
       s.staff_no, s.npi, s.family_name, s.given_name, s.credential_code, s.sex_code, s.email, s.phone, s.active_flag,
       s.updated_at, s.deleted_at
FROM staff s
