-- key: location_id
-- unit: clinic_id
-- changed: updated_at
-- title: Locations
SELECT l.location_id, l.clinic_id, l.parent_location_id, l.name, l.kind_code, l.status_code, l.updated_at, l.deleted_at
FROM locations l
