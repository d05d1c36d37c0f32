"""Refuse what a DAG run was asked for when it is not what the DAG offers: Airflow takes any name in a conf.

A mistyped name would be passed over, and the run would do what nobody asked for: ``{"unit": ["harbor"]}`` would migrate
all units, ``{"dryrun": true}`` would write. The values of names that it knows Airflow checks when it makes the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medferry.errors import SettingsError
from medferry.runtime.options import refuse_unknown


def refuse_unknown_conf(context: Mapping[str, Any]) -> None:
    """Check the conf of a DAG run against the params of its DAG; runs before every task (``pre_execute``).

    Raises OptionError for an unknown name, SettingsError when this Airflow passes the conf over.
    """
    asked = context["dag_run"].conf or {}
    refuse_unknown(list(asked), list(context["dag"].params))
    params = context["params"]
    if any(params.get(name) != value for name, value in asked.items()):
        raise SettingsError(
            "This Airflow does not give the conf of a DAG run to its tasks.",
            "Set AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS to True, then trigger again.",
        )
