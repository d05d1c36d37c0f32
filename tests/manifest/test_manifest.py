"""The manifest on both of its engines."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from medferry.errors import LeaseHeld, LeaseLost
from medferry.manifest import leases
from medferry.manifest.accounting import accounts, reasons
from medferry.manifest.crosswalk import Attempt, ConfirmedWrite, find_targets, record_attempts, record_confirmed
from medferry.manifest.source_records import (
    DispositionChange,
    SourceRecord,
    forget_slice,
    pending_keys,
    set_dispositions,
    write_records,
)
from medferry.manifest.tables import metadata, outcome


def test_the_revisions_build_what_the_tables_say(manifest: sa.Engine) -> None:
    with manifest.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_leases_refuse_renew_run_out_and_are_given_back(manifest: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with manifest.begin() as connection:
        leases.acquire(connection, "m", "a", ["north/patient", "north/visit"])
        leases.acquire(connection, "m", "a", ["north/patient"])
        leases.acquire(connection, "m", "b", ["south/patient"])
        leases.acquire(connection, "other", "c", ["north/patient"])
    with manifest.begin() as connection, pytest.raises(LeaseHeld, match=r"Run a holds north/visit until"):
        leases.acquire(connection, "m", "b", ["north/visit", "south/visit"])
    with manifest.begin() as connection:
        leases.acquire(connection, "m", "b", ["north/visit"], take_over=True)
    with manifest.begin() as connection, pytest.raises(LeaseLost, match="1 of its 2"):
        leases.check(connection, "m", "a", ["north/patient", "north/visit"])
    with manifest.begin() as connection:
        leases.release(connection, "b")
        leases.acquire(connection, "m", "a", ["north/visit"])
        leases.check(connection, "m", "a", ["north/patient", "north/visit"])
    monkeypatch.setattr(leases, "TTL", timedelta(seconds=-1))
    with manifest.begin() as connection:
        leases.acquire(connection, "m", "a", ["north/patient"])  # renewed into the past: run out
        leases.acquire(connection, "m", "d", ["north/patient"])


def unit(key: str, disposition: str = "pending", reason: str = "") -> SourceRecord:
    return SourceRecord("patient", key, "north", "patient-0", disposition, "1", reason)


def proven(value: str, action: str) -> ConfirmedWrite:
    return ConfirmedWrite("s", value, "patient", "Patient", f"id-{value}", "v1", "hash", action)


def test_the_accounting_counts_units_and_resources(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        units = [unit("1"), unit("2"), unit("3", "skipped", "soft-deleted"), unit("4")]
        write_records(connection, "r", units, [("patient", "1", "sentinel-date", "born")] * 2)
        write_records(connection, "r", units, [])
        assert pending_keys(connection, "r", "patient-0") == {"1", "2", "4"}
        assert not accounts(connection, "r")[0].balanced
        set_dispositions(
            connection,
            "r",
            "patient",
            [DispositionChange("1", "successful"), DispositionChange("2", "rejected", "server-rejected")],
        )
        set_dispositions(connection, "r", "patient", [DispositionChange("4", "successful")])
        record_confirmed(connection, "m", "r", "s", [proven("1", "created"), proven("4", "updated")])
        [row] = accounts(connection, "r")
        assert (row.eligible, row.successful, row.rejected, row.skipped, row.quarantined) == (4, 2, 1, 1, 0)
        assert (row.created, row.updated, row.unchanged, row.balanced) == (1, 1, 0, True)
        assert [(r.reason, r.count, r.keys) for r in reasons(connection, "r")] == [
            ("server-rejected", 1, ["2"]),
            ("soft-deleted", 1, ["3"]),
        ]
        forget_slice(connection, "r", "patient-0", "patient")
        assert accounts(connection, "r") == []


def test_a_redone_slice_does_not_unmake_what_the_run_created(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        record_confirmed(connection, "m", "r", "s", [proven("1", "created")])
        record_confirmed(connection, "m", "r", "s", [proven("1", "unchanged")])
        assert connection.scalars(sa.select(outcome.c.action)).all() == ["created"]


def test_the_crosswalk_finds_many_names_of_several_systems(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        record_confirmed(connection, "m", "r", "s", [proven(str(n), "created") for n in range(1_000)])
        record_attempts(connection, "r", "patient-0", [Attempt("s", "1", "create", 201)])
        names = [("s", str(n)) for n in range(0, 2_000, 2)] + [("t", "1")]
        found = find_targets(connection, "m", names)
        assert found.keys() == {("s", str(n)) for n in range(0, 1_000, 2)}
        assert found["s", "8"].medplum_id == "id-8"
        assert find_targets(connection, "another", names) == {}
