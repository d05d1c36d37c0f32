"""Whether a wave may be cut over now: every gate of `governance`, asked about the facts of all systems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from medferry.errors import MedferryError, OptionError
from medferry.governance import readiness as gates
from medferry.governance import steadiness
from medferry.governance.forecast import score
from medferry.governance.readiness import ACCEPTABLE, GateName, ReadinessGate, Rehearsed, could_not_say
from medferry.governance.safety import clinical_safety
from medferry.governance.strategy import sizes_of
from medferry.manifest import consents, sweeps
from medferry.manifest.conflicts import list_conflicts
from medferry.manifest.consents import Consent
from medferry.manifest.decisions import decisions_of, digest_of
from medferry.manifest.spoken import Matter
from medferry.mapping.declare import MappingStatus
from medferry.plan.people import Approval
from medferry.plan.questions import open_questions, wave_ids
from medferry.runtime.environment import Environment
from medferry.sync.wave import check_wave
from medferry.workflows.four_eyes import Agreement, say
from medferry.workflows.readiness_facts import Facts
from medferry.workflows.side_effects import look


def readiness(environment: Environment, wave_id: str, by_stages: bool = False) -> list[ReadinessGate]:
    """Every gate of a wave's cutover as it is now; it may begin when all are ok. Reads only. Raises NoSuchWave.

    A gate whose facts cannot be had (a database is away, a right is missing, nothing was ever measured) is not ok.
    `by_stages`: the cutover would be done as Airflow does it, each stage by a process of its own.
    """
    facts = _facts(environment, wave_id, by_stages)
    plan, entities = environment.migration.plan, environment.migration.entities
    found = gates.questions(open_questions(plan, wave_id, entities))
    return found + [_asked(name, facts, ask) for name, ask in _GATES.items()]


class OutOfTurn(MedferryError):
    """Waves that come before are not flipped, and nobody has decided that this one goes first. Nothing was closed."""


def require_turn(environment: Environment, wave_id: str) -> None:
    """See that it is the wave's turn, also where nobody asks for the other gates. Raises OutOfTurn, NoSuchWave."""
    gate = _order(_facts(environment, wave_id))
    if not gate.ok:
        raise OutOfTurn(
            f"It is not the turn of wave {wave_id}: {gate.evidence}.",
            f'{gate.remedy} `medferry readiness accept {wave_id} {gate.name} --by "…" --reason "…"`.',
        )


def asked_of(environment: Environment, wave_id: str, names: Sequence[GateName]) -> list[ReadinessGate]:
    """Some gates as they are now. Raises NoSuchWave."""
    facts = _facts(environment, wave_id)
    return [_asked(name, facts, _GATES[name]) for name in names]


def accept(environment: Environment, wave_id: str, gate: str, consent: Consent, person: str, reason: str) -> None:
    """Record what a named person says of a gate, as it is now.

    Raises NoSuchWave, OptionError; WaitingForSecond where the plan asks for two to accept it.
    """
    facts = _facts(environment, wave_id)
    if gate not in ACCEPTABLE:
        raise OptionError(f"Nobody can accept the gate {gate}.", f"These can be: {', '.join(ACCEPTABLE)}.")
    if not person.strip() or len(reason.strip()) < 8:
        raise OptionError("A person must answer for it.", "Give a name, and a reason of a sentence.")
    subject = facts.subject(GateName(gate))
    with environment.decisions.begin() as connection:
        state = digest_of(subject.digest, len(decisions_of(connection, subject.name)))
        agreement = Agreement(Matter(subject.migration, Approval.READINESS, subject.name, state), person, agreed=True)
        if consent is Consent.ACCEPTED:
            agreement = say(connection, environment.migration.plan, agreement.matter, person, reason)
        if agreement.agreed:
            consents.record_consent(connection, subject, consent, agreement.person, reason)
    agreement.require()


def _facts(environment: Environment, wave_id: str, by_stages: bool = False) -> Facts:
    check_wave(environment.migration.plan, wave_id)
    return Facts(environment, wave_id, by_stages)


def _asked(name: GateName, facts: Facts, ask: Callable[[Facts], ReadinessGate]) -> ReadinessGate:
    try:
        return ask(facts)
    except MedferryError as error:
        return could_not_say(name, error.problem, error.remedy)
    except SQLAlchemyError as error:  # its text quotes the statement
        return could_not_say(name, f"a database failed ({type(error).__name__})", "Check it, then ask again.")


# -- the gates, each of its facts ------------------------------------------------------------------------


def _strategy(facts: Facts) -> ReadinessGate:
    plan = facts.environment.migration.plan
    records = facts.count(plan.unit_ids) if sizes_of(plan, None).at_once else 0
    return gates.strategy(plan, sizes_of(plan, records or None))


def _order(facts: Facts) -> ReadinessGate:
    plan = facts.environment.migration.plan
    before = plan.before(facts.wave, wave_ids(plan))
    if not before:
        return gates.order([], [], None)
    return gates.order(before, {*before} - {*facts.missing_before}, facts.accepted(GateName.ORDER))


def _window(facts: Facts) -> ReadinessGate:
    timeline = facts.environment.migration.plan.timeline
    return gates.window(timeline.window_of(facts.wave) if timeline else None, facts.now)


def _tools(facts: Facts) -> ReadinessGate:
    plan = facts.environment.migration.plan
    return gates.ticked(GateName.TOOLS, facts.wave, plan.tools, facts.today)


def _training(facts: Facts) -> ReadinessGate:
    plan = facts.environment.migration.plan
    return gates.ticked(GateName.TRAINING, facts.wave, plan.training, facts.today)


def _schema(facts: Facts) -> ReadinessGate:
    specs = facts.environment.migration.specs
    drafts = sorted(name for name, spec in specs.items() if spec.status is MappingStatus.DRAFT)
    subject = facts.subject(GateName.SCHEMA)
    with facts.environment.manifest.begin() as connection:
        ever = consents.was_ever_accepted(connection, subject)
    return gates.schema(subject.digest, drafts, facts.accepted(GateName.SCHEMA), ever)


def _dead_letters(facts: Facts) -> ReadinessGate:
    groups = Counter(f"{entity}: {reason}" for entity, reason, _ in facts.dead)
    return gates.dead_letters(
        dict(groups.most_common()), facts.count(facts.units), facts.accepted(GateName.DEAD_LETTERS)
    )


def _conflicts(facts: Facts) -> ReadinessGate:
    with facts.environment.manifest.begin() as connection:
        live = list_conflicts(connection, facts.environment.migration.name)
    return gates.conflicts(
        sum(one.unit in facts.units or one.wave == facts.wave for one in live), bool(facts.status.cut_at)
    )


def _held_back(facts: Facts) -> ReadinessGate:
    reasons = Counter(one.reason for one in facts.held_back)
    return gates.held_back(reasons, facts.accepted(GateName.HELD_BACK), bool(facts.status.cut_at))


def _sweep(facts: Facts) -> ReadinessGate:
    migration = facts.environment.migration
    with facts.environment.manifest.begin() as connection:
        newest = sweeps.newest_sweeps(connection, migration.name, facts.wave)
    ages = {name: facts.days_since(row.started_at) for name, row in newest.items()}
    return steadiness.sweep(newest, list(migration.entities), ages, migration.plan.readiness)


def _lag(facts: Facts) -> ReadinessGate:
    status = facts.status
    measured = {each.entity: each.lag_p99 for each in status.entities if each.lag_p99 is not None}
    oldest = max((each.oldest for each in status.entities), default=0)
    step = steadiness.InStep(status.fault, status.heartbeat_seconds, measured, oldest)
    return steadiness.lag(step, facts.environment.migration.plan.readiness)


def _transactions(facts: Facts) -> ReadinessGate:
    return steadiness.transactions(facts.transactions, facts.environment.migration.plan.readiness)


def _freeze(facts: Facts) -> ReadinessGate:
    if facts.transactions is None:
        return replace(_transactions(facts), name=GateName.FREEZE)
    if facts.status.fault:
        return could_not_say(GateName.FREEZE, f"nobody sees what is pending: {facts.status.fault}", "Mend capture.")
    return steadiness.freeze_forecast(facts.forecast, facts.tolerance, score(facts.freezes))


def _legacy_gates(facts: Facts) -> ReadinessGate:
    found = {unit: facts.legacy_gates[unit].state for unit in facts.own_units}
    return steadiness.legacy_gates(found)


def _rehearsal(facts: Facts) -> ReadinessGate:
    migration = facts.environment.migration
    rehearsed = None
    if last := facts.rehearsal:
        same = last.fingerprint == migration.fingerprint
        rehearsed = Rehearsed(facts.days_since(last.at), last.measured.freeze, same, last.measured.forecast)
    return gates.rehearsal(rehearsed, migration.plan.readiness, facts.tolerance)


_GATES: Mapping[GateName, Callable[[Facts], ReadinessGate]] = {
    GateName.STRATEGY: _strategy,
    GateName.ORDER: _order,
    GateName.WINDOW: _window,
    GateName.TOOLS: _tools,
    GateName.TRAINING: _training,
    GateName.SCHEMA: _schema,
    GateName.VERIFIED: lambda facts: gates.verified(facts.proof, facts.environment.migration.plan.readiness),
    GateName.EXCEPTIONS: lambda facts: gates.exceptions(facts.proof),
    GateName.SAFETY: lambda facts: clinical_safety(facts.safety, facts.accepted(GateName.SAFETY)),
    GateName.DEAD_LETTERS: _dead_letters,
    GateName.CONFLICTS: _conflicts,
    GateName.HELD_BACK: _held_back,
    GateName.SWEEP: _sweep,
    GateName.LAG: _lag,
    GateName.WRITERS: lambda facts: steadiness.writers(facts.status.writers, facts.environment.migration.plan),
    GateName.TRANSACTIONS: _transactions,
    GateName.SIDE_EFFECTS: lambda facts: gates.side_effects(look(facts.environment)),
    GateName.LEGACY_GATES: _legacy_gates,
    GateName.FREEZE: _freeze,
    GateName.REHEARSAL: _rehearsal,
}
"""All of them, in the order in which they are told."""
