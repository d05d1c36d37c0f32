-- key: id
-- unit: unit_id
-- title: Providers
SELECT p.id, 'shared' AS unit_id,
       p.organization, p.name, p.gender, p.speciality, p.address, p.city, p.state, p.zip, p.lat, p.lon, p.npi,
       p.encounters, p.procedures
FROM providers p
