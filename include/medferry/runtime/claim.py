"""The claim of this manifest on the plan's identifier base: a Basic in Medplum that names both, and is made only once.

Two manifests that write under one base would each create every record, or take those of the other for their own. What
tells them of each other can be in Medplum alone. The claim has no tag of ours: it is no migrated record.

Copies of one manifest have one id, so whoever writes sets a new mark upon the claim, every ten minutes at most, and
keeps all that it has ever set. An older copy finds one that it does not know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from medferry.fhir.bundle import by_name
from medferry.fhir.identifiers import names_of
from medferry.manifest import homes
from medferry.manifest.homes import Unclaimed
from medferry.mapping.identity import CLAIM_SYSTEM, MANIFEST_SYSTEM, MARK_SYSTEM
from medferry.medplum import budget as points
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import RequestRefused, Unauthorised
from medferry.runtime.claim_in_medplum import TYPE, Claim, as_claim, changed, found_claims, named, read_claims, shows
from medferry.runtime.continuing import OlderManifest, OtherManifest
from medferry.runtime.environment import Environment

log = logging.getLogger(__name__)

_MARKED_FOR = 600.0
"""Seconds until a new mark is set: each is a version of the claim, and costs an update."""
_HELD_FOR = 60.0
"""Seconds until one who goes on writing looks at the claim again."""
_NO_RIGHT = (401, 403)
_TRIES, _CHANGED = 5, 412
"""How often that is tried while others of this manifest's change the claim (HTTP 412)."""

UNCLAIMED = {
    Unclaimed.REFUSED: "this client may not create a Basic there",
    Unclaimed.HIDDEN: "this client cannot read the Basic that it had created there",
}


def hold_claim(environment: Environment, client: MedplumClient) -> None:
    """To be asked before Medplum is written to: claims the identifier base where nobody has, and marks the claim.

    Raises OtherManifest where another manifest has, OlderManifest where a later copy of this one has marked it, and
    MedplumUnavailable. A client that may not is warned, once.
    """
    base, own, known = _known(environment)
    if known == Unclaimed.HIDDEN:
        return  # another would be made each time
    if known and known != Unclaimed.REFUSED and (found := read_claims(client, known)):
        _refuse_others(environment, own, found)
        _mark(environment, client, found[0])
        return
    wanted = _resource(environment, own)
    try:
        made = as_claim(client.create_unless(wanted, by_name(TYPE, (CLAIM_SYSTEM, base))))
    except (Unauthorised, RequestRefused) as error:  # not allowed, or several are there
        if isinstance(error, Unauthorised):
            _forget(environment, wanted)
        found = found_claims(client, base)
        kept = next((claim.id for claim in found), str(Unclaimed.REFUSED))
    else:
        found = [made, *found_claims(client, base)]
        kept = made.id if shows(client, made.id, environment.settings.settle_seconds) else str(Unclaimed.HIDDEN)
    _refuse_others(environment, own, found)
    with environment.manifest.begin() as connection:
        homes.keep_claim(connection, environment.migration.name, base, kept)
    if kept in UNCLAIMED and kept != known:
        log.warning("%s", unclaimed_text(base, Unclaimed(kept)))


def keep_claim(environment: Environment, client: MedplumClient) -> Callable[[], None]:
    """Hold the claim, for one who writes for long: what is returned is to be called before each write.

    It asks again where it has not for a minute, so that hours of one load are marked as well, and raises as
    `hold_claim` where the manifest was taken over meanwhile.
    """
    hold_claim(environment, client)
    held_at = client.waits.clock()

    def ask_again() -> None:
        nonlocal held_at
        if (now := client.waits.clock()) - held_at >= _HELD_FOR:
            hold_claim(environment, client)
            held_at = now

    return ask_again


def check_claim(environment: Environment, client: MedplumClient) -> None:
    """To be asked before there is anything to write; makes no claim. Raises OtherManifest, OlderManifest.

    A look ahead, as cheap as can be: what it does not see yet is seen before the first write.
    """
    base, own, known = _known(environment)
    try:
        if known in UNCLAIMED:
            return
        found = read_claims(client, known) if known else [as_claim(one) for one in client.find(TYPE, named(base))]
    except (Unauthorised, RequestRefused):
        return  # its AccessPolicy leaves Basic out: `hold_claim` warns of that
    _refuse_others(environment, own, found)


def others_claim(environment: Environment, client: MedplumClient) -> str:
    """Whose claim on the identifier base is not this manifest's; empty: nobody else has one."""
    base, own, _ = _known(environment)
    others = _others(environment, own, found_claims(client, base))
    return ", ".join(_told(claim, own) for claim in others)


def take_claim(environment: Environment, client: MedplumClient) -> None:
    """Make the claim on the identifier base this manifest's, whoever has it; who it was is told.

    Raises OtherManifest where Medplum does not let it, and MedplumUnavailable.
    """
    base, own, _ = _known(environment)
    found = found_claims(client, base)
    others = _others(environment, own, found)
    if others:
        free = others[0] if len(others) == len(found) else None
        changes = [changed(claim, _resource(environment, own) if claim is free else None) for claim in others]
        outcomes = client.batch(changes, points.WRITE * len(changes))
        failed = next((outcome for outcome in outcomes if not outcome.done), None)
        if failed is not None:
            raise OtherManifest(
                f"{_has(base, _told(others[0], own))}, and Medplum did not let this one take it over "
                f"(HTTP {failed.status}).",
                "Let the client's AccessPolicy include updating and deleting a Basic; then accept again.",
            )
        log.warning("The identifier base %s was claimed by %s, and is now by %s.", base, _told(others[0], own), own)
    with environment.manifest.begin() as connection:
        homes.forget_claims(connection, environment.migration.name)


def unclaimed_text(base: str, why: Unclaimed) -> str:
    """What is told of an identifier base that could not be claimed."""
    return (
        f"The identifier base {base} could not be claimed in Medplum, as {UNCLAIMED[why]}: another manifest that "
        "writes under it would not be noticed. Let the client's AccessPolicy include Basic (create, read, search, "
        "update, delete), then `medferry systems --accept`."
    )


def _known(environment: Environment) -> tuple[str, str, str]:
    """The identifier base, the manifest's own id, and what it knows of its claim."""
    migration = environment.migration
    with environment.manifest.begin() as connection:
        own = homes.manifest_id(connection)
        return migration.naming.base, own, homes.claim_of(connection, migration.name, migration.naming.base)


def _mark(environment: Environment, client: MedplumClient, claim: Claim) -> None:
    """Set a new mark where the last one is no longer new. Whoever of this manifest's is quicker has done it."""
    for _ in range(_TRIES):
        with environment.manifest.begin() as connection:
            age = homes.age_of_mark(connection, claim.mark)
        if age is not None and 0 <= age < _MARKED_FOR:
            return
        wanted = _resource(environment, claim.manifest)
        [outcome] = client.batch([changed(claim, wanted)], points.WRITE)
        if outcome.done:
            return
        if outcome.status in _NO_RIGHT:
            _forget(environment, wanted)
        if outcome.status != _CHANGED:
            log.warning(
                "The claim on the identifier base could not be marked in Medplum (HTTP %d): an older copy of this "
                "manifest would not be noticed. Let the client's AccessPolicy include updating a Basic.",
                outcome.status,
            )
            return
        found = read_claims(client, claim.id)
        _refuse_others(environment, claim.manifest, found)
        if not found:
            return  # it was just deleted: the next one makes it again
        claim = found[0]


def _resource(environment: Environment, own: str) -> dict[str, Any]:
    """The claim with a new mark, which the manifest knows from now on, whatever becomes of it in Medplum."""
    naming = environment.migration.naming
    with environment.manifest.begin() as connection:
        mark = homes.add_mark(connection)
    names = ((CLAIM_SYSTEM, naming.base), (MANIFEST_SYSTEM, own), (MARK_SYSTEM, mark))
    return {
        "resourceType": TYPE,
        "identifier": [{"system": system, "value": value} for system, value in names],
        "code": {
            "coding": [{"system": CLAIM_SYSTEM, "code": "claim"}],
            "text": f"migration {naming.migration} of Medferry",
        },
    }


def _forget(environment: Environment, wanted: dict[str, Any]) -> None:
    """Its mark, which Medplum has refused for want of rights. After any other answer it may have been set all the same:
    a request is sent again where none came."""
    with environment.manifest.begin() as connection:
        homes.forget_mark(connection, dict(names_of(wanted))[MARK_SYSTEM])


def _others(environment: Environment, own: str, found: Iterable[Claim]) -> list[Claim]:
    """Those of other manifests than `own`, and of later copies of it. A claim of before there were marks has none."""
    with environment.manifest.begin() as connection:
        return [
            claim
            for claim in found
            if claim.manifest != own or (claim.mark and homes.age_of_mark(connection, claim.mark) is None)
        ]


def _refuse_others(environment: Environment, own: str, found: Iterable[Claim]) -> None:
    base, other = environment.migration.naming.base, next(iter(_others(environment, own, found)), None)
    if other is None:
        return
    if other.manifest == own:
        raise OlderManifest(
            f"A later copy of this manifest {own} writes under the identifier base {base} into this Medplum (since "
            f"{other.since}): this one is older, and knows nothing of what that one has loaded or decided since.",
            "Correct MEDFERRY_MANIFEST_URL. If this one was restored from a backup for good, let nobody use the other "
            "any more, then `medferry systems --accept` and go on as the page on backups says.",
        )
    raise OtherManifest(
        f"{_has(base, str(other))}; this is the manifest {own}. Each would write the other's records a second time, or "
        "over.",
        "Correct MEDFERRY_MANIFEST_URL, or give the plan an identifier_base of its own. If that manifest writes to "
        "this Medplum no more (it was lost, or a rehearsal), `medferry systems --accept`.",
    )


def _told(claim: Claim, own: str) -> str:
    return f"a later copy of {claim}" if claim.manifest == own else str(claim)


def _has(base: str, other: str) -> str:
    return f"In this Medplum {other} writes under the identifier base {base}"
