"""Medferry: move a legacy SQL health platform to Medplum and prove that every record arrived.

This package is the core. It imports no Airflow: the DAGs in ``dags/`` and the command line
(``medferry.cli.main``) call the same functions.
"""

__version__ = "0.1.0"
