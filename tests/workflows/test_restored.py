"""A Medplum that was restored from a backup: what the backup lacks comes back with the manifest of the same moment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from embedded_medplum.server import EmbeddedMedplum
from medferry.errors import VerificationFailed
from medferry.mapping.outcomes import Disposition, Reason
from medferry.runtime.environment import Environment
from tests.copied_manifest import copied_manifest
from tests.workflows.test_migrate import migrate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedMedplum]:
    with EmbeddedMedplum(data=tmp_path / "medplum.db") as started:
        yield started


@pytest.fixture
def platform(tiny: Environment, server: EmbeddedMedplum) -> Environment:
    settings = replace(
        tiny.settings,
        medplum_base_url=server.base_url,
        medplum_client_id=server.client_id,
        medplum_client_secret=server.client_secret,
    )
    return Environment(tiny.migration, settings)


def _change(tiny: Environment) -> None:
    engine = sa.create_engine(tiny.settings.source_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE patient SET family = 'Adams' WHERE id = 1"))
        connection.execute(
            sa.text("INSERT INTO patient VALUES (50, 'north', 1, 'Later', '1980-01-02', 'F', NULL)"),
        )
    engine.dispose()


def _decided(tiny: Environment, run_id: str) -> dict[str, tuple[str, str, str]]:
    """Disposition, reason, place of the two patients that the backup does not know as they are."""
    query = (
        "SELECT key, disposition, reason, place FROM source_unit "
        "WHERE run_id = :run AND entity = 'patient' AND key IN ('1', '50')"
    )
    with tiny.manifest.begin() as connection:
        return {key: tuple(rest) for key, *rest in connection.execute(sa.text(query), {"run": run_id})}  # type: ignore[misc]


def test_what_a_restored_medplum_lacks_comes_back_with_the_manifest_of_its_moment(
    platform: Environment, server: EmbeddedMedplum, tmp_path: Path
) -> None:
    migrate(platform, "first")
    server.stop()
    shutil.copy(tmp_path / "medplum.db", tmp_path / "medplum.backup")
    older = copied_manifest(platform, tmp_path / "manifest.backup")
    server.start()
    _change(platform)
    migrate(platform, "second")
    server.stop()
    for file in tmp_path.glob("medplum.db*"):
        file.unlink()
    shutil.copy(tmp_path / "medplum.backup", tmp_path / "medplum.db")
    server.start()

    # The manifest of today: nothing tells a resource that the backup lacks from one that a policy hides.
    with pytest.raises(VerificationFailed):
        migrate(platform, "newer", overwrite=True)
    decided = _decided(platform, "newer")
    assert decided["1"] == (Disposition.SUCCESSFUL, "", "")
    assert decided["50"][:2] == (Disposition.QUARANTINED, Reason.TARGET_CHANGED) and "unreadable" in decided["50"][2]

    done = migrate(older, "older")
    assert _decided(older, "older") == dict.fromkeys(("1", "50"), (Disposition.SUCCESSFUL, "", ""))
    assert done["created"] == 1
