-- key: observation_key
-- unit: unit_id
-- title: Observations
-- Synthea writes the parts of a panel as rows of their own, one after the other, and leaves the panel's code out. Rows
-- of one patient, encounter and time that make up a whole panel are brought together: the first carries them all in
-- `panel_rows`, a JSON list of [code, description, value, units, type]. An incomplete set stays single observations.
-- Written for SQLite; the file beside it names the same functions for PostgreSQL.
WITH parts AS (
  SELECT b.*,
         CASE WHEN b.encounter = '' THEN b.patient ELSE b.encounter END AS place,
         CASE
           WHEN b.code IN ('8462-4', '8480-6') THEN '85354-9'
           WHEN b.code IN ('76501-6', '93026-3', '93027-1', '93028-9', '93038-8', '93029-7', '93030-5', '93031-3',
                           '63586-2', '76437-3', '67875-5', '82589-3', '56799-0', '93033-9', '71802-3', '63512-8',
                           '54899-0', '93034-7', '93035-4', '32624-9', '56051-6') THEN '93025-5'
           ELSE b.code
         END AS panel
  FROM observations b
),
counted AS (
  SELECT p.*, ROW_NUMBER() OVER (PARTITION BY p.place, p.code, p.date ORDER BY p.csv_row) AS occurrence
  FROM parts p
),
grouped AS (
  SELECT c.*,
         COUNT(*) OVER panel_of AS parts_found,
         CASE c.panel WHEN '85354-9' THEN 2 WHEN '93025-5' THEN 21 END AS parts_wanted,
         ROW_NUMBER() OVER panel_of AS part,
         JSON_GROUP_ARRAY(JSON_ARRAY(c.code, c.description, c.value, c.units, c.type)) OVER panel_of AS rows_found
  FROM counted c
  WINDOW panel_of AS (PARTITION BY c.patient, c.encounter, c.date, c.panel, c.occurrence ORDER BY c.csv_row
                      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
)
SELECT r.place || '/' || r.code || '/' || r.date || '/' || CAST(r.occurrence AS TEXT) AS observation_key,
       COALESCE(o.id, 'shared') AS unit_id,
       r.date, r.patient, r.encounter, r.category, r.code, r.description, r.value, r.units, r.type,
       CASE WHEN r.parts_found = r.parts_wanted THEN r.panel END AS panel_code,
       r.part,
       CASE WHEN r.parts_found = r.parts_wanted THEN r.rows_found END AS panel_rows
FROM grouped r
LEFT JOIN encounters e ON e.id = r.encounter
LEFT JOIN organizations o ON o.id = e.organization
