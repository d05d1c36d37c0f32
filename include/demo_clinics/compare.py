"""Compares a resource as Medplum holds it with the truth. Says where they differ, never what they hold."""

from collections.abc import Callable, Iterator
from typing import Any

Resolve = Callable[[str], str]


def differences(
    line: dict[str, Any], actual: dict[str, Any], resolve: Resolve = lambda reference: reference
) -> list[str]:
    """Paths at which `actual` is not what a line of the truth expects; empty when it is.

    Stated elements must be equal; an object may hold more than stated (a display, say), a list may not; its order is
    free.
    Elements under `absent` must be missing. `resolve` turns the server's reference (`Patient/<id>`) into the
    truth's form (`Patient?identifier=<system>|<key>`).
    """
    found = list(_differ(line["resource"], actual, resolve, ""))
    return found + [f"{name}: not absent" for name in line["absent"] if name in actual]


def _differ(expected: Any, actual: Any, resolve: Resolve, path: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name, value in expected.items():
            if name not in actual:
                yield f"{path}{name}: missing"
            else:
                held = resolve(actual[name]) if name == "reference" else actual[name]
                yield from _differ(value, held, resolve, f"{path}{name}.")
    elif isinstance(expected, list) and isinstance(actual, list):
        yield from _differ_lists(expected, actual, resolve, path)
    elif type(expected) is bool or type(actual) is bool:
        if expected is not actual:
            yield f"{path.rstrip('.')}: different"
    elif expected != actual:
        yield f"{path.rstrip('.')}: different"


def _differ_lists(expected: list[Any], actual: list[Any], resolve: Resolve, path: str) -> Iterator[str]:
    if len(expected) != len(actual):
        yield f"{path.rstrip('.')}: {len(actual)} items, not {len(expected)}"
        return
    left = list(actual)
    for number, item in enumerate(expected):
        match = next((held for held in left if not any(_differ(item, held, resolve, path))), None)
        if match is None:
            yield f"{path}{number}: different"
        else:
            left.remove(match)
