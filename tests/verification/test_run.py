"""A verification as a whole: what it costs, how it goes on after a death, what it says of a server that fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa

from embedded_medplum.server import EmbeddedMedplum
from medferry.errors import VerificationFailed
from medferry.governance.register import is_fault
from medferry.governance.verdict import require_equal
from medferry.manifest.checks import CheckResult, CheckStatus, checks_of, differences_of, parts_of
from medferry.manifest.tables import period_account
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable
from medferry.report.reconciliation import reconcile
from medferry.runtime.environment import Environment
from medferry.verification.options import Sampling
from medferry.verification.recorder import CheckRecorder
from medferry.verification.run import verify_run
from medferry.verification.stored import StoredResourceCheck
from medferry.workflows.finish import finish_run
from tests.verification.conftest import RUN, into
from tests.workflows.test_migrate import migrate

FHIR = "^/fhir/R4"


@pytest.fixture
def done(tiny: Environment) -> Environment:
    migrate(tiny, RUN)
    return tiny


def unequal(results: list[CheckResult]) -> set[tuple[str, str, str]]:
    return {(one.name, one.entity, one.status) for one in filter(is_fault, results)}


@pytest.mark.slow
def test_a_clean_run_has_no_difference_and_costs_less_than_three_points_a_resource(clinics: Environment) -> None:
    """A create costs 100 points, so three are 3 % of the load."""
    results = verify_run(clinics, RUN)
    require_equal(results)
    with clinics.manifest.begin() as connection:
        assert differences_of(connection, RUN) == []
        parts = {one.part: one for one in parts_of(connection, RUN)}
    resources = sum(one.resources for one in parts.values())
    assert resources > 1_000
    assert sum(one.points for one in parts.values()) < 3 * resources
    largest = max(parts.values(), key=lambda one: one.resources)
    # Four in a hundred are sent to $validate, 20 points each, by lot of their ids: some more, some fewer.
    assert largest.points < 2.5 * largest.resources
    assert all(one.started_at <= one.finished_at for one in parts.values())


@pytest.mark.slow
def test_every_entity_of_the_clinics_has_its_checks_and_each_compares_something(clinics: Environment) -> None:
    """A check that never meets a value proves nothing, and says so: a few need more patients than there are here."""
    results = verify_run(clinics, RUN)
    values = [one for one in results if one.name.startswith(("value:", "document:"))]
    assert all(sum(one.entity == entity for one in values) >= 6 for entity in clinics.migration.specs)
    met_nothing = {(one.entity, one.name.removeprefix("value: main/")) for one in values if not one.compared}
    rare = {("patient", "death"), ("assignment", "end"), ("allergy", "entered_in_error"), ("lab_result", "words")}
    assert met_nothing == rare
    assert not any(one.status == CheckStatus.HASHES_ONLY for one in results)


@pytest.mark.slow
def test_the_report_shows_the_sql_and_the_paths_of_the_checks_that_were_run(clinics: Environment) -> None:
    verify_run(clinics, RUN)
    with clinics.manifest.begin() as connection:
        declared = reconcile(connection, clinics.migration, RUN).as_json()["declared_checks"]
    assert declared.keys() == clinics.migration.entities.keys()
    [birth] = [one for one in declared["patient"]["resources"]["main"]["checks"] if one["name"] == "birth_date"]
    assert birth == {"name": "birth_date", "path": "birthDate", "compare": "date", "sql": "p.birth_date"}


@pytest.mark.slow
def test_accounts_by_period_hold_every_row_of_the_source(clinics: Environment) -> None:
    verify_run(clinics, RUN)
    statement = sa.select(period_account.c.entity, sa.func.sum(period_account.c.rows)).group_by(period_account.c.entity)
    with clinics.manifest.begin() as connection:
        counted = dict(connection.execute(statement).all())
        periods = set(connection.scalars(sa.select(period_account.c.period).where(period_account.c.entity == "vitals")))
    with clinics.source.begin() as connection:
        assert counted["vitals"] == connection.scalar(sa.text("SELECT COUNT(*) FROM vitals"))
    assert len(periods) > 1
    assert all(period.isdecimal() and len(period) == 4 for period in periods)


@pytest.mark.slow
def test_a_sample_says_what_it_proves(clinics: Environment) -> None:
    choice = Sampling(sample_share=0.25, seed=3)
    results = verify_run(clinics, RUN, choice=choice)
    require_equal(results)
    [weight] = [one for one in results if one.name == "value: weight/value"]
    [stored] = [one for one in results if (one.name, one.entity) == ("content: as written", "vitals")]
    assert 0 < weight.compared < stored.compared / 2
    assert f"Sample of {weight.compared:,}, seed 3" in weight.note
    assert f"{3 / weight.compared:.2%} of all differ (95 % confidence)" in weight.note
    again = verify_run(clinics, RUN, choice=choice)
    assert [(one.name, one.entity, one.compared) for one in again] == [
        (one.name, one.entity, one.compared) for one in results
    ]


@pytest.mark.slow
def test_one_row_is_compared_when_a_sample_comes_out_empty(clinics: Environment) -> None:
    results = verify_run(clinics, RUN, choice=Sampling(sample_share=1e-9))
    values = [one for one in results if one.name.startswith("value:")]
    assert len(values) > 100
    # None where the check is not for the row; as many as there are constants.
    assert {one.compared for one in values if "constants" not in one.name} <= {0, 1}
    assert sum(one.compared for one in values) > 100
    assert all("nothing is known of the others" in one.note for one in values)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("disposition = 'lost'", "unknown"),
        ("disposition = 'skipped', reason = ''", "without a reason"),
        ("disposition = 'pending'", "pending"),
    ],
)
def test_an_outcome_that_explains_nothing_is_found(done: Environment, change: str, kind: str) -> None:
    with done.manifest.begin() as connection:
        connection.exec_driver_sql(f"UPDATE source_unit SET {change} WHERE entity = 'weight' AND key = '1'")
    verify_run(done, RUN)
    with done.manifest.begin() as connection:
        found = {(one.key, one.kind) for one in differences_of(connection, RUN) if one.name == "accounting"}
    assert ("1", kind) in found


def test_it_goes_on_behind_the_parts_that_are_done(done: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, begun = verify_run(done, RUN), list[str]()
    examine = StoredResourceCheck.examine

    def dies(self: StoredResourceCheck) -> int:
        if self.entity == "patient":
            self.recorder.different("content: as written", "1", "", "half told")
            self.recorder.flush()
            raise KeyboardInterrupt
        return examine(self)

    monkeypatch.setattr(StoredResourceCheck, "examine", dies)
    with pytest.raises(KeyboardInterrupt):
        verify_run(done, RUN)
    with done.manifest.begin() as connection:
        assert checks_of(connection, RUN) == []
    with pytest.raises(VerificationFailed, match="was not verified"):
        finish_run(done, RUN)
    monkeypatch.undo()
    assert unequal(verify_run(done, RUN, into(begun))) == set()
    order = done.migration.entities.keys()
    assert len(begun) < len(order) + 3  # the sources and the entities before are not done again
    assert begun[0] == "patient"
    begun.clear()
    assert [(one.name, one.entity) for one in verify_run(done, RUN, into(begun))] == [
        (one.name, one.entity) for one in whole
    ]
    assert len(begun) == 2 * len(order) + 3


def test_another_choice_or_anew_begins_from_the_start(done: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(self: StoredResourceCheck) -> int:
        raise KeyboardInterrupt

    for choice, force in ((Sampling(seed=1), False), (Sampling(), True)):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(StoredResourceCheck, "examine", dies)
            verify_run(done, RUN, force=True)
        begun: list[str] = []
        verify_run(done, RUN, into(begun), choice, force)
        assert len(begun) == 2 * len(done.migration.entities) + 3


def test_a_server_that_fails_three_times_in_ten_is_never_green(done: Environment, medplum: EmbeddedMedplum) -> None:
    medplum.inject({"kind": "error", "probability": 0.3, "seed": 1, "path": FHIR})
    results = verify_run(done, RUN)
    assert "could_not_check" in {status for name, _, status in unequal(results) if name == "Medplum's answers"}
    assert not {one for one in unequal(results) if one[2] == "different"}
    with pytest.raises(VerificationFailed):
        require_equal(results)


def test_what_was_not_answered_could_not_be_checked_and_the_rest_is_equal(
    done: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = MedplumClient.search

    def searched(client: MedplumClient, resource_type: str, parameters: Iterable[tuple[str, str]]) -> dict[str, Any]:
        if resource_type == "Observation":
            raise MedplumUnavailable("Medplum did not answer.", "Wait.")
        return search(client, resource_type, parameters)

    monkeypatch.setattr(MedplumClient, "search", searched)
    results = verify_run(done, RUN)
    by_name = {(one.name, one.entity): one for one in results}
    for name in ("identifiers: missing in Medplum", "content: as written", "identifiers: unexpected in Medplum"):
        assert by_name[name, "weight"].status == "could_not_check"
        assert by_name[name, "weight"].unchecked == 30
        assert by_name[name, "patient"].status == "equal"
    assert {status for _, _, status in unequal(results)} == {"could_not_check"}


def test_each_difference_is_kept_though_a_result_shows_only_some(done: Environment) -> None:
    with done.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE target SET content_hash = '' WHERE entity = 'weight'")
    results = {(one.name, one.entity): one for one in verify_run(done, RUN)}
    report_progress = results["content: as written", "weight"]
    assert (report_progress.different, len(report_progress.examples)) == (30, 20)
    with done.manifest.begin() as connection:
        kept = [one for one in differences_of(connection, RUN) if one.name == report_progress.name]
    assert len({one.key for one in kept}) == 30
    assert all(one.place.startswith("Observation/") for one in kept)


def test_different_outweighs_could_not_check_and_nothing_is_not_equal() -> None:
    recorder = CheckRecorder("patient", lambda _: None)
    recorder.expect("a")
    recorder.equal("a", 0)
    assert [(one.status, one.compared) for one in recorder.results()] == [(CheckStatus.NOTHING, 0)]
    recorder.equal("a")
    recorder.unchecked("a", 2, "no answer")
    assert [(one.status, one.compared, one.unchecked) for one in recorder.results()] == [("could_not_check", 1, 2)]
    recorder.different("a", "1", "f", "missing")
    assert [(one.status, one.compared, one.different) for one in recorder.results()] == [("different", 2, 1)]


def test_rows_that_could_not_be_checked_are_told_and_no_two_sets_of_them_look_alike() -> None:
    results = []
    for keys in (("1", "2"), ("1", "3")):
        recorder = CheckRecorder("patient", lambda _: None)
        recorder.unchecked("a", 2, "no answer", *keys)
        results += recorder.results()
    assert results[0].examples == ["1 could not check", "2 could not check"]
    assert len({one.note for one in results}) == 2
