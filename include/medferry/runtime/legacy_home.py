"""Whether the legacy database is the one that the manifest's records are of, and no older copy of it.

The position is kept when it is read, and asked for after what is known was: who reads the same database at the same
time can only have kept an earlier one.
"""

from __future__ import annotations

import sqlalchemy as sa

from medferry.errors import MedferryError, TransientError
from medferry.manifest import homes
from medferry.manifest.homes import LegacyHome
from medferry.runtime.continuing import NotContinued, OtherSystem
from medferry.runtime.environment import Environment
from medferry.source.database import snapshot
from medferry.source.identity import LegacyIdentity, completed, differs, identity_of

_REMEDY = (
    "Correct the connection of the legacy database, or MEDFERRY_MANIFEST_URL. If it is to be the one from now on "
    "(moved, failed over, restored for good), `medferry systems --accept`."
)


class SourceBehind(TransientError):
    """A standby has not come as far as the legacy database had when it was last read. Nothing was read from it."""


def check_legacy(environment: Environment) -> None:
    """To be asked before it is read. How far it has come is kept, and what it tells of itself for the first time.

    Raises OtherSystem, SourceBehind, SourceUnavailable, SourceError, SettingsError.
    """
    known = _known(environment)
    with snapshot(environment.source) as connection:
        present = identity_of(connection)
    _check(known, present)
    if known:
        with environment.manifest.begin() as connection:
            homes.advance_legacy(connection, environment.migration.name, _home(present))
            whole = completed(known.server, present.server)
            homes.complete_legacy(connection, environment.migration.name, known, whole)


def keep_first(environment: Environment, source: sa.Connection) -> None:
    """Take the first legacy database on trust, and keep it, once a migration's rows were found in it."""
    present = _home(identity_of(source))
    with environment.manifest.begin() as connection:
        if homes.legacy_of(connection, environment.migration.name) is None:
            homes.keep_legacy(connection, environment.migration.name, present)


def check_legacy_if_it_answers(environment: Environment) -> None:
    """To be asked before it is compared. Raises OtherSystem, SourceBehind."""
    try:
        check_legacy(environment)
    except (NotContinued, SourceBehind):
        raise
    except MedferryError:
        return  # what needs it will say what is missing


def check_read(environment: Environment, connection: sa.Connection) -> None:
    """Ask the very connection that is to be read; what a run was prepared with may be another. Changes nothing.

    Raises OtherSystem, SourceBehind.
    """
    known = _known(environment)
    _check(known, identity_of(connection))


def look_at_legacy(environment: Environment) -> tuple[str, str, str]:
    """(what the manifest knows, what is there, what is wrong with it). Raises SourceUnavailable, SettingsError."""
    known = _known(environment)
    with snapshot(environment.source) as connection:
        present = identity_of(connection)
    problem = ""
    if known and _is_another(known, present):
        problem = "another one"
    elif known and _is_behind(known, present):
        problem = "behind" if present.is_standby else "an older copy"
    return told(known) if known else "", told(_home(present)), problem


def accept_legacy(environment: Environment) -> None:
    """From now on this is the legacy database, as far as it has come. Raises SourceUnavailable, SettingsError."""
    with snapshot(environment.source) as connection:
        present = identity_of(connection)
    with environment.manifest.begin() as connection:
        homes.keep_legacy(connection, environment.migration.name, _home(present))


def told(home: LegacyHome) -> str:
    """A legacy database for people, without its address, which may hold a password."""
    server = f" of the server {home.server}" if home.server else ""
    return f"{home.name}{server}" + ("" if home.position is None else f", position {home.position}")


def _check(known: LegacyHome | None, present: LegacyIdentity) -> None:
    if known is None:
        return
    if _is_another(known, present):
        raise OtherSystem(
            f"The manifest belongs to the legacy database {told(known)}; this is {told(_home(present))}.", _REMEDY
        )
    if not _is_behind(known, present):
        return
    if present.is_standby:
        raise SourceBehind(
            f"The standby of the legacy database has come to position {present.position}; it was read at "
            f"{known.position} before.",
            "Wait until it has caught up, or read from the server that was read before.",
        )
    raise OtherSystem(
        f"The legacy database {present.name} stands at position {present.position}, but was read at {known.position} "
        "before: this is an older copy of it.",
        _REMEDY,
    )


def _known(environment: Environment) -> LegacyHome | None:
    with environment.manifest.begin() as connection:
        return homes.legacy_of(connection, environment.migration.name)


def _home(present: LegacyIdentity) -> LegacyHome:
    return LegacyHome(present.name, present.server, present.position)


def _is_another(known: LegacyHome, present: LegacyIdentity) -> bool:
    return known.name != present.name or differs(known.server, present.server)


def _is_behind(known: LegacyHome, present: LegacyIdentity) -> bool:
    return known.position is not None and present.position is not None and present.position < known.position
