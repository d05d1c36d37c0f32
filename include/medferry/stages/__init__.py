"""The way of the data: prepare, extract, transform, load, finish. One file per verb; Airflow and the CLI call these."""
