"""A source key as a person gives it: the key, or the digest that a report shows instead."""

from __future__ import annotations

from medferry.errors import MedferryError
from medferry.manifest.source_records import key_pages
from medferry.runtime.environment import Environment
from medferry.source.shown_keys import as_shown, is_shown
from medferry.workflows.pepper import NoPepper


class UnknownDigest(MedferryError):
    """No key that any run has met has this digest."""


def key_given(environment: Environment, entity: str, text: str) -> str:
    """The source key that a text names; a digest is looked for among all keys of the entity. Raises UnknownDigest,
    NoPepper, and SettingsError where there is no manifest.
    """
    if not is_shown(text):
        return text
    pepper = environment.settings.pepper
    if pepper is None:
        raise NoPepper(f"{text} is the digest of a key, and there is no pepper.", "Give it: docs/runbooks/pepper.md.")
    for page in key_pages(environment.manifest, entity):
        for key in page:
            if any(as_shown(digest) == text for digest in pepper.shown_ever(entity, key)):
                return key
    raise UnknownDigest(
        f"No run has met a {entity} with the digest {text}.",
        "Check the entity; a digest is of the pepper that was there when it was shown, which must be given still.",
    )


def digests_of(environment: Environment, entity: str, key: str) -> list[str]:
    """What is shown instead of a key, the newest pepper's first. Raises NoPepper."""
    pepper = environment.settings.pepper
    if pepper is None:
        raise NoPepper("There is no pepper, so no digest of a key.", "Make and give one: docs/runbooks/pepper.md.")
    return [as_shown(digest) for digest in pepper.shown_ever(entity, key)]
