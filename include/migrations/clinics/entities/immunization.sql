-- key: immunization_id
-- unit: clinic_id
-- changed: updated_at
-- title: Immunizations
-- earlier_id is the lowest earlier row of the patient that is not deleted and says the same.
SELECT i.immunization_id, i.patient_id, i.clinic_id, i.staff_id, i.encounter_id, i.vaccine_code, i.given_on, i.lot_no,
       i.site_code, i.status_code,
       (SELECT MIN(d.immunization_id)
        FROM immunizations d
        WHERE d.patient_id = i.patient_id AND d.immunization_id < i.immunization_id AND d.deleted_at IS NULL
          AND d.vaccine_code = i.vaccine_code AND d.given_on = i.given_on AND d.lot_no = i.lot_no) AS earlier_id,
       i.updated_at, i.deleted_at
FROM immunizations i
