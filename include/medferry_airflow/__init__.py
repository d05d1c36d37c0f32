"""Medferry in Airflow: connections, params, tasks, the DAG builders, a local Airflow. The core knows none of it."""
