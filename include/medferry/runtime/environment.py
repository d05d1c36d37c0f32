"""What every stage works with: the migration, the manifest, the legacy database, Medplum, the staging area."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import sqlalchemy as sa

from medferry.definition.migration import Migration
from medferry.errors import SettingsError
from medferry.manifest import leases
from medferry.manifest.database import MANIFEST, open_manifest
from medferry.manifest.peppers import check_pepper
from medferry.manifest.runs import RunRow, get_run
from medferry.manifest.staged_files import digest_of_file
from medferry.medplum.budget import Budget
from medferry.medplum.client import MedplumClient
from medferry.medplum.oauth import SharedToken
from medferry.medplum.waits import WaitFor, Waits
from medferry.runtime.continuing import check_continues, check_files, is_dry
from medferry.runtime.options import RunOptions, kept_options
from medferry.runtime.settings import Settings
from medferry.runtime.staging import Staging, StagingArea
from medferry.source.address import database_url
from medferry.source.database import connect_engine
from medferry.store.values import ValueStore


@dataclass(frozen=True)
class Environment:
    """Opens each system when it is first needed."""

    migration: Migration
    settings: Settings
    _tokens: dict[str, SharedToken] = field(
        init=False, default_factory=lambda: defaultdict(SharedToken), repr=False, compare=False
    )
    """By client id, for as many clients as are opened: Medplum allows an address 160 token requests a minute."""
    _opened: Environment | None = field(init=False, default=None, repr=False, compare=False)
    """Whose connections are used."""

    def __post_init__(self) -> None:
        """Raises KeyMissing, SettingsError."""
        self.settings.show_keys()
        _refuse_one_database(self.settings)

    def of(self, migration: Migration) -> Environment:
        """The same systems for another view of the migration, over the same connections: views come and go."""
        made = Environment(migration, self.settings)
        object.__setattr__(made, "_opened", self)
        object.__setattr__(made, "_tokens", self._tokens)
        return made

    @cached_property
    def manifest(self) -> sa.Engine:
        """Raises SettingsError when there is none: only `prepare_run` makes one. PepperMissing, KeyMissing."""
        if self._opened:
            return self._opened.manifest
        return self._manifest_by(self.settings.manifest_url)

    @cached_property
    def decisions(self) -> sa.Engine:
        """The manifest for what a person decides, under the role that may. Raises SettingsError."""
        if self._opened:
            return self._opened.decisions
        manifest, decision = (self.settings.manifest_url, self.settings.decision_url or self.settings.manifest_url)
        if _place(manifest) != _place(decision):
            raise SettingsError(
                "MEDFERRY_DECISION_URL leads to another database than MEDFERRY_MANIFEST_URL.",
                "Give both the same host, port and database: they differ in role and password alone.",
            )
        return self._manifest_by(decision)

    def _manifest_by(self, url: str) -> sa.Engine:
        pepper = self.settings.pepper
        engine = open_manifest(url, pepper)
        check_pepper(engine, pepper)
        return engine

    @cached_property
    def source(self) -> sa.Engine:
        """Raises SettingsError when no source is configured."""
        if self._opened:
            return self._opened.source
        self.settings.require("source_url")
        return connect_engine(self.settings.source_url, self.settings.source_arguments)

    @cached_property
    def capture(self) -> sa.Engine:
        """The legacy database for the journal of changes, which is written. Raises SettingsError."""
        if self._opened:
            return self._opened.capture
        if self.settings.capture_url:
            return connect_engine(self.settings.capture_url, self.settings.capture_arguments)
        self.settings.require("source_url")
        return connect_engine(self.settings.source_url, self.settings.source_arguments)

    @cached_property
    def legacy_writer(self) -> sa.Engine:
        """The legacy database for what users write in Medplum: never the reader's account. Raises SettingsError."""
        if self._opened:
            return self._opened.legacy_writer
        self.settings.require("legacy_writer_url")
        return connect_engine(self.settings.legacy_writer_url, self.settings.legacy_writer_arguments)

    def medplum(self, options: RunOptions | None = None) -> MedplumClient:
        """A client to be used as a context manager. Raises SettingsError when Medplum is not configured."""
        self.settings.require("medplum_base_url", "medplum_client_id", "medplum_client_secret")
        waits = Waits()
        budget = Budget(options.reserve_points if options else 0, sleep=partial(waits.sleep, WaitFor.QUOTA))
        s = self.settings
        client_id, secret = s.medplum_client_id, s.medplum_client_secret
        return MedplumClient(
            s.medplum_base_url, client_id, secret, budget, s.medplum_http, waits, self._tokens[client_id]
        )

    def probe(self, name: str) -> MedplumClient:
        """The client of a user of Medplum who is a probe, to be used as a context manager. Raises SettingsError.

        It keeps its token, as users do: what a policy takes away must be gone for who has had it.
        """
        s, (client_id, secret) = self.settings, self.settings.probe(name)
        return MedplumClient(s.medplum_base_url, client_id, secret, http=s.medplum_http, token=self._tokens[client_id])

    def staging(self, run_id: str) -> Staging:
        """The staged files of a run, each checked against what the manifest knows of it when it is read.

        Raises KeyMissing.
        """

        def digest_of(name: str) -> str | None:
            with self.manifest.connect() as connection:
                return digest_of_file(connection, run_id, name)

        s = self.settings
        return Staging(s.staging_url, run_id, digest_of, s.keys, options=s.store_options)

    @property
    def values(self) -> ValueStore:
        """Values kept for people to decide about, such as both sides of a conflict. Raises KeyMissing."""
        return ValueStore(self.settings.staging_url, self.settings.keys, self.settings.store_options)

    @property
    def staging_area(self) -> StagingArea:
        return StagingArea(self.settings.staging_url, self.settings.store_options)


def _refuse_one_database(settings: Settings) -> None:
    """The legacy database is read: a manifest in it would be written there, and its tables taken for legacy ones."""
    try:
        same = bool(settings.source_url) and _place(settings.source_url) == _place(settings.manifest_url)
    except SettingsError:
        return  # whoever opens it tells what is wrong with it
    if same:
        raise SettingsError(
            "MEDFERRY_MANIFEST_URL leads to the legacy database, in which Medferry would make its tables.",
            "Give the manifest a database of its own.",
        )


def _place(url: str) -> tuple[object, ...]:
    parsed = database_url(url, MANIFEST)
    database = parsed.database
    if not parsed.host and database:  # a file, which two may name by other paths
        database = str(Path(database).absolute())
    return parsed.get_backend_name(), parsed.host, parsed.port, database


def scopes_of(run: RunRow) -> list[str]:
    """The lease scopes of a run."""
    return lease_scopes(run.units, run.entities)


def lease_scopes(units: Iterable[str], entities: Sequence[str]) -> list[str]:
    """Every pair of some units and entities, as leases name it."""
    return [f"{unit}/{entity}" for unit in units for entity in entities]


def hold_run(connection: sa.Connection, migration: Migration, run: RunRow, take_over: bool = False) -> None:
    """Let a run that was begun before go on: take its leases, or renew them. Raises LeaseHeld, NotContinued."""
    if not is_dry(run):
        leases.acquire(connection, run.migration, run.id, scopes_of(run), take_over)
    check_continues(connection, migration, run)


def own_run(environment: Environment, run_id: str) -> tuple[RunRow, RunOptions]:
    """The run, its leases renewed (a cleared task takes them again).

    Raises UnknownRun, LeaseHeld, and NotContinued where the files are others or a later run has begun in its scope.
    """
    check_files(environment.migration)
    with environment.manifest.begin() as connection:
        run = get_run(connection, run_id)
        hold_run(connection, environment.migration, run)
    return run, kept_options(run.options)
