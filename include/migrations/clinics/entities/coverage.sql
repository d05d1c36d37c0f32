-- key: policy_id
-- unit: clinic_id
-- changed: updated_at
-- title: Insurance policies
SELECT i.policy_id, i.patient_id, i.clinic_id, i.payer_code, i.payer_name, i.member_no, i.group_no,
       i.relationship_code, i.priority, i.start_on, i.end_on, i.status_code, i.updated_at, i.deleted_at
FROM insurance_policies i
