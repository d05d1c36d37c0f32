-- key: org_id
-- unit: unit_id
-- changed: updated_at
-- title: Organisations
SELECT o.org_id, 'shared' AS unit_id, o.name, o.npi, o.phone, o.address_line, o.city, o.state, o.postal_code,
       o.updated_at, o.deleted_at
FROM organizations o
