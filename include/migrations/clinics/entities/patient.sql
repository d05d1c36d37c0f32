-- key: patient_id
-- unit: unit_id
-- changed: updated_at
-- title: Patients
-- The unit is the home clinic; "shared" when registrations that are not deleted name more than one clinic.
-- Address, phones and identifiers are folded in. The legacy system keeps at most one row of each kind that is not
-- deleted; a second one would repeat the key, which stops the run instead of losing a value.
SELECT p.patient_id,
       COALESCE((SELECT CASE WHEN MIN(r.clinic_id) < MAX(r.clinic_id) THEN 'shared' END
                 FROM clinic_registrations r
                 WHERE r.patient_id = p.patient_id AND r.deleted_at IS NULL), p.home_clinic_id) AS unit_id,
       p.mrn, p.home_clinic_id, p.pcp_staff_id, p.family_name, p.given_name, p.middle_name, p.suffix, p.birth_date,
       p.sex_code, p.deceased_on, p.marital_code, p.language_code, p.email, p.merged_into, p.test_flag,
       a.line1 AS address_line1, a.line2 AS address_line2, a.city, a.state, a.postal_code,
       h.number AS home_phone, m.number AS mobile_phone, w.number AS work_phone,
       s.value AS ssn, d.value AS medicaid_number,
       p.updated_at, p.deleted_at
FROM patients p
LEFT JOIN patient_addresses a ON a.patient_id = p.patient_id AND a.is_primary = 'Y' AND a.deleted_at IS NULL
LEFT JOIN patient_phones h ON h.patient_id = p.patient_id AND h.kind_code = 'H' AND h.deleted_at IS NULL
LEFT JOIN patient_phones m ON m.patient_id = p.patient_id AND m.kind_code = 'M' AND m.deleted_at IS NULL
LEFT JOIN patient_phones w ON w.patient_id = p.patient_id AND w.kind_code = 'W' AND w.deleted_at IS NULL
LEFT JOIN patient_identifiers s ON s.patient_id = p.patient_id AND s.type_code = 'SSN' AND s.deleted_at IS NULL
LEFT JOIN patient_identifiers d ON d.patient_id = p.patient_id AND d.type_code = 'MCD' AND d.deleted_at IS NULL
