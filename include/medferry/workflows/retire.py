"""Take down a wave that is over: what was staged goes, and the journal with the last wave; the evidence stays.

Each act may be repeated. Once all conditions held and it was noted, it only goes forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from medferry.cutover.acts import Place
from medferry.cutover.gates import Gates
from medferry.definition.inverses import takes_births
from medferry.errors import MedferryError
from medferry.governance.readiness import GateName
from medferry.manifest import cutovers
from medferry.manifest.clock import read_clock, seconds_between
from medferry.manifest.purges import PurgeReason
from medferry.manifest.retirements import Retirement, record_retirement, retired_waves, retirement_of
from medferry.plan.people import Approval
from medferry.plan.questions import wave_ids
from medferry.report.evidence import members_of
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import execute, journal_of, to_remove
from medferry.source.changes.journal import Journal
from medferry.store.evidence import digest_of_archive, publish_evidence, write_evidence
from medferry.store.files import Store
from medferry.store.keys import Key
from medferry.store.place import without_account
from medferry.sync.wave import check_wave
from medferry.workflows.cutover import only_mover
from medferry.workflows.cutover_words import say_of_wave
from medferry.workflows.four_eyes import Agreement
from medferry.workflows.purge import Found, Kept, find, purge
from medferry.workflows.readiness import asked_of

_DAY = 86_400.0
_SETTLED = (GateName.EXCEPTIONS, GateName.DEAD_LETTERS, GateName.CONFLICTS, GateName.HELD_BACK)
"""What must be decided before its evidence is written."""


class NotOver(MedferryError):
    """A wave cannot be taken down yet. Nothing was removed."""


@dataclass(frozen=True, slots=True)
class Retired:
    """What was done, or would be: folders of staged files, statements in the legacy database, what people have to do.

    `archive` and `signed_by` are empty in a dry run.
    """

    folders: list[Found]
    statements: list[str]
    left_to_do: list[str]
    archive: str = ""
    signed_by: str = ""


def lines_of(found: Retired, word: str) -> list[str]:
    """What was done, or would be, line by line. `word` says which: "removed"."""
    files, size = sum(one.files for one in found.folders), sum(one.bytes for one in found.folders)
    staged = f"{len(found.folders)} folders of staged files, {files:,} files, {size / 1e6:,.1f} MB {word}."
    return [staged, *found.statements, *(f"To do: {line}" for line in found.left_to_do)]


def told(environment: Environment, wave_id: str) -> tuple[Retired, list[str]]:
    """The dry run: what would be done, and why it would be refused. Changes nothing. Raises NoSuchWave."""
    found = Retired(_folders(environment, wave_id), _statements(environment, wave_id), _left(environment, wave_id))
    return found, reasons(environment, wave_id)


def retire(
    environment: Environment, wave_id: str, person: str, folder: str, answered: datetime | None = None
) -> Retired:
    """Take a wave down, or go on with it; its evidence goes to `folder`, a path or an fsspec URL.

    Raises NotOver, KeyMissing, CutoverBusy, NoSuchWave, WaitingForSecond, and nothing is removed; CaptureBroken where
    the account may not remove the journal, StagingError, what a `Store` raises: then run it again.
    """
    key, migration = environment.settings.evidence_key, environment.migration
    with only_mover(environment):  # from the note on nobody rolls it back: no other wave need wait
        if open_ := reasons(environment, wave_id):
            raise not_over(wave_id, open_)
        if not _is_begun(environment, wave_id):
            person = say_to_retire(environment, wave_id, person, answered).require()
        _note(environment, wave_id, Retirement.RETIRING, migration.fingerprint, person, "")
    folders = list(purge(environment, _folders(environment, wave_id), person))
    statements = _statements(environment, wave_id)
    if statements:
        execute(environment.capture, _journal(environment), statements)
    left, units = _left(environment, wave_id), _units(environment, wave_id)
    with environment.manifest.begin() as connection:
        said = {"by": person, "legacy_statements": statements, "left_to_do": left}
        members = members_of(connection, migration, wave_id, units, said)
    archive, digest, signed_by = _keep(environment, folder, f"{migration.name}-{wave_id}.zip", members, key)
    _note(environment, wave_id, Retirement.RETIRED, digest, person, f"signed by {signed_by}")
    return Retired(folders, statements, left, archive, signed_by)


def _keep(
    environment: Environment, folder: str, name: str, members: Mapping[str, bytes], key: Key
) -> tuple[str, str, str]:
    """Write the evidence: where it is, the digest of what is there then, and who signed it."""
    if "://" in folder:
        store = Store(folder, options=environment.settings.store_options)
        signed_by = publish_evidence(store, name, members, key)
        return f"{without_account(folder)}/{name}", store.digest(name), signed_by
    path = Path(folder, name)
    signed_by = write_evidence(path, members, key)
    return str(path), digest_of_archive(path), signed_by


def say_to_retire(environment: Environment, wave_id: str, person: str, answered: datetime | None = None) -> Agreement:
    """Say that a wave is to be taken down, as one of two where the plan asks for them.

    Raises SamePerson, NotAnApprover, AnswerIsOver.
    """
    return say_of_wave(environment, wave_id, Approval.RETIRE, person, answered=answered)


def not_over(wave_id: str, open_: Sequence[str]) -> NotOver:
    """For what `reasons` has found."""
    return NotOver(
        f"The wave {wave_id} is not over: {'; '.join(open_)}.", "Settle each, then try again: nothing was removed."
    )


# -- whether it is over ----------------------------------------------------------------------------


def reasons(environment: Environment, wave_id: str) -> list[str]:
    """Why the wave cannot be taken down now; none: it can. What was begun asks only whether it is still in Medplum."""
    migration, units = environment.migration, _units(environment, wave_id)
    with environment.manifest.begin() as connection:
        flip = cutovers.newest_flip(connection, migration.name, wave_id)
        running = [one for one in cutovers.running_attempts(connection, migration.name) if one.wave == wave_id]
        days = seconds_between(flip.ended_at, read_clock(connection)) / _DAY if flip and flip.ended_at else None
    with environment.medplum() as client:
        places = Gates(environment, client).places(units)
    found = [f"{unit} is written in {place}" for unit, place in places.items() if place is not Place.MEDPLUM]
    found += [f"an attempt ({one.direction}) came to no end" for one in running]
    if flip is None or flip.ended_at is None or days is None:
        return [*found, "it was never flipped"]
    if _is_begun(environment, wave_id):
        return found
    plan = migration.plan.rollback
    if plan is None:
        found.append("the plan has no rollback window")
    elif days < plan.window_days:
        found.append(f"its rollback window runs for {plan.window_days - days:.1f} days more")
    gates = asked_of(environment, wave_id, _SETTLED)
    return found + [f"{gate.name}: {gate.evidence}" for gate in gates if not gate.ok]


def _is_begun(environment: Environment, wave_id: str) -> bool:
    """Whether all conditions held since it was flipped, and it is being taken down."""
    with environment.manifest.begin() as connection:
        flip = cutovers.newest_flip(connection, environment.migration.name, wave_id)
        begun = retirement_of(connection, environment.migration.name, wave_id)
    return begun is not None and flip is not None and begun.at >= (flip.ended_at or begun.at)


# -- what there is to do ---------------------------------------------------------------------------


def _units(environment: Environment, wave_id: str) -> list[str]:
    """Its own; the shared ones go with the last wave."""
    plan = environment.migration.plan
    check_wave(plan, wave_id)
    if not plan.waves:
        return plan.unit_ids
    own = [unit for unit in plan.wave(wave_id).units if unit not in plan.shared_units]
    return [*own, *plan.shared_units] if not _others(environment, wave_id) else own


def _others(environment: Environment, wave_id: str) -> list[str]:
    """The other waves that are not taken down: they read the same tables."""
    with environment.manifest.begin() as connection:
        waves = wave_ids(environment.migration.plan)
        over = retired_waves(connection, environment.migration.name, waves)
    return [wave for wave in waves if wave != wave_id and wave not in over]


def _folders(environment: Environment, wave_id: str) -> list[Found]:
    """What was staged of nothing but waves that are over, this one among them; shared units go with any."""
    plan, others = environment.migration.plan, _others(environment, wave_id)
    waves = [wave for wave in wave_ids(plan) if wave not in others]
    retired = {unit for wave in waves for unit in (plan.units_of_wave(wave) if plan.waves else plan.unit_ids)}
    return [one for one in find(environment, None, retired=retired) if one.outcome is PurgeReason.RETIRED]


def _statements(environment: Environment, wave_id: str) -> list[str]:
    """What takes the journal and its triggers out of the legacy database; none while another wave reads them."""
    if environment.migration.capture is None or _others(environment, wave_id):
        return []
    return to_remove(environment.capture, _journal(environment))


def _journal(environment: Environment) -> Journal:
    capture = environment.migration.capture
    assert capture is not None
    return journal_of(environment.capture, capture.watched(), takes_births(environment.migration.inverses))


def _left(environment: Environment, wave_id: str) -> list[str]:
    """What people have to do, by the names of accounts; no secret."""
    found = [f"Stop keeping {wave_id} in step: pause its sync, in Airflow or wherever it is begun."]
    if at_work := [one for one in find(environment, None) if one.outcome is Kept.AT_WORK]:
        found.append(f"{len(at_work)} folder(s) are of runs that are at work: when they have ended, run it again.")
    if others := _others(environment, wave_id):
        return [*found, f"Keep journal, accounts and clients: {', '.join(others)} still need(s) them."]
    s, migration = environment.settings, environment.migration
    urls = {"reads": s.source_url, "keeps the journal": s.capture_url, "writes back": s.legacy_writer_url}
    found += [
        f"Legacy database: drop the account {sa.make_url(url).username or 'of that URL'}, which {what}."
        for what, url in urls.items()
        if url
    ]
    found.append(f"Medplum: delete the ClientApplication {s.medplum_client_id}, or its secret.")
    found += [f"Medplum: delete the ClientApplication {one}, the probe {name}." for name, (one, _) in s.probes.items()]
    if migration.gate is not None:
        found.append("The gates stay: they refuse writes. Once nobody can reach the tables: `medferry gate remove`.")
    found.append("Keys of the protected store: destroy them when `medferry purge` shows nothing that is kept.")
    return [*found, "In Airflow: delete the connections, and pause the DAGs of the migration."]


def _note(environment: Environment, wave_id: str, state: Retirement, digest: str, person: str, note: str) -> None:
    with environment.decisions.begin() as connection:
        record_retirement(connection, environment.migration.name, wave_id, state, digest, person, note)
