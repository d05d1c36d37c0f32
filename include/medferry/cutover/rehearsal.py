"""The rehearsal of the switch: a third implementation of its acts, which can move nothing.

What a freeze is spent with is done for real, in the surroundings of the rehearsal, and timed. Of all other acts, which
would close, open, shut or route, it tells as the dry run does: it has no switch, and no way to one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from medferry.cutover import drain
from medferry.cutover.acts import Act
from medferry.cutover.drain import Time
from medferry.cutover.dry_run import DryRun, Tell
from medferry.cutover.hooks import Keys
from medferry.errors import MedferryError
from medferry.manifest.rehearsals import Done
from medferry.manifest.unit_state import decided_since
from medferry.medplum.changes import begin, next_page
from medferry.medplum.client import MedplumClient
from medferry.sync.reverse_cycle import returning_types
from medferry.sync.wave import SyncedWave


class TooLong(MedferryError):
    """What a freeze is spent with came to no end in the time that there was."""


@dataclass
class RehearsedSwitch:
    """Rehearses the acts for some units; `wave` and `client` are of the rehearsal, `dry` looks at the real gates.

    `since`, `again`: what the verification before it has left to be verified (`cutover.switch`). `most`: seconds.
    """

    dry: DryRun
    wave: SyncedWave
    client: MedplumClient
    since: str
    again: Keys
    verify: Callable[[Keys], tuple[str, int]]
    """Verify the records of some keys; tells of it, and how many resources were read. Raises where any differs."""
    most: float
    tell: Tell
    clock: Time
    seconds: dict[Act, float] = field(default_factory=dict)
    caught_up: Done = (0, 0.0)
    checked: Done = (0, 0.0)
    token: str = ""

    def perform(self, act: Act) -> None:
        """Raises what the act raises; TooLong."""
        do, began = _REHEARSED.get(act), self.clock.monotonic()
        if do is None:
            self.dry.perform(act)
            return
        told = do(self)
        self.seconds[act] = self.clock.monotonic() - began
        self.tell(act, f"{self.seconds[act]:.2f} s: {told}")

    def fence(self) -> str:
        """A row of our own journal that belongs to nothing: the real way forth passes it over."""
        self.token = f"rehearsal/{uuid.uuid4()}"
        drain.write_fence(self.wave, self.token)
        return "written behind all that was committed"

    def final_cut(self) -> str:
        began = self.clock.monotonic()
        until = began + self.most

        def still() -> None:
            if self.clock.monotonic() >= until:
                raise TooLong(f"The fence did not arrive in {self.most:g} s.", "See why: `medferry sync`.")

        records = drain.cut_until(self.wave, self.token, still, self.clock)
        self.caught_up = records, self.clock.monotonic() - began
        return f"the fence has arrived; {records} record(s)"

    def verified(self) -> str:
        """As the switch chooses what to verify."""
        began, migration = self.clock.monotonic(), self.wave.environment.migration
        with self.wave.environment.manifest.begin() as connection:
            of = dict.fromkeys(migration.entities, self.dry.units)
            keys = decided_since(connection, migration.name, of, self.since)
        for entity, some in self.again.items():
            keys.setdefault(entity, set()).update(some)
        number = sum(map(len, keys.values()))
        told, resources = self.verify(keys) if number else ("no record was decided since", 0)
        self.checked = resources, self.clock.monotonic() - began
        return f"{number} record(s) since {self.since}: {told}"

    def reverse_start(self) -> str:
        """Changes are read as the way back would read them, and left: the rehearsal writes no legacy table."""
        self.client.count("Patient", [("_id", "none")])  # whatever it answers tells its time
        now = self.client.server_clock.now()
        if not now:
            raise MedferryError(
                "Medplum does not tell its time.", "Let what stands in between pass on its Date header."
            )
        found = sum(
            len(next_page(self.client, kind, begin(now)).changes) for kind in returning_types(self.wave.environment)
        )
        return f"{found} change(s) could be read from {now} of Medplum's clock on"


_REHEARSED: Mapping[Act, Callable[[RehearsedSwitch], str]] = {
    Act.FENCE: RehearsedSwitch.fence,
    Act.FINAL_CUT: RehearsedSwitch.final_cut,
    Act.VERIFY: RehearsedSwitch.verified,
    Act.REVERSE_START: RehearsedSwitch.reverse_start,
}
"""All others are only told."""
