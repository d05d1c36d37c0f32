#!/bin/sh
# Prepares Airflow's database: tables, the administrator. Safe to repeat: what an operator has changed since (a password)
# stays.
set -eu

airflow db migrate

# An existing user is left as it is.
airflow users create --role Admin --username "$AIRFLOW_ADMIN_USER" --password "$AIRFLOW_ADMIN_PASSWORD" \
  --firstname Airflow --lastname Administrator --email "$AIRFLOW_ADMIN_EMAIL"
