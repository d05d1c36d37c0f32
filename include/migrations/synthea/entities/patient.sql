-- key: id
-- unit: unit_id
-- title: Patients
-- A patient visits several organizations, so no single unit owns the row.
SELECT p.id, 'shared' AS unit_id,
       p.birthdate, p.deathdate, p.ssn, p.drivers, p.passport,
       p.prefix, p.first, p.middle, p.last, p.suffix, p.maiden,
       p.marital, p.race, p.ethnicity, p.gender, p.birthplace,
       p.address, p.city, p.state, p.county, p.fips, p.zip, p.lat, p.lon,
       p.healthcare_expenses, p.healthcare_coverage, p.income
FROM patients p
