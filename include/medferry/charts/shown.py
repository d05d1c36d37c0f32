"""Values as a clinician reads them: datatypes of FHIR in one line, resources as paths and values."""

from __future__ import annotations

from typing import Any

_LONG = 2_000
_HIDDEN = ("id", "meta", "resourceType")


def shown(value: Any) -> str:
    """One legacy or FHIR value in one line; long texts (blobs, too) are cut, and say so."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict():
            return _complex(value)
        case list():
            return ", ".join(shown(one) for one in value)
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONG else f"{text[:_LONG]}… ({len(text):,} characters)"


def _complex(value: dict[str, Any]) -> str:
    if "code" in value and "system" in value and "value" not in value:
        return f"{value.get('display') or value['code']} ({_short(value['system'])} {value['code']})"
    if "value" in value and ("unit" in value or "code" in value):
        return f"{value.get('comparator', '')}{shown(value['value'])} {value.get('unit') or value.get('code')}"
    if "reference" in value:
        return " ".join(str(value[name]) for name in ("display", "reference") if name in value)
    return "; ".join(f"{name} {shown(item)}" for name, item in value.items())


def _short(system: str) -> str:
    """A code system's name: the last part of its URL, as far as it tells."""
    return str(system).rstrip("/").rpartition("/")[2] or str(system)


def flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """(path, value) of every leaf of a resource, without its id and meta."""
    if isinstance(value, dict) and not (path and _is_leaf(value)):
        return [
            line
            for name, item in value.items()
            if path or name not in _HIDDEN
            for line in flat(item, f"{path}.{name}" if path else name)
        ]
    if isinstance(value, list):
        several = len(value) > 1
        return [line for at, item in enumerate(value) for line in flat(item, f"{path}[{at}]" if several else path)]
    return [(path, shown(value))]


def _is_leaf(value: dict[str, Any]) -> bool:
    coding = "code" in value and "system" in value
    quantity = "value" in value and "unit" in value
    return coding or quantity or "reference" in value
