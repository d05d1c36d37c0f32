"""Gates of a cutover about how far both systems are in step, and who writes. Pure, as those of `readiness`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from medferry.governance.forecast import Score, Span
from medferry.governance.readiness import GateName, ReadinessGate, could_not_say, gate_of
from medferry.manifest.sweeps import SweepRow
from medferry.plan.model import Plan
from medferry.plan.sections import ReadinessLimits
from medferry.source.changes.observe import Writer
from medferry.source.gate.gate import GateState


def sweep(
    newest: Mapping[str, SweepRow], entities: Sequence[str], ages: Mapping[str, float], limits: ReadinessLimits
) -> ReadinessGate:
    """Every entity's newest sweep is complete, fresh (`ages` in days), and has found nothing that was missed."""
    faults = []
    for entity in entities:
        row = newest.get(entity)
        if row is None or not row.complete:
            faults.append(f"{entity}: no complete sweep")
        elif row.missed:
            faults.append(f"{entity}: {row.missed:,} missed of {row.rows:,}")
        elif ages[entity] > limits.sweep_days:
            faults.append(f"{entity}: swept {ages[entity]:.1f} days ago, more than {limits.sweep_days}")
    rows = sum(row.rows for row in newest.values())
    if not rows and not faults:
        faults.append("the sweeps looked at no row")
    return gate_of(GateName.SWEEP, faults, f"{rows:,} rows, 0 missed", "Sweep the wave: `medferry sweep`.")


@dataclass(frozen=True, slots=True)
class InStep:
    """How far a wave is in step. All in seconds; `fault` says why the next cut cannot be made."""

    fault: str
    heartbeat: float | None
    p99: Mapping[str, float]
    """Entity → its lag, of those of which anything was measured."""
    oldest_pending: float


def lag(step: InStep, limits: ReadinessLimits) -> ReadinessGate:
    """Capture works, somebody takes the cuts, and 99 of 100 changes are settled within the plan's limit."""
    most, faults = limits.lag_p99_seconds, [step.fault] if step.fault else []
    if step.heartbeat is None or step.heartbeat > most:
        faults.append("no cut was ever marked" if step.heartbeat is None else f"no cut for {step.heartbeat:.0f} s")
    if not step.p99:
        faults.append("no change was settled yet: nothing is measured")
    faults += [f"{name}: p99 {value:.1f} s" for name, value in sorted(step.p99.items()) if value > most]
    if step.oldest_pending > most:
        faults.append(f"a change waits for {step.oldest_pending:.0f} s")
    worst = max(step.p99.values(), default=0.0)
    remedy = f"At most {most:.0f} s (readiness.lag_p99_seconds): look at `medferry sync status`."
    return gate_of(GateName.LAG, faults, f"p99 {worst:.1f} s", remedy)


def writers(census: Sequence[Writer], plan: Plan) -> ReadinessGate:
    """Whoever was seen writing in the legacy database stands in the plan, by name."""
    name = GateName.WRITERS
    if not census:
        return could_not_say(name, "the journal has seen nobody write", "Let the capture be at work for a while.")
    seen = {(line.who, line.application) for line in census}
    strangers = sorted(one for one in seen if not any(known.is_of(*one) for known in plan.legacy_writers))
    faults = [
        f"{who or 'somebody'} by {application or 'an application without a name'}" for who, application in strangers
    ]
    remedy = "Find out who it is; then name each in `legacy_writers`, with what it is and who accepts it."
    return gate_of(name, faults, f"{len(seen)} known", remedy)


def transactions(ages: Sequence[float] | None, limits: ReadinessLimits) -> ReadinessGate:
    """No transaction that has written is so old that a freeze would wait for it. `ages` in seconds; None: hidden."""
    name, most = GateName.TRANSACTIONS, limits.open_transaction_seconds
    if ages is None:
        remedy = "Let the account see others' sessions: pg_read_all_stats on PostgreSQL, PROCESS on MySQL and MariaDB."
        return could_not_say(name, "the account does not see others' transactions", remedy)
    old = [f"one is open for {age:.0f} s" for age in sorted(ages, reverse=True) if age > most]
    evidence = f"{len(ages)} open, the oldest {max(ages, default=0.0):.0f} s"
    return gate_of(name, old, evidence, f"End it, or wait: at most {most:.0f} s (readiness.open_transaction_seconds).")


def legacy_gates(states: Mapping[str, GateState]) -> ReadinessGate:
    """Each unit's gate in the legacy database is there, at work, and open: nobody has begun to freeze or flip it."""
    if not states:
        return could_not_say(GateName.LEGACY_GATES, "the wave has no unit of its own", "Correct its units in the plan.")
    faults = [f"{unit} is {state}" for unit, state in states.items() if state is not GateState.OPEN]
    remedy = "A closed gate opens by itself, or by `medferry gate open`; a shut one is a unit that is flipped."
    return gate_of(GateName.LEGACY_GATES, faults, f"{len(states)} open, and at work", remedy)


def freeze_forecast(parts: Sequence[Span], tolerance: float | None, scored: Score | None = None) -> ReadinessGate:
    """What a freeze would take now is within the plan's tolerance (seconds); the last part is the sum of the others.

    `scored`: how good earlier forecasts were.
    """
    name, told = GateName.FREEZE, "; ".join(map(str, (parts[-1], *parts[:-1], scored or "none scored yet")))
    if unknown := [part.name for part in parts[:-1] if part.probable == inf]:
        remedy = "Let the wave be in step for a while, and verify it: cuts and verifications are what is measured."
        return could_not_say(name, f"nothing was measured of: {', '.join(unknown)}", remedy)
    if tolerance is None:
        return could_not_say(name, f"no tolerance to hold it against ({told})", "Answer `downtime` in the plan.")
    faults = [f"more than {tolerance:.0f} s: {told}"] if parts[-1].probable > tolerance else []
    remedy = "Wait until less is pending, verify what changed, end old transactions; or choose a quieter hour."
    return gate_of(name, faults, told, remedy)
