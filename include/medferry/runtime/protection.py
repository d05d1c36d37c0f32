"""Whether what is staged is protected, and the refusal of a run that would leave patient data in plain text.

What is staged for a Medplum on this machine is a trial; for any other it is taken for real patients' data.
"""

from __future__ import annotations

import logging

from medferry.medplum.http import is_local
from medferry.runtime.continuing import NotContinued
from medferry.runtime.settings import PLAIN_STAGING, Settings
from medferry.store.place import without_account

log = logging.getLogger(__name__)

_REMEDY = (
    "Give a key: the connection medferry_store, MEDFERRY_STORE_KEY_FILE or MEDFERRY_STORE_KEY_COMMAND "
    f"(docs/runbooks/store.md). Where the staging area is protected otherwise, set {PLAIN_STAGING}=yes."
)


class PlainStaging(NotContinued):
    """There is no key, and Medplum is not on this machine. Nothing is staged or written."""


def check_protection(settings: Settings, dry: bool) -> None:
    """To be asked before anything is staged. Raises PlainStaging, KeyMissing; a dry run without a key is warned of."""
    if settings.keys is not None or is_trial(settings):
        return
    if not dry and not settings.plain_staging:
        raise PlainStaging("Rows and Bundles would be staged in plain text: there is no key.", _REMEDY)
    log.warning(
        "Rows and Bundles are staged in plain text in %s: there is no key.", without_account(settings.staging_url)
    )


def protection_of(settings: Settings) -> str:
    """How staged files are protected, as people read it. Raises KeyMissing."""
    keys = settings.keys
    if keys is not None:
        older = f", {len(keys.keys) - 1} older still read" if len(keys.keys) > 1 else ""
        return f"encrypted (key {keys.newest.name}{older})"
    if is_trial(settings):
        return "in plain text: there is no key. A run to a Medplum that is not on this machine needs one"
    if settings.plain_staging:
        return f"in plain text: there is no key, which {PLAIN_STAGING} allows"
    return "in plain text: there is no key, so a run is refused; a dry run is not"


def is_trial(settings: Settings) -> bool:
    """Whether Medplum is on this machine, or none is named yet."""
    return not settings.medplum_base_url or is_local(settings.medplum_base_url)
