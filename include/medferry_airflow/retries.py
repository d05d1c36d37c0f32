"""Which errors are worth another try: decided by type, never by text."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from medferry.errors import TransientError
from medferry.medplum.errors import CertificateRefused, Throttled

QUOTA_WINDOW = timedelta(seconds=60)
"""Medplum fills the points quota again every minute."""

RETRY_BY_TYPE = ExceptionRetryPolicy(
    rules=[
        RetryRule(CertificateRefused, RetryAction.FAIL, reason="A person has to put a certificate right."),
        RetryRule(Throttled, RetryAction.RETRY, QUOTA_WINDOW, "Medplum's quota is used up: wait for the next window."),
        RetryRule(TransientError, RetryAction.RETRY, reason="A system did not answer: try again, later each time."),
    ],
    default=RetryAction.FAIL,
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-migration",
    "retries": 4,
    # The first delay is Airflow's own setting core.default_task_retry_delay; then 2, 4, 8 times as long.
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": RETRY_BY_TYPE,
}
