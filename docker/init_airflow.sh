#!/bin/sh
# Prepares Airflow's database: tables, the administrator, the pool of the tasks that talk to Medplum. Safe to repeat:
# what an operator has changed since (a password, the slots) stays.
set -eu

airflow db migrate

# An existing user is left as it is.
airflow users create --role Admin --username "$AIRFLOW_ADMIN_USER" --password "$AIRFLOW_ADMIN_PASSWORD" \
  --firstname Airflow --lastname Administrator --email "$AIRFLOW_ADMIN_EMAIL"

airflow pools get medplum >/dev/null 2>&1 ||
  airflow pools set medplum 4 "Tasks that talk to Medplum at once; each may have several batches in flight (param lanes)."
