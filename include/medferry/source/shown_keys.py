"""How source keys are shown: as they are, or each as a digest, since a key may be a medical record number.

Whatever shows a key to people or writes one into a log asks `shown_key`. Ids of units are configuration and are shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from medferry.source.printable import printable

_PREFIX = "key:"
_SHOWN = re.compile(r"key:[0-9a-f]{16}")
_OF_EXAMPLE = re.compile(r"(?:[^ /]+/)?key:[0-9a-f]{16}(?: |$)")
_ROWS = re.compile(r" ?\[rows [0-9a-f]{12}\]")


class _Way:
    digest: Callable[[str, str], str] | None = None


def show_keys_by(digest: Callable[[str, str], str] | None) -> None:
    """From now on show keys in this process by their `digest` (of entity and key); None: as they are."""
    _Way.digest = digest


def shown_key(entity: str, key: str) -> str:
    """A source key of an entity as it may be shown: the key, or "key:" and 16 hexadecimal digits."""
    return as_shown(_Way.digest(entity, key)) if _Way.digest and not is_shown(key) else key


def shown_name(entity: str, key: str) -> str:
    """A record as it may be named in a text: its entity and key, which is printable."""
    return f"{entity} {printable(shown_key(entity, key))}"


def shown_keys(entity: str, keys: Iterable[str]) -> list[str]:
    """The same of several."""
    return [shown_key(entity, key) for key in keys]


def shown_foreign(system: str, value: str) -> str:
    """An identifier of another's, which is no source key and may be anything about a person: its system alone.

    Where keys are shown by their digests, the value's, too, so that equal ones can be told.
    """
    return f"{system} {as_shown(_Way.digest(system, value))}" if _Way.digest else system


def as_shown(digest: str) -> str:
    """What stands for a key whose digest is known."""
    return f"{_PREFIX}{digest}"


def is_shown(text: str) -> bool:
    """Whether a text stands for a key."""
    return bool(_SHOWN.fullmatch(text))


def shown_record(entity: str, key: str) -> str:
    """The same of a key that a check tells of; a check of all entities puts the entity before it ("patient/4711")."""
    if entity != "all" or "/" not in key:
        return shown_key(entity, key)
    of, _, own = key.partition("/")
    return f"{of}/{shown_key(of, own)}"


def shown_place(unresolved: bool, place: str) -> str:
    """The place of a record's end: of a reference that is `unresolved` it names another record ("clinic 99")."""
    of, space, key = place.partition(" ")
    return f"{of} {shown_key(of, key)}" if unresolved and space else place


def shown_example(text: str) -> str:
    """An example of a check, as it was recorded; in what was recorded with its key it is not told."""
    return text if _Way.digest is None or _OF_EXAMPLE.match(text) else "a record whose key is not shown: verify again"


def shown_note(text: str) -> str:
    """A check's note; without the digest of the keys that could not be checked, which tells a single one."""
    return text if _Way.digest is None else _ROWS.sub("", text)


def shown_subject(subject: dict[str, Any]) -> dict[str, Any]:
    """What was verified, with the keys of its records as they may be shown."""
    keys = {entity: shown_keys(entity, some) for entity, some in subject.get("keys", {}).items()}
    return {**subject, **({"keys": keys} if "keys" in subject else {})}
