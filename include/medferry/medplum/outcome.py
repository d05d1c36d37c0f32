"""What an OperationOutcome says, without its text: code and path, whether it is about the resource, and the wait."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

import orjson

from medferry.medplum.form import wait_of

_RESET = "https://medplum.com/fhir/StructureDefinition/rate-limit-reset"
_WINDOW_SECONDS = 60.0

_INVARIANT = re.compile(r"Constraint ([a-z]+-[0-9]+[a-z]?) not met")
"""How Medplum names the constraint of FHIR that a resource breaks: by its key, which holds no value."""


_CODE = re.compile(r"[a-z-]{1,40}")
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_.:\[\]()'-]{0,200}")


def _is(form: re.Pattern[str], value: object) -> TypeGuard[str]:
    """Whether it has the form: what has not may be a value, or signs that a terminal obeys."""
    return isinstance(value, str) and form.fullmatch(value) is not None


def issue_text(outcome: Any) -> str:
    """ "code at path" of the first error of an OperationOutcome, an invariant with its key ("invariant ait-1 at …").

    The server's words may quote a value and are left out.
    """
    first = next((issue for issue in _issues(outcome) if issue.get("severity") in ("error", "fatal")), None)
    if first is None:
        return ""
    paths = first.get("expression", [])
    where = ", ".join(path for path in paths if _is(_PATH, path)) if isinstance(paths, list) else ""
    broken, code = _INVARIANT.match(_text_of(first)), first.get("code")
    what = f"{code if _is(_CODE, code) else 'unknown'}{f' {broken[1]}' if broken else ''}"
    return f"{what} at {where}" if where else what


def is_placed(outcome: Any) -> bool:
    """Whether an OperationOutcome is about the resource: it names a place in it, or is known to be about its content.

    A database that fails is told as a mere "invalid" (docs/medplum.md, "Batches"), with a text of the database's.
    """
    return any(
        issue.get("expression") or issue.get("location") or _is_about_content(issue) for issue in _issues(outcome)
    )


def verdict_of(outcome: Any) -> str | None:
    """What an OperationOutcome finds wrong with a resource: "code at path", or "" for nothing.

    None where it says nothing about the resource: no OperationOutcome, an empty one, or a fault of the server.
    """
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome" or not _issues(outcome):
        return None
    issue = issue_text(outcome)
    return issue if not issue or is_placed(outcome) else None


def _issues(outcome: Any) -> list[dict[str, Any]]:
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    return [issue for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []


_CONTENT = ("index row", "too large", "multiple resources")
"""What stands in texts that are about a resource, though they name no place: a string too long for an index, a body
beyond the limit, a condition that several match."""


def _is_about_content(issue: dict[str, Any]) -> bool:
    text = _text_of(issue).lower()
    return any(known in text for known in _CONTENT)


def _text_of(issue: dict[str, Any]) -> str:
    details = issue.get("details")
    return str(details.get("text", "") if isinstance(details, dict) else "")


def throttled_seconds(outcome: Any) -> float:
    """Seconds until the quota's reset that a 429 names; a minute when it names none.

    Every version says it in the diagnostics, to the millisecond; 5.2 adds an extension, in whole seconds
    (docs/medplum.md, "Quota").
    """
    if not isinstance(outcome, dict):
        return _WINDOW_SECONDS
    for issue in _issues(outcome):
        try:
            return wait_of(float(orjson.loads(issue["diagnostics"])["_msBeforeNext"]) / 1000, _WINDOW_SECONDS)
        except (KeyError, TypeError, ValueError):
            continue
    extensions = outcome.get("extension", [])
    for extension in extensions if isinstance(extensions, list) else []:
        if (
            isinstance(extension, dict)
            and extension.get("url") == _RESET
            and isinstance(extension.get("valueUnsignedInt"), int)
        ):
            return wait_of(float(extension["valueUnsignedInt"]), _WINDOW_SECONDS)
    return _WINDOW_SECONDS
