-- key: allergy_id
-- unit: clinic_id
-- changed: updated_at
-- title: Allergies
-- earlier_id is the lowest earlier row of the patient that is not deleted and says the same.
SELECT a.allergy_id, a.patient_id, a.clinic_id, a.staff_id, a.substance_code, a.substance_text, a.kind_code,
       a.severity_code, a.reaction_text, a.onset_date, a.recorded_at, a.status_code, c.time_zone,
       (SELECT MIN(d.allergy_id)
        FROM allergies d
        WHERE d.patient_id = a.patient_id AND d.allergy_id < a.allergy_id AND d.deleted_at IS NULL
          AND d.substance_code = a.substance_code AND d.recorded_at = a.recorded_at
          AND d.reaction_text = a.reaction_text) AS earlier_id,
       a.updated_at, a.deleted_at
FROM allergies a
LEFT JOIN clinics c ON c.clinic_id = a.clinic_id
