-- As lab_order.sql, with PostgreSQL's aggregate.
SELECT o.order_id, o.patient_id, o.clinic_id, o.encounter_id, o.staff_id, o.panel_code, o.accession_no, o.ordered_at,
       o.collected_at, o.reported_at, o.status_code, c.time_zone,
       (SELECT CAST(JSON_AGG(r.result_id ORDER BY r.result_id) AS text)
        FROM lab_results r
        WHERE r.order_id = o.order_id AND r.deleted_at IS NULL) AS result_ids,
       o.updated_at, o.deleted_at
FROM lab_orders o
LEFT JOIN clinics c ON c.clinic_id = o.clinic_id
