"""Imaging studies: one row an instance, one resource a study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import SNOMED, concept_of
from ._row import encounter, subject, text, when

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
Instance = list[str]
"""[series uid, body site code, body site, modality code, modality, instance uid, SOP class, title]."""


@mapping(
    entity="imaging_study",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "ImagingStudy"},
    references=("patient", "encounter"),
)
def imaging_study(row: Row, ctx: Context) -> Iterator[Resource]:
    """An ImagingStudy from the first of a study's rows; the others are accounted for as parts of it."""
    if row["part"] != 1:
        raise ctx.skip("part-of-study")
    instances: list[Instance] = json.loads(row["instances"])
    series = [_series(ctx, number, same) for number, same in enumerate(_by_series(instances), start=1)]
    procedure = concept_of(ctx, SNOMED, text(ctx, row, "procedure_code"), None, "procedure_code")
    yield ctx.resource(
        identifier=[{"system": ctx.settings.naming.system("imaging_study", "study"), "value": row["id"]}],
        status="available",
        subject=subject(ctx, row),
        encounter=encounter(ctx, row),
        started=when(ctx, row, "date"),
        numberOfSeries=len(series),
        numberOfInstances=len(instances),
        procedureCode=[procedure] if procedure else None,
        series=series,
    )


def _by_series(instances: list[Instance]) -> list[list[Instance]]:
    """The instances of each series, in the order of the file."""
    grouped: dict[str, list[Instance]] = {}
    for instance in instances:
        grouped.setdefault(instance[0], []).append(instance)
    return list(grouped.values())


def _series(ctx: Context, number: int, instances: list[Instance]) -> dict[str, Any]:
    uid, site_code, site, modality_code, modality, *_ = instances[0]
    place = concept_of(ctx, SNOMED, site_code or None, site or None, "instances")
    return {
        "uid": uid,
        "number": number,
        "modality": {"system": DICOM, "code": modality_code, "display": modality},
        "numberOfInstances": len(instances),
        **({"bodySite": place.get("coding", [{"display": site}])[0]} if place else {}),
        "instance": [_instance(number, instance) for number, instance in enumerate(instances, start=1)],
    }


def _instance(number: int, instance: Instance) -> dict[str, Any]:
    *_, uid, sop_class, title = instance
    return {
        "uid": uid,
        "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{sop_class}"},
        "number": number,
        "title": title,
    }
