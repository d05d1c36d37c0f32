-- key: prescription_id
-- unit: clinic_id
-- changed: updated_at
-- title: Prescriptions
SELECT p.prescription_id, p.patient_id, p.clinic_id, p.staff_id, p.encounter_id, p.drug_code, p.drug_text, p.sig_text,
       p.quantity, p.refills, p.written_at, p.status_code, c.time_zone, p.updated_at, p.deleted_at
FROM prescriptions p
LEFT JOIN clinics c ON c.clinic_id = p.clinic_id
