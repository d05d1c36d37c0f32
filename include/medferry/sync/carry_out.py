"""Begin the run of some keys and carry it out: extract, transform, load, each as any run does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import sqlalchemy as sa

from medferry.apply.plan import DriftPolicy
from medferry.manifest import conflict_decisions, leases, runs
from medferry.manifest.runs import RunStatus
from medferry.manifest.source_records import dispositions_of
from medferry.runtime.control import RunAborted
from medferry.runtime.environment import own_run
from medferry.runtime.options import RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.key_slices import Keys, scope_of_keys, slices_of_keys
from medferry.stages.load import load_session
from medferry.stages.prepare import begin
from medferry.stages.transform import transform_slice
from medferry.sync.followers import followers_of, note_followers
from medferry.sync.wave import SyncedWave

Written = Callable[[sa.Connection], None]
"""Writes to the manifest, in a transaction of the caller."""


OPTIONS = RunOptions()
"""Of the runs of a synchronisation."""


def nothing(_: sa.Connection) -> None:
    """Beside what has to be written, nothing is."""


def begin_run(
    wave: SyncedWave, run_id: str, keys: Keys, options: RunOptions, view: sa.Connection, beside: Written = nothing
) -> None:
    """Note the run of some keys, and with it what `beside` writes; then stage their rows as `view` has them.

    Raises LeaseHeld, and nothing is noted. After any other error the run is ended; it can go on.
    """
    migration = wave.environment.migration
    scope, slices = scope_of_keys(migration, keys), slices_of_keys(migration, keys, options.slice_rows)
    begun = begin(wave.environment, run_id, wave.kind, scope, options, slices, beside=beside)
    try:
        for slice_ in begun:
            extract_slice(wave.environment, run_id, slice_.id, view)
    except BaseException as error:
        _end(wave, run_id, _status(error))
        raise


def carry_out(wave: SyncedWave, run_id: str, at_end: Written = nothing) -> Counter[str]:
    """Settle every key of a run that was begun; returns its records by disposition. Safe to repeat at any point.

    `at_end` writes in the transaction that ends the run. Raises what the stages raise: then the run has failed, and
    may go on.
    """
    environment = wave.environment
    with environment.manifest.begin() as connection:
        slices = [slice_.id for slice_ in runs.slices_of(connection, run_id)]
    try:
        for slice_id in slices:
            extract_slice(environment, run_id, slice_id)
        for slice_id in slices:
            transform_slice(environment, run_id, slice_id)
        run, options = own_run(environment, run_id)
        with load_session(environment, run, options, DriftPolicy.MERGE) as session:
            session.load(slices)
        followers = followers_of(wave, run_id)
    except BaseException as error:
        _end(wave, run_id, _status(error))
        raise

    def end(connection: sa.Connection) -> None:
        at_end(connection)
        note_followers(connection, wave, followers)

    return _end(wave, run_id, RunStatus.APPLIED, end)


def _status(error: BaseException) -> RunStatus:
    return RunStatus.ABORTED if isinstance(error, RunAborted) else RunStatus.FAILED


def _end(wave: SyncedWave, run_id: str, status: RunStatus, beside: Written = nothing) -> Counter[str]:
    with wave.environment.manifest.begin() as connection:
        runs.finish_run(connection, run_id, status)
        leases.release(connection, run_id)
        conflict_decisions.supersede_gone(connection, wave.environment.migration.name)
        beside(connection)
        return dispositions_of(connection, run_id)
