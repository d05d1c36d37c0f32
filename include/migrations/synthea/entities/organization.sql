-- key: id
-- unit: unit_id
-- title: Organizations
SELECT o.id, 'shared' AS unit_id,
       o.name, o.address, o.city, o.state, o.zip, o.lat, o.lon, o.phone, o.npi, o.revenue, o.utilization
FROM organizations o
