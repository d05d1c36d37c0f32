-- key: id
-- unit: unit_id
-- title: Encounters
-- The unit is the organization; "shared" when organizations.csv does not hold it, so that the row is not overlooked.
SELECT r.id, COALESCE(o.id, 'shared') AS unit_id,
       r.start, r.stop, r.patient, r.organization, r.provider, r.payer, r.encounterclass, r.code, r.description,
       r.base_encounter_cost, r.total_claim_cost, r.payer_coverage, r.reasoncode, r.reasondescription
FROM encounters r
LEFT JOIN organizations o ON o.id = r.organization
