"""Whether the legacy database, Medplum, the staging area and the identifiers are those that the manifest belongs to.

A manifest used with another Medplum would make references to ids of the first; a staging area that two manifests share
would give one the rows of the other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from medferry.errors import MedferryError
from medferry.manifest import homes
from medferry.manifest.homes import Home
from medferry.manifest.renamed import Renaming, renamings
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import CertificateRefused, Unauthorised
from medferry.medplum.http import check_address, is_local
from medferry.runtime.approval import check_approved
from medferry.runtime.claim import check_claim, others_claim, take_claim
from medferry.runtime.continuing import NotContinued, OtherMigration, OtherSystem, Renamed
from medferry.runtime.environment import Environment
from medferry.runtime.known_keys import check_known_keys, look_at_keys
from medferry.runtime.legacy_home import accept_legacy, check_legacy, look_at_legacy
from medferry.runtime.protection import check_protection
from medferry.store.place import without_account

log = logging.getLogger(__name__)

_ACCEPT = "if it is the same under another name, `medferry systems --accept`."


@dataclass(frozen=True, slots=True)
class SystemState:
    """A system as the manifest knows it (empty: not yet) and as it is; `problem` says why they do not go together."""

    name: str
    known: str
    present: str
    problem: str = ""


def check_systems(environment: Environment, dry: bool) -> None:
    """To be asked before a run is prepared. What is met for the first time is taken on trust, and kept.

    Raises OtherSystem, OtherManifest, OtherMigration, Renamed, Rekeyed, StagingError, DraftMapping, PlainStaging,
    KeyMissing, SourceBehind, SourceUnavailable, SettingsError, Unauthorised, CertificateRefused: hours of staging would
    mend none of them. A Medplum that does not answer is asked again before the load.
    """
    if environment.settings.medplum_base_url:  # what the next two ask of it would be wrong of what is none
        check_address(environment.settings.medplum_base_url)
    check_approved(environment.migration, environment.settings, dry)
    check_protection(environment.settings, dry)
    check_staging(environment)
    if dry:
        return
    claim_identifiers(environment)
    check_legacy(environment)
    check_known_keys(environment)
    with environment.medplum() as client:
        check_medplum_if_it_answers(environment, client, claim=True)


def check_medplum(environment: Environment, client: MedplumClient) -> None:
    """To be asked before Medplum is written to. Raises OtherSystem, MedplumUnavailable, Unauthorised."""
    _check_medplum(environment, _present(environment, client, patient=True))


def check_medplum_if_it_answers(environment: Environment, client: MedplumClient, claim: bool = False) -> None:
    """To be asked before it is compared, or, with its `claim`, before there is anything to write.

    Raises OtherSystem, OtherManifest, Unauthorised, CertificateRefused.
    """
    try:
        _check_medplum(environment, _present(environment, client, patient=False))
        if claim:
            check_claim(environment, client)
    except (NotContinued, Unauthorised, CertificateRefused):
        raise
    except MedferryError as error:
        log.warning("%s It is asked again when it is needed.", error.problem)


def _present(environment: Environment, client: MedplumClient, patient: bool) -> Home:
    return Home(environment.settings.medplum_base_url.rstrip("/") + "/", client.project(patient))


def _check_medplum(environment: Environment, present: Home) -> None:
    migration = environment.migration.name
    with environment.manifest.begin() as connection:
        known = homes.medplums_of(connection, migration)
        if known and not any(_same(one, present) for one in known):
            raise OtherSystem(
                f"The manifest belongs to {_told(known[-1])}; this is {_told(present)}.",
                f"Correct the connection of Medplum, or MEDFERRY_MANIFEST_URL; {_ACCEPT}",
            )
        if present not in known:
            homes.add_medplum(connection, migration, present)


def check_staging(environment: Environment) -> None:
    """Raises OtherSystem, StagingError."""
    with environment.manifest.begin() as connection:
        own = homes.manifest_id(connection)
    found = environment.staging_area.owner()
    if not found:
        environment.staging_area.claim(own)
    elif found != own:
        place = without_account(environment.settings.staging_url)
        raise OtherSystem(
            f"The staging area {place} belongs to another manifest ({found}).",
            f"Give each manifest a MEDFERRY_STAGING_URL of its own; {_ACCEPT}",
        )


def claim_identifiers(environment: Environment) -> None:
    """Raises OtherMigration, Renamed."""
    migration = environment.migration
    with environment.manifest.begin() as connection:
        if found := renamings(connection, migration.name, _types(environment)):
            raise _renamed(found)
        taken = homes.claim_identifiers(connection, migration.name, _systems(environment))
        if taken:
            system, other = next(iter(taken.items()))
            raise OtherMigration(
                f"The migration {other} writes under the identifier system {system} ({len(taken)} in all): records of "
                f"{migration.name} would be taken for its own.",
                f"Give one of them an identifier_base of its own; if {other} was renamed, `medferry systems --accept`.",
            )


def look_at_systems(environment: Environment) -> list[SystemState]:
    """Each system with what is known of it. Changes nothing.

    Raises MedplumUnavailable, Unauthorised, StagingError, SourceUnavailable, SettingsError.
    """
    with environment.medplum() as client:
        present, other_manifest = _present(environment, client, patient=True), others_claim(environment, client)
    staged, migration = environment.staging_area.owner(), environment.migration
    with environment.manifest.begin() as connection:
        own, known = homes.manifest_id(connection), homes.medplums_of(connection, migration.name)
        taken = homes.others_identifiers(connection, migration.name, _systems(environment))
        renamed = renamings(connection, migration.name, _types(environment))
    problem = f"{len(taken)} belong to another migration" if taken else ""
    if renamed:
        problem = problem or f"{renamed[0].new} is new, {renamed[0].old} is made no more"
    if other_manifest:
        problem = problem or f"claimed by {other_manifest}"
    other = bool(known) and not any(_same(one, present) for one in known)
    return [
        SystemState("legacy", *look_at_legacy(environment)),
        SystemState("Medplum", _told(known[-1]) if known else "", _told(present), "another one" if other else ""),
        SystemState(
            "staging",
            without_account(environment.settings.staging_url) if staged == own else "",
            f"of the manifest {staged}" if staged else "of no manifest yet",
            "of another manifest" if staged not in ("", own) else "",
        ),
        SystemState(
            "identifiers",
            migration.name,
            ", ".join(sorted({migration.name, *taken.values()})),
            problem,
        ),
        SystemState("keys", migration.name, migration.name, "; ".join(look_at_keys(environment))),
    ]


def accept_systems(environment: Environment) -> None:
    """From now on the manifest belongs to the present systems. Raises what `look_at_systems` raises, and OtherManifest
    where another's claim on the identifiers cannot be taken over: nothing is accepted then."""
    migration = environment.migration.name
    with environment.medplum() as client:
        present = _present(environment, client, patient=True)
        take_claim(environment, client)
    with environment.manifest.begin() as connection:
        own = homes.manifest_id(connection)
        if not any(one.identity == present.identity != "" for one in homes.medplums_of(connection, migration)):
            homes.forget_medplums(connection, migration)
        homes.add_medplum(connection, migration, present)
        homes.take_identifiers(connection, migration, _systems(environment))
    environment.staging_area.claim(own)
    accept_legacy(environment)


def _renamed(found: list[Renaming]) -> Renamed:
    first = found[0]
    others = f" ({len(found)} such pairs in all)" if len(found) > 1 else ""
    return Renamed(
        f"{first.number:,} {first.resource_type} are in Medplum under the identifier system {first.old}, of which the "
        f"plan makes no more; {first.new} is new{others}. If that is a renaming, each would be created again.",
        "Give the entity, the slot or the identifier_base its old name again. If the new ones are other records, or "
        "all are to be created anew (`leftovers` says what becomes of the old ones), `medferry systems --accept`.",
    )


def _types(environment: Environment) -> dict[str, str]:
    """Identifier system → resource type of all that the plan makes."""
    naming, specs = environment.migration.naming, environment.migration.specs
    return {
        naming.system(entity, slot): resource_type
        for entity, spec in specs.items()
        for slot, resource_type in spec.produces.items()
    }


def _systems(environment: Environment) -> list[str]:
    return [system for systems in environment.migration.systems.values() for system in systems]


def _same(known: Home, present: Home) -> bool:
    """By project and address; a project on this machine may have another port, since it has no fixed one.

    The same project under another address may be a copy of the database: that is for a person to say.
    """
    if known.identity and present.identity:
        local = is_local(known.place) and is_local(present.place)
        return known.identity == present.identity and (local or known.place == present.place)
    return known.place == present.place


def _told(medplum: Home) -> str:
    project = f"the project {medplum.identity}" if medplum.identity else "an unknown project"
    return f"{project} of the Medplum at {medplum.place}"
