"""The table of what changed between versions of Medplum."""

import pytest

from tests.contract.changes import CHANGES, Change, Evidence, version_of

CHANGE = Change("request", "old", "new", (5, 0, 14), (5, 1, 3), Evidence.CODE)


@pytest.mark.parametrize(
    ("version", "answer"),
    [((5, 0, 10), "old"), ((5, 0, 14), "old"), ((5, 1, 1), "not known"), ((5, 1, 3), "new"), ((6, 0, 0), "new")],
)
def test_a_version_behaves_as_before_or_as_after_and_nothing_is_guessed_between(version, answer: str) -> None:
    assert CHANGE.answer(version) == answer


def test_the_version_is_read_from_the_capability_statement() -> None:
    assert version_of({"software": {"name": "Medplum", "version": "5.1.29-a1b2c3d"}}) == (5, 1, 29)
    with pytest.raises(ValueError, match="no version"):
        version_of({"software": {"name": "Medplum"}})
    with pytest.raises(ValueError, match="no version"):
        version_of({})


def test_every_change_came_after_the_first_observed_server() -> None:
    assert [change.request for change in CHANGES if change.applies((5, 0, 10)) is not False] == []
    assert [change.request for change in CHANGES if change.last_before >= change.first_after] == []
