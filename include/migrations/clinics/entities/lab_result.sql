-- key: result_id
-- unit: clinic_id
-- changed: updated_at
-- title: Laboratory results
SELECT r.result_id, r.order_id, r.patient_id, r.clinic_id, r.encounter_id, r.test_code, r.result_text, r.unit_text,
       r.ref_low, r.ref_high, r.abnormal_flag, r.collected_at, r.status_code, c.time_zone, r.updated_at, r.deleted_at
FROM lab_results r
LEFT JOIN clinics c ON c.clinic_id = r.clinic_id
