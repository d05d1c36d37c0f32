-- key: order_id
-- unit: clinic_id
-- changed: updated_at
-- title: Laboratory orders
-- result_ids is a JSON list of the order's results that are not deleted, or NULL. PostgreSQL is told its order, as another one
-- would read as a changed row; the others take that of their index. Written for MySQL and MariaDB; the files beside it name the
-- same aggregate for PostgreSQL and SQLite.
SELECT o.order_id, o.patient_id, o.clinic_id, o.encounter_id, o.staff_id, o.panel_code, o.accession_no, o.ordered_at,
       o.collected_at, o.reported_at, o.status_code, c.time_zone,
       (SELECT JSON_ARRAYAGG(r.result_id)
        FROM lab_results r
        WHERE r.order_id = o.order_id AND r.deleted_at IS NULL) AS result_ids,
       o.updated_at, o.deleted_at
FROM lab_orders o
LEFT JOIN clinics c ON c.clinic_id = o.clinic_id
