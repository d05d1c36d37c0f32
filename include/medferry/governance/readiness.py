"""Whether a wave may be cut over: gates, each computed by one pure function from facts, with its evidence and remedy.

What could not be looked at, and what had nothing to compare, is not ok. `workflows.readiness.readiness` gathers the
facts and asks all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from medferry.governance.side_effects import SideEffectLine
from medferry.governance.strategy import ACCEPT_RISK, Sizes, is_accepted, too_large, unknown_sizes
from medferry.manifest.decisions import RecordedDecision
from medferry.plan.model import Plan
from medferry.plan.questions import Open, Question
from medferry.plan.sections import ReadinessLimits, ToolChange, Training


class GateName(StrEnum):
    """The gates that are no question of the plan, in the order in which they are told."""

    STRATEGY = "strategy"
    ORDER = "order"
    WINDOW = "window"
    TOOLS = "tools ticked"
    TRAINING = "training ticked"
    SCHEMA = "schema"
    VERIFIED = "verified"
    EXCEPTIONS = "exceptions"
    SAFETY = "clinical-safety"
    DEAD_LETTERS = "dead-letters"
    CONFLICTS = "conflicts"
    HELD_BACK = "held-back"
    SWEEP = "sweep"
    LAG = "lag"
    WRITERS = "writers"
    TRANSACTIONS = "transactions"
    SIDE_EFFECTS = "side effects"
    LEGACY_GATES = "legacy gates"
    FREEZE = "freeze forecast"
    REHEARSAL = "rehearsal"


ACCEPTABLE = (GateName.ORDER, GateName.SCHEMA, GateName.SAFETY, GateName.DEAD_LETTERS, GateName.HELD_BACK)
"""What a named person may decide: for exactly what it is now."""


@dataclass(frozen=True, slots=True)
class ReadinessGate:
    """One condition of a cutover, as it is now."""

    name: str
    ok: bool
    evidence: str
    remedy: str = ""
    """What to do about it; empty where it is ok."""


_NEVER = "the wave was never kept in step: nobody could have found any"


def could_not_say(name: str, problem: str, remedy: str) -> ReadinessGate:
    """A gate whose facts could not be looked at."""
    return ReadinessGate(name, False, f"could not be said: {problem}", remedy)


def gate_of(name: str, faults: Sequence[str], evidence: str, remedy: str) -> ReadinessGate:
    """Red by its faults, a few of them told; else ok by its evidence."""
    if not faults:
        return ReadinessGate(name, True, evidence)
    told = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
    return ReadinessGate(name, False, told, remedy)


# -- what people planned -------------------------------------------------------------------------------


def questions(left: Sequence[Open]) -> list[ReadinessGate]:
    """One gate for each planning question."""
    found = []
    for question in Question:
        name, its_own = f"plan: {question}", [one for one in left if one.question is question]
        told = [one.problem for one in its_own]
        found.append(gate_of(name, told, "answered", " ".join(one.remedy for one in its_own)))
    return found


def strategy(plan: Plan, sizes: Sizes) -> ReadinessGate:
    """A large organisation moves at once only where somebody answers for it."""
    name, risk = GateName.STRATEGY, plan.big_bang
    if not sizes.at_once:
        return ReadinessGate(name, True, f"{plan.strategy}: unit after unit")
    if risk and is_accepted(plan):
        return ReadinessGate(name, True, f"at once, {sizes}; accepted by {risk.accepted_by}")
    large, unknown = too_large(sizes), unknown_sizes(sizes)
    if unknown and not large:
        remedy = "Load all units, so that their records are counted; give users and integrations under `organisation`."
        return could_not_say(name, f"at once, of unknown size: {', '.join(unknown)}", remedy)
    return gate_of(name, large, f"at once, and small: {sizes}", ACCEPT_RISK)


def order(before: Sequence[str], flipped: Collection[str], accepted: RecordedDecision | None) -> ReadinessGate:
    """The waves that come before are flipped, or a named person has decided that this one goes first."""
    missing = [wave for wave in before if wave not in flipped]
    if missing and accepted:
        said = accepted.decision
        return ReadinessGate(GateName.ORDER, True, f"before {', '.join(missing)}, by {said.person}: {said.note}")
    faults = [f"wave {wave} comes before and is not flipped" for wave in missing]
    evidence = f"after {', '.join(before)}" if before else "no wave comes before"
    return gate_of(
        GateName.ORDER, faults, evidence, "Flip it first, or let a named person accept `order` with a reason."
    )


def window(window: tuple[datetime, datetime] | None, now: datetime) -> ReadinessGate:
    """Now is within the wave's window, [opens, closes)."""
    if window is None:
        return could_not_say(GateName.WINDOW, "the wave has no window", "Give it one in `timeline`.")
    opens, closes = (f"{time:%Y-%m-%d %H:%M} UTC" for time in window)
    when = "opens" if now < window[0] else "closed"
    faults = [] if window[0] <= now < window[1] else [f"the window {when} at {opens if when == 'opens' else closes}"]
    return gate_of(GateName.WINDOW, faults, f"open until {closes}", "Wait for it, or change `timeline`.")


def ticked(name: GateName, wave: str, planned: Sequence[ToolChange] | Sequence[Training], today: date) -> ReadinessGate:
    """What is to be done before the wave's cutover is done."""
    own = [one for one in planned if one.concerns(wave)]
    if not own:
        return could_not_say(name, f"the plan names none for wave {wave}", "Name them; each is ticked by `done`.")
    faults = [f"{_titled(one)}: not done" for one in own if not one.is_done(today)]
    return gate_of(
        name, faults, f"{len(own)} done", "Give each its day in the plan when it is done: `done: YYYY-MM-DD`."
    )


def _titled(one: ToolChange | Training) -> str:
    return one.tool if isinstance(one, ToolChange) else f"{one.who}, {one.what} (by {one.by})"


# -- what is proven -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proof:
    """The newest whole verification of all that the wave holds. Ages in days; `text` is its verdict.

    `proven` may be but for what was in flight then: `changed_since` counts that, and the records that were decided
    after it had begun. A cutover reads all of them again before it flips.
    """

    verification: int
    proven: bool
    text: str
    age_days: float
    same_files: bool
    sample_share: float
    changed_since: int
    open_exceptions: int


def verified(proof: Proof | None, limits: ReadinessLimits) -> ReadinessGate:
    """All of the wave is verified and proven by the present files; what changed since, the freeze can read again."""
    remedy = "Verify everything: `medferry verify`, without a run."
    if proof is None:
        return could_not_say(GateName.VERIFIED, "no verification was of all that the wave holds", remedy)
    faults = [] if proof.proven else [f"verification {proof.verification}: {proof.text}"]
    if not proof.same_files:
        faults.append("the migration's files are others since")
    if proof.sample_share < 1:
        faults.append(f"only {proof.sample_share:.1%} of the rows were compared")
    if proof.age_days > limits.verified_days:
        faults.append(f"it is {proof.age_days:.1f} days old, more than {limits.verified_days}")
    if proof.changed_since > limits.changed_records:
        faults.append(f"{proof.changed_since:,} records changed since, more than {limits.changed_records:,}")
    evidence = f"verification {proof.verification}: {proof.text}; {proof.changed_since:,} records changed since"
    return gate_of(GateName.VERIFIED, faults, evidence, remedy)


def exceptions(proof: Proof | None) -> ReadinessGate:
    """Each exception of that verification is accepted by an approver or gone."""
    remedy = "Decide them: `medferry exceptions`."
    if proof is None:
        return could_not_say(GateName.EXCEPTIONS, "there is no verification that could have found any", remedy)
    faults = [f"{proof.open_exceptions} open"] if proof.open_exceptions else []
    return gate_of(GateName.EXCEPTIONS, faults, f"none open in verification {proof.verification}", remedy)


def dead_letters(groups: Mapping[str, int], records: int, accepted: RecordedDecision | None) -> ReadinessGate:
    """No record of the wave is rejected or quarantined, but for those that a named person leaves behind.

    `groups`: "entity: reason" → how many; `records`: all of the wave.
    """
    name = GateName.DEAD_LETTERS
    if not records:
        return could_not_say(name, "nothing of the wave was loaded", "Load it first.")
    number = sum(groups.values())
    if number and accepted:
        said = accepted.decision
        return ReadinessGate(name, True, f"{number:,} of {records:,} left behind, by {said.person}: {said.note}")
    remedy = "Correct and replay them, or let a named person accept `dead-letters` with a reason."
    return gate_of(
        name, [f"{group} {many:,}" for group, many in groups.items()], f"none of {records:,} records", remedy
    )


def conflicts(live: int, ever_in_step: bool) -> ReadinessGate:
    """No conflict waits for a decision, or for being applied."""
    if not ever_in_step:
        return could_not_say(GateName.CONFLICTS, _NEVER, "Sweep it, then keep it in step: docs/runbooks/sync.md.")
    faults = [f"{live:,} open, or decided and not applied"] if live else []
    return gate_of(GateName.CONFLICTS, faults, "none open", "Decide: `medferry conflicts`, then sync.")


def held_back(reasons: Mapping[str, int], accepted: RecordedDecision | None, ever_in_step: bool) -> ReadinessGate:
    """The legacy database has all that Medplum's users did, but for what a named person leaves out of a way back."""
    if not ever_in_step:
        return could_not_say(GateName.HELD_BACK, _NEVER, "Sweep it, then keep it in step: docs/runbooks/sync.md.")
    number = sum(reasons.values())
    if number and accepted:
        said = accepted.decision
        return ReadinessGate(GateName.HELD_BACK, True, f"{number:,}, accepted by {said.person}: {said.note}")
    remedy = "Look at `medferry sync status`; correct it, or let a named person accept `held-back` with a reason."
    told = [f"{reason} {many:,}" for reason, many in sorted(reasons.items())]
    return gate_of(GateName.HELD_BACK, told, "nothing", remedy)


def schema(digest: str, drafts: Sequence[str], approved: RecordedDecision | None, ever: bool) -> ReadinessGate:
    """The tables that are read are as they were when a named person approved the mappings for them.

    `approved`: of the present digest; `ever`: of any.
    """
    faults = [f"{entity} is mapped in draft" for entity in drafts]
    if not approved:
        told = "tables or mappings changed since they were approved" if ever else "nobody has approved the mappings"
        faults.append(f"{told} for the schema as it is")
    evidence = f"approved by {approved.decision.person} on {approved.at[:10]}, {digest[:12]}" if approved else ""
    remedy = "Look at `medferry inventory` and the mappings, then let a named person accept `schema`."
    return gate_of(GateName.SCHEMA, faults, evidence, remedy)


def side_effects(lines: Sequence[SideEffectLine]) -> ReadinessGate:
    """Every Subscription that what is written would fire is as somebody has decided."""
    faults = [f"{line.place} {line.told}" for line in lines if not line.ok]
    evidence = f"{len(lines)} as decided" if lines else "none that this client sees would fire"
    return gate_of(GateName.SIDE_EFFECTS, faults, evidence, "Look at `medferry side-effects`.")


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The newest rehearsal of a wave. Its age in days, its measured freeze and what was forecast of it in seconds."""

    age_days: float
    freeze_seconds: float
    same_files: bool
    forecast_seconds: float | None = None


def rehearsal(last: Rehearsed | None, limits: ReadinessLimits, tolerance: float | None) -> ReadinessGate:
    """It is fresh, of the present files, and its freeze was within the tolerance (seconds)."""
    name = GateName.REHEARSAL
    if last is None:
        return could_not_say(name, "the wave was never rehearsed", "Rehearse it: `medferry cutover --rehearse`.")
    if tolerance is None:
        return could_not_say(name, "no tolerance to hold it against", "Answer `downtime` in the plan.")
    faults = [] if last.same_files else ["the migration's files are others since"]
    if last.age_days > limits.rehearsal_days:
        faults.append(f"it is {last.age_days:.1f} days old, more than {limits.rehearsal_days}")
    if last.freeze_seconds > tolerance:
        faults.append(f"its freeze took {last.freeze_seconds:.1f} s, more than {tolerance:.0f}")
    forecast = "" if last.forecast_seconds is None else f", forecast was {last.forecast_seconds:.1f} s"
    evidence = f"{last.age_days:.1f} days ago, freeze {last.freeze_seconds:.1f} s of {tolerance:.0f}{forecast}"
    return gate_of(name, faults, evidence, "Rehearse it again.")
