"""The options that a run keeps in the manifest."""

from __future__ import annotations

from medferry.runtime.options import LoadMode, RunOptions, kept_options


def test_what_a_run_keeps_is_read_as_it_was() -> None:
    options = RunOptions(lanes=2, load_mode=LoadMode.CONDITIONAL, overwrite=True)
    assert kept_options(options.model_dump(mode="json")) == options


def test_a_run_of_the_mode_that_is_gone_goes_on_in_lookup_mode() -> None:
    kept = RunOptions(lanes=2).model_dump(mode="json") | {"load_mode": "asynchronous"}
    assert kept_options(kept) == RunOptions(lanes=2)
