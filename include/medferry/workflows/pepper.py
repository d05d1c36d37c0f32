"""Protect all of the manifest's hashes by the newest pepper, or go on without one that is lost."""

from __future__ import annotations

from typing import Any

from medferry.errors import MedferryError
from medferry.manifest import audit
from medferry.manifest.database import open_manifest
from medferry.manifest.hashes import read, stored
from medferry.manifest.peppers import forget_peppers, peppers_of
from medferry.manifest.rewrap import rewrap
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings
from medferry.store.pepper import Pepper

FORGOTTEN = "forgotten"
"""Instead of a hash whose pepper is lost: no content has it."""


class NoPepper(MedferryError):
    """There is no pepper, or not the one that is meant."""


def protect_all(environment: Environment) -> dict[str, int]:
    """Table → rows whose hashes were plain, or of an older pepper, and are of the newest now. Raises NoPepper.

    Nothing is read but the manifest, and no hash becomes another: whoever compares finds what was found before.
    """
    pepper = environment.settings.pepper
    if pepper is None:
        raise NoPepper("There is no pepper to protect hashes with.", "Make and give one: docs/runbooks/pepper.md.")
    of = f"{pepper.newest}:"

    def change(text: Any) -> Any:
        return text if isinstance(text, str) and text.startswith(of) else stored(read(text, pepper), pepper)

    changed = rewrap(environment.manifest, change)
    with environment.manifest.begin() as connection:
        forget_peppers(connection, peppers_of(connection) - {pepper.newest})
        audit.append(connection, audit.Act.REWRAPPED, f"pepper/{pepper.newest}")
    return changed


def forget(settings: Settings, lost: str) -> dict[str, int]:
    """Table → rows that have a hash no more, as its pepper (by its id) is `lost`. Raises NoPepper for one that is not.

    The next run writes each record of theirs once more, and nobody can tell what was changed by others before.
    """
    pepper = settings.pepper
    manifest = open_manifest(settings.manifest_url, pepper)
    with manifest.connect() as connection:
        known = peppers_of(connection)
    given, of = pepper.ids if pepper else frozenset[str](), f"{lost}:"
    changed: dict[str, int] = {}
    if lost not in given:  # a process that a rotation has left out may have written by one that is no more noted
        changed = rewrap(manifest, lambda one: FORGOTTEN if isinstance(one, str) and one.startswith(of) else one)
    if lost in given or (lost not in known and not any(changed.values())):
        known_ids = ", ".join(sorted(known)) or "none"
        raise NoPepper(f"The pepper {lost} is not one that is lost.", f"Peppers of this manifest: {known_ids}.")
    with manifest.begin() as connection:
        forget_peppers(connection, {lost})
        audit.append(connection, audit.Act.FORGOT, f"pepper/{lost}")
    return changed


def described(pepper: Pepper | None) -> str:
    """How hashes are protected, as people read it."""
    if pepper is None:
        return "not protected: there is no pepper"
    older = f", {len(pepper.ids) - 1} older still read" if len(pepper.ids) > 1 else ""
    return f"protected (pepper {pepper.newest}{older})"
