"""Faults planted in the program, each of which the checker has to find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from medferry.apply import batch, chunk, plan, writer
from medferry.apply.plan import DriftPolicy, Planner
from medferry.manifest import leases
from medferry.source import insert
from medferry.stages import load
from medferry.sync import carry_out, cycle, reverse_born, reverse_cycle

Patch = tuple[Any, str, Any]
_keys_of_cut, _begin_run, _batch_entry = cycle.keys_of_cut, cycle.begin_run, batch.batch_entry
_merge, _by_content, _merged_target = Planner._merge, Planner.by_content, plan.merged_target
_classify = reverse_cycle.classify


def _skipped(*given: Any) -> Any:
    """A cut without one of its keys."""
    read = _keys_of_cut(*given)
    for by_key in read.found.values():
        by_key.pop(min(by_key))
    read.found = {entity: by_key for entity, by_key in read.found.items() if by_key}
    return read


def _noted_first(wave: Any, run_id: str, keys: Any, options: Any, view: Any, beside: Any = None) -> None:
    """A cut whose end is kept before its keys are."""
    if beside is not None:
        with wave.environment.manifest.begin() as connection:
            beside(connection)
    _begin_run(wave, run_id, keys, options, view)


def _unconditional(step: Any, conditional: bool) -> Any:
    """Updates of whatever version is there."""
    entry = _batch_entry(step, conditional)
    entry["request"].pop("ifMatch", None)
    return entry


def _settled_in_silence(self: Planner, made: Any, drift: Any, base: Any, content: Any, effect: Any) -> None:
    """A conflict that nobody is told of."""
    _merge(self, made, drift, base, content, effect)
    if drift.target.name in made.settled:
        made.settled[drift.target.name] = self._kept(drift.target, self.known[drift.target.name])


def _never_merged(self: Planner, drifts: Any, contents: Any, unanswered: Any, own: Any, *bases: Any) -> Any:
    """Every change on both sides taken for a conflict."""
    return _by_content(self, drifts, contents, unanswered, own, {}, *bases[1:])


def _theirs_dropped(*given: Any) -> Any:
    """A merge that forgets what the mapping does not own."""
    return _merged_target(*given)._replace(target=given[1])


def _one_overlooked(*given: Any) -> Any:
    """A page of changes without its last."""
    return _classify(*given)[:-1]


PLANTED: dict[str, tuple[list[Patch], range]] = {
    "a cut without one of its keys": ([(cycle, "keys_of_cut", _skipped)], range(6)),
    "a cut that is over before its run is noted": ([(cycle, "begin_run", _noted_first)], range(71, 200)),
    "whatever is there is written over": (
        [(carry_out, "DriftPolicy", mock.Mock(MERGE=DriftPolicy.OVERWRITE))],
        range(40),
    ),
    "updates without a condition": ([(batch, "batch_entry", _unconditional)], range(30, 200)),
    "what is there is not looked up": ([(writer, "find_locations", lambda *_: {})], range(20)),
    "batches without an answer are forgotten": (
        [(chunk.sent_batches, "open_batches", lambda *_: []), (batch.BatchSender, "take_lost", lambda _: [])],
        range(138, 300),
    ),
    "leases that stay": ([(leases, "release", lambda *_: None)], range(10)),
    "conflicts that nobody is told of": ([(Planner, "_merge", _settled_in_silence)], range(40)),
    "every double change is a conflict": ([(Planner, "by_content", _never_merged)], range(19, 100)),
    "what is not mapped is dropped": ([(plan, "merged_target", _theirs_dropped)], range(40)),
    "an edit is overlooked": ([(reverse_cycle, "classify", _one_overlooked)], range(9, 100)),
    "what is held back is not told": ([(reverse_cycle, "set_held_back", lambda *_: None)], range(60)),
    "a deletion is overlooked": ([(reverse_cycle, "classify_absent", lambda *_: [])], range(60)),
}
"""Name → what is put in the place of what, and the seeds of which one at least must find it.

The first did when this was written.
"""

OF_BIRTHS: dict[str, tuple[list[Patch], range]] = {
    "the way forth does not look for births": (
        [(cycle, "finish_births", lambda *_: 0), (load, "leave_born", lambda *_: 0)],
        range(100),
    ),
    "a row is inserted before it is noted": ([(reverse_born, "note_birth", lambda *_: None)], range(21, 100)),
    "a row is inserted without its line": ([(insert, "add_born", lambda *_: None)], range(100)),
    "a birth that was begun is never finished": (
        [(cycle, "finish_births", lambda *_: 0), (reverse_cycle, "finish_births", lambda *_, **__: 0)],
        range(190, 260),
    ),
    "a birth is overlooked": ([(reverse_cycle, "classify", _one_overlooked)], range(100)),
}
"""Those that only births tell: by the seeds of ``births``."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The program with one of the faults."""
    patches = [mock.patch.object(*patch) for patch in (PLANTED | OF_BIRTHS)[name][0]]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
