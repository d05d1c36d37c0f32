"""The switch: each act of a cutover and of a rollback, done for real, noted before and after.

The gates of both systems are the truth. Each act may be repeated by itself, and begins by looking at them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medferry.cutover import drain
from medferry.cutover.acts import WHILE_HELD, Act, Place, all_among
from medferry.cutover.gates import Gates, has_two_writers
from medferry.cutover.hooks import Hooks
from medferry.cutover.medplum_gate import PolicyState
from medferry.cutover.proof import prove
from medferry.errors import MedferryError
from medferry.manifest import cutovers
from medferry.manifest.clock import read_clock
from medferry.manifest.cutovers import FLIPPED, Attempt, Direction, UnitStage
from medferry.manifest.freezes import CAUGHT_UP, CHECKED
from medferry.manifest.left_behind import LEFT_BEHIND, UNPROVEN, accepted_of
from medferry.manifest.panics import check_no_panic
from medferry.manifest.unit_state import decided_since
from medferry.runtime.environment import Environment
from medferry.source.gate.gate import GateState
from medferry.sync.reverse_cycle import BEGINNING
from medferry.sync.wave import SyncedWave, with_flipped

FENCE, EPOCHS, UNTIL, WAS_OPEN, VERIFIED, AGAIN = "fence", "epochs", "until", "was_open", "verified", "again"
"""In the notes of an attempt: the fence's token; unit → epoch of its legacy gate when it was closed, and when that ends
at the latest, by the manifest's clock (who closes it later is another); the units that users could write in Medplum
before; from when on changed records are to be verified, and which others."""


class WrongPlace(MedferryError):
    """A unit is not where the act needs it to be: others have acted, or the acts before were not done."""


@dataclass
class Switch:
    """Performs the acts of one attempt for its units. `freeze`, `patience`: seconds."""

    wave: SyncedWave
    gates: Gates
    attempt: Attempt
    person: str
    hooks: Hooks
    freeze: float
    patience: float

    @property
    def environment(self) -> Environment:
        return self.wave.environment

    @property
    def units(self) -> tuple[str, ...]:
        return self.attempt.units

    def places(self) -> dict[str, Place]:
        return self.gates.places(self.units)

    def perform(self, act: Act) -> None:
        """Do an act, noted before and after. Raises what it raises; Panicked."""
        with self._manifest() as connection:
            if act not in WHILE_HELD:
                check_no_panic(connection, self._name)
            number = cutovers.begin_act(connection, self.attempt, act, self.person)
        try:
            told = _ACTS[act](self)
        except MedferryError as error:
            with self._manifest() as connection:
                cutovers.end_act(connection, number, f"{type(error).__name__}: {error.problem}", failed=True)
            raise
        with self._manifest() as connection:
            cutovers.end_act(connection, number, told)
        self.hooks.tell(act, told)

    # -- Medplum -----------------------------------------------------------------------------------

    def close_medplum(self) -> str:
        """Nothing of it says that requests at work have ended."""
        were = {unit for unit in self.units if self.gates.medplum.read(unit).state is PolicyState.OPEN}
        self._note(**{WAS_OPEN: sorted(were | {*self.attempt.notes.get(WAS_OPEN, ())})})
        for unit in self.units:
            self.gates.medplum.close(unit, self.attempt.epoch)
            self._stage(unit, UnitStage.RETURNING if self._is_back else UnitStage.SHADOW)
        return f"a probe of each policy is refused; {len(were)} unit(s) were open before"

    def wait_out(self) -> str:
        """Also of a policy that was closed long ago: the last request may have begun just before."""
        if not self.attempt.notes.get(WAS_OPEN) and not self._is_back:
            return "nobody could write in Medplum before"
        seconds = self.gates.medplum.rules.longest_request
        rows = drain.back_until_quiet(self._through(), self.gates.client, seconds, self._closed, self.hooks.clock)
        return f"nothing new for {seconds:g} s; {rows} row(s) written back"

    def open_medplum(self) -> str:
        """Only where all legacy gates are shut."""
        self._require(Place.BETWEEN, Place.MEDPLUM)
        for unit in self.units:
            found = self.gates.medplum.read(unit)
            if found.state is PolicyState.OPEN:
                continue
            if found.epoch < self.attempt.epoch:  # closed by an attempt of which this one knows nothing
                self.gates.medplum.close(unit, self.attempt.epoch)
            self._stage(unit, UnitStage.MEDPLUM)  # before users write: from then on their writes count
            self.gates.medplum.open(unit, self.attempt.epoch)
        return "a probe of each policy has written"

    def _closed(self) -> None:
        for unit in self.units:
            if self.gates.medplum.read(unit).state is PolicyState.OPEN:
                raise WrongPlace(f"The users of {unit} may write in Medplum again.", "Find out who opened its policy.")

    # -- the legacy database -----------------------------------------------------------------------

    def close_legacy(self) -> str:
        """The freeze begins with the first unit."""
        self.gates.check()
        for unit, gate in self.gates.legacy_of(self.units).items():
            epochs = self.attempt.notes.get(EPOCHS, {})
            ours = epochs.get(unit) == gate.epoch and gate.seconds_left is not None
            seconds = gate.seconds_left if ours and gate.seconds_left else self.freeze  # a freeze is never renewed
            with self._manifest() as connection:
                ends, until = read_clock(connection, seconds + self.patience), self.attempt.notes.get(UNTIL, {})
            until = {**until, unit: until.get(unit, ends) if ours else ends}
            self._note(**{EPOCHS: {**epochs, unit: gate.epoch}, UNTIL: until})
            self._stage(unit, UnitStage.CLOSING)
            self.gates.legacy.close(self.environment.capture, unit, gate.epoch, seconds, self.patience)
            self._stage(unit, UnitStage.CLOSED)
        return f"drained; it opens by itself in {self._still_frozen():.0f} s"

    def fence(self) -> str:
        self._still_frozen()
        self._note(**{FENCE: f"{self.attempt.id}/{uuid.uuid4()}"})
        drain.write_fence(self.wave, self.attempt.notes[FENCE])
        return "written behind all that was committed"

    def final_cut(self) -> str:
        token = self.attempt.notes[FENCE]
        records = drain.cut_until(self.wave, token, self._still_frozen, self.hooks.clock)
        self._note(**{CAUGHT_UP: records})
        return f"the fence has arrived; {records} record(s)"

    def verify(self) -> str:
        """What was verified before and has not changed since is as it was: its version says so."""
        self._still_frozen()
        since = self.attempt.notes[VERIFIED]
        with self._manifest() as connection:
            cutovers.check_clock(connection, self.attempt, since)
            of = dict.fromkeys(self.environment.migration.entities, self.units)
            keys = decided_since(connection, self._name, of, since)
        for entity, some in self.attempt.notes.get(AGAIN, {}).items():
            keys.setdefault(entity, set()).update(some)
        number = sum(map(len, keys.values()))
        self._note(**{CHECKED: number})
        told = self.hooks.verify(keys) if number else "no record was decided since"
        return f"{number} record(s) since {since}: {told}"

    def reverse_start(self) -> str:
        self._still_frozen()
        now = drain.start_reverse(self._through(), self.gates.client, self._still_frozen, self.hooks.clock)
        self._note(**{FLIPPED: self.attempt.notes.get(FLIPPED, now)})
        return f"changes are read from {self.attempt.notes[FLIPPED]} of Medplum's clock on"

    def shut_legacy(self) -> str:
        """The moment of the flip. A gate whose time is over is not shut, and then all thaw."""
        for unit in self.units:
            if self.gates.medplum.read(unit).epoch != self.attempt.epoch:
                raise WrongPlace(f"Another attempt has closed {unit} in Medplum since.", "Look: `cutover status`.")
        if all(gate.state is GateState.SHUT for gate in self.gates.legacy_of(self.units).values()):
            return "they were shut before"
        left = self._still_frozen()
        for unit in self.units:
            self.gates.legacy.shut(self.environment.capture, unit, int(self.attempt.notes[EPOCHS][unit]))
        return f"with {left:.0f} s left"

    def reopen_legacy(self) -> str:
        """Only where nobody can write in Medplum."""
        self._require(Place.BETWEEN, Place.LEGACY, Place.FROZEN)
        for unit, gate in self.gates.legacy_of(self.units).items():
            self.gates.medplum.prove_closed(unit)
            self._stage(unit, UnitStage.SHADOW)
            if gate.state is GateState.SHUT:
                self.gates.legacy.reopen(self.environment.capture, unit, gate.epoch)
            elif gate.state is GateState.CLOSED:  # a cutover died before it had shut it
                self.gates.legacy.open(self.environment.capture, unit, gate.epoch)
        return "the legacy database is written again"

    def thaw(self) -> str:
        """Everything as it was: who was shut already is opened at the next epoch, once Medplum is closed anew."""
        self._require(Place.LEGACY, Place.FROZEN, Place.BETWEEN, Place.BOTH)
        legacy = self.gates.legacy_of(self.units)
        if any(gate.state is GateState.SHUT for gate in legacy.values()):
            self._next_epoch()
        for unit, gate in legacy.items():
            if gate.state is GateState.SHUT:
                self.gates.medplum.close(unit, self.attempt.epoch)
                self.gates.legacy.reopen(self.environment.capture, unit, gate.epoch)
            else:
                self.gates.legacy.open(self.environment.capture, unit, gate.epoch)
            self._stage(unit, UnitStage.SHADOW)
        for unit in self.attempt.notes.get(WAS_OPEN, ()):
            if has_two_writers(self.environment.migration.plan, unit):
                self.gates.medplum.open(unit, self.attempt.epoch)
        return "not flipped, nothing changed: the legacy database is written as before"

    def _next_epoch(self) -> None:
        """So that a request to open, which is at work still, finds another version."""
        with self._manifest() as connection:
            self.attempt = cutovers.raise_epoch(connection, self.attempt)

    # -- both --------------------------------------------------------------------------------------

    def route(self) -> str:
        return self.hooks.route()

    def reverse_on(self) -> str:
        done = drain.back(self._through(), self.gates.client, lambda: None, self.hooks.clock)
        return f"the way back works: {done.written.total()} row(s) written back, {len(done.held)} held back"

    def prove(self) -> str:
        """By all changes since the flip, all that the crosswalk has, and both systems' content of what was written."""
        self._closed()
        with self._manifest() as connection:
            flip = cutovers.newest_flip(connection, self._name, self.wave.id)
        since = flip.notes[FLIPPED] if flip else BEGINNING
        proof = prove(self._through(), self.gates.client, self.units, since)
        with self._manifest() as connection:
            left = accepted_of(connection, self._name, self.wave.id, proof.states)
        self._note(**{UNPROVEN: proof.states, LEFT_BEHIND: {what: proof.states[what] for what in left}})
        proof.check(left)
        keys = proof.keys_without(left)
        told = self.hooks.verify(keys) if keys else "nothing was written"
        but = f" but {len(left)} that people do by hand" if left else ""
        return f"{proof.changes} change(s) in Medplum since {since}, all in the legacy database{but}: {told}"

    # -- what all need -----------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self.environment.migration.name

    @property
    def _is_back(self) -> bool:
        return self.attempt.direction is Direction.BACK

    def _through(self) -> SyncedWave:
        """The wave as it is now, whose way back goes through the gates that this attempt has closed."""
        now = with_flipped(SyncedWave(self.environment, self.wave.id))
        return SyncedWave(now.environment, now.id, now.through | {*self.units})

    def _still_frozen(self) -> float:
        return self.gates.still_frozen(self.units)

    def _require(self, *places: Place) -> None:
        found = self.places()
        if not all_among(found.values(), places):
            told = ", ".join(f"{unit}: {place}" for unit, place in found.items())
            raise WrongPlace(f"The units are not where this act needs them ({told}).", "Look: `cutover status`.")

    def _note(self, **notes: Any) -> None:
        with self._manifest() as connection:
            self.attempt = cutovers.note(connection, self.attempt, **notes)

    def _stage(self, unit: str, stage: UnitStage) -> None:
        """A memo; where it says so already nothing is written."""
        gate = self.gates.legacy_of([unit])[unit]
        with self._manifest() as connection:
            before = cutovers.stages_of(connection, self._name).get(unit)
            cutovers.move_unit(connection, self._name, unit, before, stage, gate.epoch, self.attempt.id)

    def _manifest(self) -> Any:
        return self.environment.manifest.begin()


_ACTS: Mapping[Act, Callable[[Switch], str]] = {
    Act.CLOSE_MEDPLUM: Switch.close_medplum,
    Act.WAIT_OUT: Switch.wait_out,
    Act.CLOSE_LEGACY: Switch.close_legacy,
    Act.FENCE: Switch.fence,
    Act.FINAL_CUT: Switch.final_cut,
    Act.VERIFY: Switch.verify,
    Act.REVERSE_START: Switch.reverse_start,
    Act.SHUT_LEGACY: Switch.shut_legacy,
    Act.OPEN_MEDPLUM: Switch.open_medplum,
    Act.ROUTE: Switch.route,
    Act.REVERSE_ON: Switch.reverse_on,
    Act.SAFETY: lambda switch: switch.hooks.safety(),
    Act.PARITY: lambda switch: switch.hooks.parity(),
    Act.PROVE: Switch.prove,
    Act.REOPEN_LEGACY: Switch.reopen_legacy,
    Act.THAW: Switch.thaw,
}
