-- key: id
-- unit: unit_id
-- title: Payers
SELECT p.id, 'shared' AS unit_id,
       p.name, p.ownership, p.address, p.city, p.state_headquartered, p.zip, p.phone,
       p.amount_covered, p.amount_uncovered, p.revenue, p.covered_encounters, p.uncovered_encounters,
       p.covered_medications, p.uncovered_medications, p.covered_procedures, p.uncovered_procedures,
       p.covered_immunizations, p.uncovered_immunizations, p.unique_customers, p.qols_avg, p.member_months
FROM payers p
