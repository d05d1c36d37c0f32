-- key: clinic_id
-- unit: unit_id
-- changed: updated_at
-- title: Clinics
SELECT c.clinic_id, 'shared' AS unit_id, c.org_id, c.name, c.npi, c.phone, c.address_line, c.city, c.state,
       c.postal_code, c.time_zone, c.opened_on, c.updated_at, c.deleted_at
FROM clinics c
