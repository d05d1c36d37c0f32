"""Builds the DAGs of a wave whose operations move: cutover and way back, what comes long before and long after."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from airflow.sdk import DAG

from medferry.plan.model import Plan
from medferry.plan.people import Approval
from medferry_airflow.around import draw_rehearsal, draw_retirement
from medferry_airflow.definition import Served
from medferry_airflow.factory import broken_dag, new_dag
from medferry_airflow.page import page


def cutover_dag(wave: str, text: str, served: Served) -> DAG:
    """A DAG that moves a wave's operations to Medplum; `all` where the plan has no waves."""
    return _of_wave("cutover", "Cutover", wave, text, served, partial(_draw_move, wave, served, Approval.CUTOVER))


def rollback_dag(wave: str, text: str, served: Served) -> DAG:
    """A DAG that moves a wave's operations back; `all` where the plan has no waves."""
    return _of_wave("rollback", "Rollback", wave, text, served, partial(_draw_move, wave, served, Approval.ROLLBACK))


def _draw_move(wave: str, served: Served, act: Approval, plan: Plan) -> None:
    from medferry.manifest.cutovers import Direction
    from medferry_airflow.cutover import draw  # dear, and most migrations move no unit

    direction = Direction.FORTH if act is Approval.CUTOVER else Direction.BACK
    question = served.title_of(f"May the {act} of wave {wave} begin?")  # asked beside those of the others
    draw(direction, wave, question, plan.approvers(act), plan.needs_two(act))


def rehearsal_dag(wave: str, text: str, served: Served) -> DAG:
    """A DAG that measures a wave's freeze against another Medplum, and cannot flip."""
    return _of_wave("rehearse", "Rehearsal", wave, text, served, lambda _: draw_rehearsal(wave))


def retirement_dag(wave: str, text: str, served: Served) -> DAG:
    """A DAG that takes down a wave that is over, once people have approved."""
    who = Approval.RETIRE

    def drawn(plan: Plan) -> None:
        question = served.title_of(f"May wave {wave} be taken down? There is no way back afterwards.")
        draw_retirement(wave, question, plan.approvers(who), plan.needs_two(who))

    return _of_wave("retire", "Retirement", wave, text, served, drawn)


def _of_wave(word: str, noun: str, wave: str, text: str, served: Served, drawn: Callable[[Plan], None]) -> DAG:
    title = f"{noun} of wave {wave}"
    if served.error:
        return broken_dag(f"{word}_{wave}", title, text, served)
    plan = served.outline.plan
    units = plan.units_of_wave(wave) if plan.waves else plan.unit_ids
    with new_dag(served, f"{word}_{wave}", title, page(text, served, units), ["cutover"], {}) as dag:
        drawn(plan)
    return dag
