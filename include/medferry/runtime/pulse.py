"""The pulse of a task at work: every 30 seconds it says how far it is, and it lets no wait outlast an abort."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from medferry.manifest.kinds import RunKind
from medferry.manifest.runs import RunRow, SliceRow
from medferry.medplum.client import MedplumClient
from medferry.runtime.beat import beating
from medferry.runtime.control import aborted, is_aborted
from medferry.runtime.environment import Environment
from medferry.runtime.progress import Progress, Tally, last_line_of, line_of

log = logging.getLogger(__name__)

TELL_SECONDS = 30.0
_LOOK_SECONDS = 3.0
GRACE_SECONDS = 12.0
"""After an abort, so long may what was sent before be answered; then it is cut off, and counts as unanswered."""


@dataclass
class Pulse:
    """`tick` is called every few seconds, by a thread of its own. `total` is in source records."""

    who: str
    total: int
    tally: Tally
    is_aborted: Callable[[], bool]
    client: MedplumClient | None = None
    run_id: str = ""
    tells_short: bool = True
    """Whether the end is told of what was over before anything else was."""
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)
    _told: float = field(init=False)
    _aborted_at: float | None = None

    def __post_init__(self) -> None:
        self._started = self._told = self.clock()

    def tick(self) -> None:
        """Tell, where it is time; and end what waits too long, where the run was aborted."""
        now = self.clock()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            log.info("%s", line_of(self.progress()))
        if self._aborted_at is None and self.is_aborted():
            self._aborted_at = now
            log.warning("Run %s is being aborted: what was sent before is waited for a moment longer.", self.run_id)
        if self.client and self._aborted_at is not None and now - self._aborted_at >= GRACE_SECONDS:
            self.client.interrupt()

    def heed(self) -> None:
        """To be called during a wait. Raises RunAborted."""
        if self._aborted_at is not None:
            raise aborted(self.run_id)

    def progress(self) -> Progress:
        done, results, _ = self.tally.read()
        left = self.client.budget.left if self.client else None
        waits = {str(what): seconds for what, seconds in self.client.waits.longest().items()} if self.client else {}
        return Progress(
            self.who, done, self.total, self.tally.begun, self.clock() - self._started, results, left, waits
        )

    def end(self) -> None:
        """Say what came of it."""
        if not self.tells_short and self._told == self._started:
            return
        done, results, reasons = self.tally.read()
        log.info("%s", last_line_of(self.who, done - self.tally.begun, self.clock() - self._started, results, reasons))

    @contextmanager
    def beating(self) -> Iterator[Pulse]:
        """Until the end of the context."""
        if self.client:
            self.client.waits.heed = self.heed
        try:
            with beating("pulse", _LOOK_SECONDS, self._tick_at_all):
                yield self
        finally:
            self.end()

    def _tick_at_all(self) -> None:
        try:
            self.tick()
        except Exception as error:  # noqa: BLE001 - a manifest that is away must not end the telling
            log.warning("The progress could not be told (%s).", type(error).__name__)


def pulse_of(
    environment: Environment,
    run: RunRow,
    stage: str,
    slices: Sequence[SliceRow],
    tally: Tally,
    client: MedplumClient | None = None,
) -> Pulse:
    """The pulse of a stage's work on slices of a run; of a synchronisation's, short works are not told."""
    entities = sorted({each.entity for each in slices})
    what = entities[0] if len(entities) == 1 else f"{len(entities)} entities"
    who, total = f"{stage} of {what}, run {run.id}", sum(each.eligible for each in slices)

    aborting = partial(is_aborted, environment, run.id)
    return Pulse(who, total, tally, aborting, client, run.id, tells_short=not run.kind.startswith(RunKind.SYNC))
