"""The question to the plan's people, in Airflow's form, and who has answered it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.execution_time.hitl import HITLUser

from medferry.plan.people import Stakeholder

if TYPE_CHECKING:
    from medferry.workflows.four_eyes import Agreement

log = logging.getLogger(__name__)

NOBODY = HITLUser(id=":nobody", name="nobody")
"""Who may answer where the plan names nobody: to leave it open would let everybody approve."""

PATIENCE = timedelta(hours=8)
"""For an answer; none is a no."""

SOON, SOON_AT_MOST = timedelta(seconds=2), timedelta(seconds=8)
"""A freeze does not wait minutes for another try. Nor for a slot of the pool: these tasks are in none."""


def approval(
    subject: str, body: str, approvers: Sequence[Stakeholder], params: dict[str, Param], task_id: str = "approve"
) -> ApprovalOperator:
    """Rejected, or without an answer in time, it fails: nothing downstream runs, and the run is red."""
    return ApprovalOperator(
        task_id=task_id,
        subject=subject,
        body=body,
        assigned_users=_users(approvers),
        params=params,
        fail_on_reject=True,
        response_timeout=PATIENCE,
        retry_delay=SOON,  # an answer that Airflow loses is asked for anew, while who gave it still looks
        max_retry_delay=SOON_AT_MOST,
        doc_md="Ask the people whom the plan names, with the evidence in the form. No answer in time means no.",
    )


def who_answered(answer: Mapping[str, Any]) -> str:
    """The person's name, else the id of the account. `answer`: what an approval returns.

    From now on it is this account that acts in the task, in the chain of acts too, and not who triggered the DAG run.
    """
    from medferry.manifest.audit import acted_by

    user = answer["responded_by_user"]
    actor = f"airflow:{user['id']}"
    acted_by(lambda: actor)
    return name_of(answer)


def name_of(answer: Mapping[str, Any]) -> str:
    """The person's name, else the id of the account. `answer`: what an approval returns."""
    user = answer["responded_by_user"]
    return str(user["name"] or user["id"])


def when_answered(answer: Mapping[str, Any]) -> datetime:
    """When he did. `answer`: what an approval returns."""
    at = answer["responded_at"]
    return at if isinstance(at, datetime) else datetime.fromisoformat(str(at))


def told_of(agreement: Agreement) -> str:
    """Who has approved; of the first of two, who is awaited: in the task's log, and for the second one's form."""
    if agreement.agreed:
        return agreement.person
    log.info("%s", agreement.told)
    return agreement.told


def _users(approvers: Sequence[Stakeholder]) -> list[HITLUser]:
    known = [HITLUser(id=one.airflow_user, name=one.name) for one in approvers if one.airflow_user]
    return known or [NOBODY]
