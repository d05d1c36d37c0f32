"""Move the units of a wave to Medplum, and back: readiness, the attempt, its acts, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from medferry.cutover import machine
from medferry.cutover.acts import Act, Place, all_among
from medferry.cutover.drain import Time, again
from medferry.cutover.dry_run import DryRun
from medferry.cutover.gates import Gates, may_be_closed
from medferry.cutover.hooks import Hooks
from medferry.cutover.switch import Switch
from medferry.errors import MedferryError, TransientError
from medferry.manifest import cutovers
from medferry.manifest.cutovers import Attempt, AttemptState, Direction
from medferry.manifest.retirements import retirement_of
from medferry.manifest.slice_lock import SliceBusy, only_worker
from medferry.runtime.environment import Environment
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import NothingBack
from medferry.sync.wave import SyncedWave, shut_units
from medferry.workflows.cutover_conditions import would_move
from medferry.workflows.cutover_proof import verified, verified_keys
from medferry.workflows.cutover_words import agree_to_move
from medferry.workflows.freeze_forecast import noted_forecast
from medferry.workflows.parity import require_parity
from medferry.workflows.readiness import require_turn
from medferry.workflows.routing import publish_routing
from medferry.workflows.safety import require_safety
from medferry.workflows.sync import checked_wave, wave_to_open

FREEZE_SECONDS, PATIENCE_SECONDS = 60.0, 30.0


class CutoverBusy(TransientError):
    """Another process moves units of the same migration."""


class Otherwise(MedferryError):
    """The units are not where such an attempt could begin, or another came to no end."""


@dataclass(frozen=True)
class Choice:
    """How an attempt is made. Without `freeze`: as long as the plan lets the units be frozen, else a minute.

    `ready` raises where the wave may not be cut over now. It is asked before a freeze can begin, never within one, and
    not by the stages of a DAG, whose own tasks have asked and were approved. `by_stages`: each of them is a process of
    its own.
    """

    person: str
    freeze: float = 0.0
    patience: float = PATIENCE_SECONDS
    tell: Callable[[Act, str], None] = lambda *_: None
    ready: Callable[[], object] = lambda: None
    clock: Time = field(default_factory=Time)
    by_stages: bool = False
    speaks: bool = False
    """Whether `person` says by this that it is to be done, as one of two where the plan asks for them."""


def cut_over(environment: Environment, wave_id: str, choice: Choice) -> machine.Outcome:
    """Move the wave's units to Medplum, or go on where an attempt has stopped.

    Raises NotFlipped, Stuck, CutoverBusy, Otherwise, NothingBack, WaitingForSecond, and what keeps it from beginning.
    """
    with _attempt(environment, wave_id, Direction.FORTH, replace(choice, speaks=True)) as switch:
        return machine.cut_over(switch, switch.places)


def roll_back(environment: Environment, wave_id: str, choice: Choice) -> machine.Outcome:
    """Move the wave's units back, with all that was written in Medplum; thaw them where they are not flipped.

    Raises NotReturned, Stuck, CutoverBusy, NothingBack, WaitingForSecond, and what keeps it from beginning.
    """
    with _attempt(environment, wave_id, Direction.BACK, replace(choice, speaks=True, ready=lambda: None)) as switch:
        return machine.roll_back(switch, switch.places)


def prepare(environment: Environment, wave_id: str, choice: Choice) -> str:
    """Let nobody write the units in Medplum, long before their cutover. Raises Otherwise where they are there."""
    with _attempt(environment, wave_id, Direction.PREPARE, choice) as switch:
        there = [unit for unit, place in switch.places().items() if place in (Place.MEDPLUM, Place.BETWEEN)]
        if there:
            raise Otherwise(f"{there[0]} is in Medplum.", "To move it back is `medferry rollback`.")
        switch.perform(Act.CLOSE_MEDPLUM)
        return ", ".join(switch.units)


def told(environment: Environment, wave_id: str, direction: Direction, choice: Choice) -> None:
    """The dry run: `choice.tell` is called with what each act would do. Nothing is written or probed.

    Raises OutOfTurn when all is told, where it would not begin.
    """
    wave = checked_wave(environment, wave_id)
    with environment.medplum() as client:
        gates, units = Gates(environment, client), units_to_move(environment, wave, direction)
        dry = DryRun(wave, gates, units, freeze_seconds(environment, units, choice), choice.patience, choice.tell)
        run = machine.cut_over if direction is Direction.FORTH else machine.roll_back
        run(dry, lambda: gates.places(units))
        _check_turn(environment, wave, direction, gates.places(units))


# -- an attempt ------------------------------------------------------------------------------------


@contextmanager
def _attempt(environment: Environment, wave_id: str, direction: Direction, choice: Choice) -> Iterator[Switch]:
    """Be the only one who moves units; begin an attempt, or go on with the one that came to no end, and end it."""
    with switching(environment, wave_id, direction, choice) as switch:
        try:
            yield switch
        except (machine.NotFlipped, machine.NotReturned):
            end(switch, AttemptState.BACKED_OUT)
            raise
        ended = AttemptState.DONE
        if direction is Direction.FORTH and set(switch.places().values()) != {Place.MEDPLUM}:
            ended = AttemptState.BACKED_OUT
        end(switch, ended)


@contextmanager
def switching(
    environment: Environment, wave_id: str, direction: Direction, choice: Choice, moves: bool = True
) -> Iterator[Switch]:
    """Be the only one who moves units; begin an attempt, or go on with the one that came to no end.

    `moves`: False for who only backs out, of whom nothing is asked. Raises CutoverBusy, Otherwise, NothingBack,
    NotAgreed, and what keeps it from beginning.
    """
    wave = checked_wave(environment, wave_id) if moves else wave_to_open(environment, wave_id)
    with only_mover(environment), environment.medplum() as client:
        if direction is Direction.BACK:
            _check_not_retired(environment, wave_id)
        gates, units = Gates(environment, client), units_to_move(environment, wave, direction)
        if moves and would_move(gates, wave_id, units, direction):
            choice.ready()
            agree_to_move(environment, wave_id, direction, choice.person if choice.speaks else None)
        yield _switch(wave, gates, units, direction, choice, moves)


def _check_not_retired(environment: Environment, wave_id: str) -> None:
    """Raises Otherwise: what a way back needs may be gone."""
    with environment.manifest.begin() as connection:
        if retirement_of(connection, environment.migration.name, wave_id) is not None:
            raise Otherwise(
                f"The wave {wave_id} is being taken down, or is: it cannot be rolled back.",
                "Its rollback window was over. What is left is told by docs/runbooks/retire.md.",
            )


def _switch(
    wave: SyncedWave, gates: Gates, units: Sequence[str], direction: Direction, choice: Choice, moves: bool
) -> Switch:
    environment = gates.environment
    going_on = _going_on(wave, gates, units, direction, moves)
    attempt = going_on or _begun(wave, gates, units, direction, choice)
    hooks = Hooks(
        verify=lambda keys: verified_keys(environment, keys, choice.clock),
        route=lambda: _routed(environment),
        safety=lambda: require_safety(environment, wave.id),
        parity=lambda: require_parity(environment, wave.id),
        tell=choice.tell,
        clock=choice.clock,
    )
    freeze = freeze_seconds(environment, attempt.units, choice)
    return Switch(wave, gates, attempt, choice.person, hooks, freeze, choice.patience)


def freeze_seconds(environment: Environment, units: Sequence[str], choice: Choice) -> float:
    """How long a freeze may last, in seconds."""
    downtime = environment.migration.plan.downtime
    return choice.freeze or (downtime.seconds_of(units) if downtime else FREEZE_SECONDS)


_WAITS_AT = {Direction.FORTH: Place.LEGACY, Direction.BACK: Place.MEDPLUM, Direction.PREPARE: Place.BOTH}
"""Where units are of which an attempt has closed none; before its first act they may be open in both."""


def _going_on(
    wave: SyncedWave, gates: Gates, units: Sequence[str], direction: Direction, moves: bool
) -> Attempt | None:
    """The attempt that came to no end. One of another direction is replaced, and one that has closed nothing where
    others `units` are to move by now, as other waves have moved meanwhile. Raises Otherwise.

    A rollback is not where some units are back already: those are written in the legacy database.
    """
    environment = gates.environment
    with environment.manifest.begin() as connection:
        running = [
            one for one in cutovers.running_attempts(connection, environment.migration.name) if one.wave == wave.id
        ]
    others = [one for one in running if one.direction is not direction]
    for one in others:
        back = [place not in (Place.BETWEEN, Place.MEDPLUM) for place in gates.places(one.units).values()]
        if one.direction is Direction.BACK and any(back) and not all(back):
            raise Otherwise(
                f"A rollback of {wave.id} came to no end, and some of its units are back.",
                f"Go on with it: `medferry rollback {wave.id}`.",
            )
    same = [one for one in running if one.direction is direction]
    outdated = bool(same) and moves and {*same[-1].units} != {*units}
    if outdated and all_among(gates.places(same[-1].units).values(), (_WAITS_AT[direction], Place.BOTH)):
        others, same = [*others, *same], []
    with environment.manifest.begin() as connection:
        for one in others:
            cutovers.end_attempt(connection, one, AttemptState.REPLACED)
    return same[-1] if same else None


def _begun(wave: SyncedWave, gates: Gates, units: Sequence[str], direction: Direction, choice: Choice) -> Attempt:
    """A new one: what it needs is looked at before anything is closed. Raises NothingBack, NeverSwept, OutOfTurn."""
    environment, notes = gates.environment, dict[str, object]()
    if direction is not Direction.PREPARE and not environment.migration.inverses:
        raise NothingBack("No entity has a way back: a rollback would lose what users write.", "Write an @inverse.")
    gates.check()
    found = gates.places(units)
    if _check_turn(environment, wave, direction, found):
        caught_up(wave, choice)
        notes |= verified(environment, wave, choice.clock)
        notes |= noted_forecast(environment, wave.id, choice.by_stages)
    epoch = 1 + max(gates.medplum.read(unit).epoch for unit in units)
    with environment.manifest.begin() as connection:
        return cutovers.begin_attempt(
            connection, environment.migration.name, wave.id, direction, units, choice.person, epoch, notes
        )


def _check_turn(environment: Environment, wave: SyncedWave, direction: Direction, places: Mapping[str, Place]) -> bool:
    """Whether the wave is to go now, from the legacy database. Raises OutOfTurn."""
    if direction is not Direction.FORTH or {*places.values()} & {Place.MEDPLUM, Place.BETWEEN}:
        return False
    require_turn(environment, wave.id)
    return True


def caught_up(wave: SyncedWave, choice: Choice) -> None:
    """Bring the wave up to the present, so that a verification finds no more than what is written meanwhile.

    Raises CutoverBusy.
    """
    until = choice.clock.monotonic() + choice.patience

    def still() -> None:
        if choice.clock.monotonic() >= until:
            raise CutoverBusy(
                f"The wave {wave.id} could not be brought up to the present in {choice.patience:g} s.",
                "See what is in the way (`medferry sync`), or have more patience.",
            )

    again(lambda: cycle(wave), still, choice.clock)


def units_to_move(environment: Environment, wave: SyncedWave, direction: Direction) -> tuple[str, ...]:
    """The wave's own units; with the last wave the shared ones go, too, and with the first that returns they return.

    Prepared are the shared ones with the first wave: they are loaded with it, and written in the legacy database.
    """
    plan = environment.migration.plan
    if not plan.waves:
        return tuple(plan.unit_ids)
    own = [unit for unit in wave.units if unit not in plan.shared_units]
    there = shut_units(environment)
    others = {unit for unit in plan.unit_ids if unit not in (*own, *plan.shared_units)}
    shared = plan.shared_units
    if direction is Direction.FORTH:
        return (*own, *shared) if others <= there else tuple(own)
    if direction is Direction.PREPARE:
        return (*own, *(unit for unit in shared if unit not in there and may_be_closed(environment.migration, unit)))
    return (*own, *(unit for unit in shared if unit in there))


@contextmanager
def only_mover(environment: Environment) -> Iterator[None]:
    """Be the only one who moves units of the migration. Raises CutoverBusy."""
    try:
        with only_worker(environment.manifest, f"{environment.migration.name}/cutover", ""):
            yield
    except SliceBusy:
        raise CutoverBusy("Another process moves units of this migration.", "Wait until it has ended.") from None


def end(switch: Switch, state: AttemptState) -> None:
    """Note how its attempt ended."""
    with switch.environment.manifest.begin() as connection:
        cutovers.end_attempt(connection, switch.attempt, state)


# -- what the acts need of other floors ------------------------------------------------------------


def _routed(environment: Environment) -> str:
    if not environment.settings.routing_file:
        return "no routing file is configured (MEDFERRY_ROUTING_FILE): let the applications know by other means"
    published = publish_routing(environment)
    return f"version {published.routing.version}{'' if published.changed else ', as it was'}"
