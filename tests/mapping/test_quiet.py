"""What a mapping prints, warns of or logs is not heard, whatever thread it runs in; others are."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from medferry.definition.migration import load_migration
from medferry.mapping.apply import apply_mapping
from medferry.mapping.context import Context
from medferry.mapping.declare import MappingSpec, MappingStatus, Resource, Row
from medferry.mapping.quiet import heard, quiet
from tests.tiny_platform import MIGRATION

CANARY = "Zephyrine"


def talk() -> None:
    print(CANARY)  # noqa: T201
    sys.stdout.writelines([CANARY])
    print(CANARY, file=sys.stderr)  # noqa: T201
    sys.stdout.buffer.write(CANARY.encode())
    warnings.warn(CANARY, stacklevel=1)
    logging.getLogger("anybody").error("%s", CANARY)
    logging.critical(CANARY)


def test_nothing_of_it_is_heard(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        quiet(talk)()
    out, err = capfd.readouterr()
    assert CANARY not in out + err + caplog.text and not warned


def test_the_same_is_heard_before_and_after_it_and_by_its_author(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    quiet(lambda: None)()
    with pytest.warns(UserWarning, match=CANARY):
        talk()
    with heard(), pytest.warns(UserWarning, match=CANARY):
        quiet(talk)()
    out, err = capsys.readouterr()
    assert out.count(CANARY) == 6 and err.count(CANARY) == 2 and caplog.text.count(CANARY) == 4


def test_other_threads_are_heard_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    def other() -> None:
        print("another thread")  # noqa: T201

    @quiet
    def mapping() -> None:
        print(CANARY)  # noqa: T201
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    mapping()
    assert capsys.readouterr().out == "another thread\n"


def test_it_is_over_when_the_mapping_raises(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError):
        quiet(raising)()
    print("heard")  # noqa: T201
    assert capsys.readouterr().out == "heard\n"


def raising() -> None:
    print(CANARY)  # noqa: T201
    raise RuntimeError(CANARY)


def test_a_mapping_is_quiet_also_where_it_is_a_generator(capfd: pytest.CaptureFixture[str]) -> None:
    def chatty(row: Row, ctx: Context) -> Iterator[Resource]:
        talk()
        yield ctx.resource(name=[{"family": row["family"]}])
        talk()

    settings = load_migration(MIGRATION).settings
    spec = MappingSpec("patient", "1", "test", MappingStatus.APPROVED, {"main": "Patient"}, (), chatty)
    mapped = apply_mapping(spec, {"family": CANARY}, "1", settings)
    assert [one["resourceType"] for one in mapped.resources] == ["Patient"]
    out, err = capfd.readouterr()
    assert CANARY not in out + err
    assert os.fstat(1)  # the streams themselves are as they were
