"""The datasets of a task with their facets, which have counts and names of checks, and nothing else.

Its imports take half a second: `lineage` asks for them where lineage is configured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import attrs
import sqlalchemy as sa
from airflow.providers.openlineage import conf
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.plugins.listener import get_openlineage_listener
from airflow.providers.openlineage.plugins.macros import (
    lineage_job_name,
    lineage_root_job_name,
    lineage_root_run_id,
    lineage_run_id,
)
from openlineage.client.event_v2 import Dataset, InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    OutputDatasetFacet,
    RunFacet,
    data_quality_assertions_dataset,
    output_statistics_output_dataset,
    parent_run,
)
from openlineage.client.uuid import generate_new_uuid

from medferry.definition.capture import tables_called
from medferry.manifest.accounting import accounts, effects_by_system
from medferry.manifest.checks import CheckResult, CheckStatus
from medferry.manifest.crosswalk import Effect
from medferry.manifest.runs import RunStatus, SliceStage, get_run, get_slice
from medferry.manifest.source_records import DISPOSITIONS, PENDING, dispositions_of
from medferry.runtime.continuing import is_dry
from medferry.runtime.environment import Environment
from medferry.source.dialects import DIALECTS
from medferry.workflows.sync import Way
from medferry_airflow.lineage_names import Name, resources_named, staged_named, table_named

Lineage = OperatorLineage[Any, Any]

_UNJUDGED = (CheckStatus.NOTHING, CheckStatus.HASHES_ONLY)
"""Of these a check says neither that something is right nor that it is wrong."""


@attrs.define
class CountsRunFacet(RunFacet):
    """``medferry``: what the task was about, and its source records by disposition, or what else it counted."""

    counts: dict[str, int]
    entity: str = ""
    units: list[str] = attrs.field(factory=list)
    run: str = ""
    slice: str = ""


@attrs.define
class EffectsOutputDatasetFacet(OutputDatasetFacet):
    """``medferry``: resources of the type by what was done to them."""

    created: int
    updated: int
    unchanged: int


def of_slice(environment: Environment, run_id: str, slice_id: str, stage: SliceStage) -> Lineage:
    """What brought a slice to a stage."""
    with environment.manifest.begin() as connection:
        run, slice_ = get_run(connection, run_id), get_slice(connection, run_id, slice_id)
        counts = dict(dispositions_of(connection, run_id, slice_id)) if stage != SliceStage.EXTRACTED else {}
        effects = effects_by_system(connection, run_id, slice_id)
    name = environment.migration.name
    rows, bundles = (staged_named(name, slice_.entity, what) for what in ("rows", "bundles"))
    inputs: list[Dataset]
    outputs: list[Dataset]
    if stage == SliceStage.EXTRACTED:
        counts = {"extracted": slice_.eligible}
        inputs, outputs = _tables(environment, [slice_.entity]), [_written(rows, slice_.eligible)]
    elif stage == SliceStage.TRANSFORMED:
        inputs, outputs = [_read(rows)], [OutputDataset(bundles.namespace, bundles.name)]
    else:
        inputs = [_read(bundles)]
        outputs = [] if is_dry(run) else _loaded(environment, slice_.entity, effects)
    facet = CountsRunFacet(counts, slice_.entity, slice_.units, run_id, slice_id)
    return OperatorLineage(inputs, outputs, {"medferry": facet}, {})


@dataclass(frozen=True, slots=True)
class RunLineage:
    """What a run has come to, entity by entity."""

    succeeded: bool
    entities: Mapping[str, Lineage]


def of_run(environment: Environment, run_id: str) -> RunLineage:
    """From which tables to which resource types a run has brought each entity, with the counts of its accounting."""
    with environment.manifest.begin() as connection:
        run, rows = get_run(connection, run_id), accounts(connection, run_id)
        effects = effects_by_system(connection, run_id)
    found: dict[str, Lineage] = {}
    for entity in run.entities:
        own = [row for row in rows if row.entity == entity]
        names = ("eligible", *DISPOSITIONS, PENDING)
        counts = {str(name): sum(int(getattr(row, name)) for row in own) for name in names}
        facet = CountsRunFacet(counts, entity, sorted({row.unit for row in own}), run_id)
        outputs = [] if is_dry(run) else _loaded(environment, entity, effects)
        found[entity] = OperatorLineage(_tables(environment, [entity]), outputs, {"medferry": facet}, {})
    return RunLineage(run.status == RunStatus.SUCCEEDED, found)


def send_entities(task: Any, run: RunLineage) -> Lineage:
    """Send what a run has come to, each entity as a job of its own below the task; by the provider, when it asks.

    All slices of a DAG are one job to OpenLineage, of which a server may show the datasets of the last alone.
    """
    listener = get_openlineage_listener()
    for entity, lineage in run.entities.items():
        job = Job(conf.namespace(), f"{task.dag_id}.entity.{entity}")
        of = Run(str(generate_new_uuid()), {**lineage.run_facets, "parent": _parent(task)})
        for state in (RunState.START, RunState.COMPLETE if run.succeeded else RunState.FAIL):
            at = datetime.now(UTC).isoformat()
            event = RunEvent(
                eventType=state, eventTime=at, run=of, job=job, inputs=lineage.inputs, outputs=lineage.outputs
            )
            listener.adapter.emit(event)
    return OperatorLineage()


def _parent(task: Any) -> parent_run.ParentRunFacet:
    name, root = lineage_job_name(task), lineage_root_job_name(task)
    namespace = conf.namespace()
    return parent_run.ParentRunFacet(
        run=parent_run.Run(lineage_run_id(task)),
        job=parent_run.Job(namespace, name),
        root=parent_run.Root(
            run=parent_run.RootRun(lineage_root_run_id(task)), job=parent_run.RootJob(namespace, root)
        ),
    )


def of_verification(environment: Environment, results: Iterable[CheckResult]) -> Lineage:
    """What a verification has read in both systems; each check is an assertion about what its entity has become."""
    migration = environment.migration
    results = list(results)
    entities = sorted({one.entity for one in results} & set(migration.entities))
    assertions: dict[str, list[data_quality_assertions_dataset.Assertion]] = defaultdict(list)
    for one in results:
        about = [one.entity] if one.entity in migration.specs else entities
        for resource_type in _types(environment, about) if one.status not in _UNJUDGED else ():
            assertions[resource_type].append(_assertion(one))
    checked: list[Dataset] = []
    for resource_type in _types(environment, entities):
        name = resources_named(environment.settings.medplum_base_url, resource_type)
        facet = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(assertions[resource_type])
        checked.append(InputDataset(name.namespace, name.name, inputFacets={"dataQualityAssertions": facet}))
    counts = {str(status): sum(one.status == status for one in results) for status in CheckStatus}
    facets = {"medferry": CountsRunFacet({name: number for name, number in counts.items() if number})}
    return OperatorLineage([*_tables(environment, entities), *checked], [], facets, {})


def of_sync(environment: Environment, way: Way, counts: Mapping[str, int]) -> Lineage:
    """Between which datasets a wave was kept in step."""
    migration, forth = environment.migration, way is Way.FORTH
    entities = sorted(migration.entities if forth else migration.inverses)
    tables, base_url = _tables(environment, entities), environment.settings.medplum_base_url
    resources = [_read(resources_named(base_url, one)) for one in _types(environment, entities)]
    inputs, outputs = (tables, resources) if forth else (resources, tables)
    return OperatorLineage(inputs, outputs, {"medferry": CountsRunFacet(dict(counts))}, {})


def _tables(environment: Environment, entities: Iterable[str]) -> list[Dataset]:
    """The legacy tables that some entities read."""
    url, dialect = environment.source.url, environment.source.dialect
    if dialect.default_schema_name is None:  # known as soon as this process has connected once
        sa.inspect(environment.source)
    engine = DIALECTS[dialect.name]
    queries = [environment.migration.entities[entity].query(dialect.name) for entity in entities]
    tables = {table for query in queries for table in tables_called(query, engine.sqlglot, engine.is_case_told)}
    names = [table_named(url, dialect.default_schema_name or "", table) for table in sorted(tables)]
    return [_read(name) for name in names]


def _types(environment: Environment, entities: Iterable[str]) -> list[str]:
    """The resource types that some entities become."""
    return sorted({one for entity in entities for one in environment.migration.specs[entity].produces.values()})


def _loaded(environment: Environment, entity: str, effects: Mapping[str, Mapping[str, int]]) -> list[Dataset]:
    """What an entity has become, type by type; a type of which there was none, too."""
    migration = environment.migration
    found: dict[str, dict[Effect, int]] = {}
    for slot, resource_type in sorted(migration.specs[entity].produces.items()):
        did = effects.get(migration.naming.system(entity, slot), {})
        before = found.get(resource_type, {})
        found[resource_type] = {effect: did.get(effect, 0) + before.get(effect, 0) for effect in Effect}
    base_url = environment.settings.medplum_base_url
    return [
        _written(
            resources_named(base_url, resource_type),
            did[Effect.CREATED] + did[Effect.UPDATED],
            medferry=EffectsOutputDatasetFacet(*(did[effect] for effect in Effect)),
        )
        for resource_type, did in found.items()
    ]


def _read(name: Name) -> Dataset:
    return Dataset(name.namespace, name.name)


def _written(name: Name, rows: int, **facets: OutputDatasetFacet) -> Dataset:
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows)
    return OutputDataset(name.namespace, name.name, outputFacets={"outputStatistics": statistics, **facets})


def _assertion(result: CheckResult) -> data_quality_assertions_dataset.Assertion:
    actual = f"{result.different} different, {result.unchecked} unchecked, of {result.compared}"
    return data_quality_assertions_dataset.Assertion(
        assertion=result.name,
        success=result.status is CheckStatus.EQUAL,
        name=f"{result.entity}: {result.name}",
        expected="0 different",
        actual=actual,
    )
