"""No text of a foreign exception gets out of a task, and retries go by type."""

from __future__ import annotations

import traceback

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowSkipException
from sqlalchemy.exc import OperationalError

import medferry_airflow
from medferry.errors import (
    DefinitionError,
    LeaseHeld,
    ManifestUnavailable,
    MedferryError,
    SettingsError,
    SourceUnavailable,
    VerificationFailed,
)
from medferry.medplum.errors import MedplumUnavailable, Throttled, Unauthorised
from medferry.runtime.control import RunAborted
from medferry_airflow.guard import UnexpectedError, guarded
from medferry_airflow.retries import QUOTA_WINDOW, RETRY_BY_TYPE
from tests.test_errors import assert_travels, import_all, kinds

CANARY = "Zephyrine Quill"


def caught(error: Exception, cause: Exception | None = None) -> MedferryError:
    @guarded
    def task() -> None:
        if cause is None:
            raise error
        try:
            raise cause
        except type(cause):
            raise error from cause

    with pytest.raises(MedferryError) as found:
        task()
    return found.value


def everything(error: BaseException) -> str:
    """All that any handler could print of an exception, its context and cause included."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return "".join(repr(one) + str(one) + "".join(traceback.format_exception(one)) for one in chain)


def test_a_foreign_exception_is_told_by_type_and_place_only() -> None:
    error = caught(ValueError(CANARY))
    assert isinstance(error, UnexpectedError)
    assert "builtins.ValueError at test_guard.py:" in str(error) and "in task" in str(error)
    assert CANARY not in everything(error)


def test_a_medferry_error_keeps_its_words_and_loses_what_caused_it() -> None:
    error = caught(SettingsError("The port is wrong."), cause=RuntimeError(CANARY))
    assert str(error) == "The port is wrong."
    assert CANARY not in everything(error)


def test_the_canary_would_be_found_without_the_guard() -> None:
    try:
        raise SettingsError("x") from RuntimeError(CANARY)
    except SettingsError as error:
        assert CANARY in everything(error)


def test_a_database_error_quotes_no_value() -> None:
    error = caught(OperationalError(f"INSERT {CANARY}", {"name": CANARY}, RuntimeError(CANARY)))
    assert isinstance(error, UnexpectedError)
    assert CANARY not in everything(error)


def test_airflows_own_signals_pass() -> None:
    @guarded
    def task() -> None:
        raise AirflowSkipException

    with pytest.raises(AirflowSkipException):
        task()


@pytest.mark.parametrize(
    "error",
    [
        DefinitionError(__file__, 1, "x", "y"),  # type: ignore[arg-type]
        SettingsError("x"),
        LeaseHeld("x"),
        Unauthorised("x"),
        VerificationFailed("x"),
        RunAborted("x"),
        UnexpectedError("x"),
        KeyError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_retry_cannot_mend_fails_at_once(error: Exception) -> None:
    assert RETRY_BY_TYPE.evaluate(error, 1, 4).action is RetryAction.FAIL


@pytest.mark.parametrize(
    "error",
    [SourceUnavailable("x"), MedplumUnavailable("x"), ManifestUnavailable("x")],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_is_tried_again_with_backoff(error: Exception) -> None:
    decision = RETRY_BY_TYPE.evaluate(error, 1, 4)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, None)


def test_throttling_waits_for_the_next_window() -> None:
    decision = RETRY_BY_TYPE.evaluate(Throttled(3), 1, 4)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, QUOTA_WINDOW)


def test_every_error_of_the_tasks_can_be_pickled() -> None:
    import_all(medferry_airflow)
    for kind in set(kinds()):
        if kind.__module__.startswith("medferry"):
            assert_travels(kind)
