"""The plan as JSON Schema, for editors: completion, descriptions, faults while it is written."""

from __future__ import annotations

import json

from medferry.plan.model import Plan


def plan_schema() -> str:
    """docs/plan.schema.json as it must be. What spans several settings, only `plan check` sees."""
    schema = Plan.model_json_schema(by_alias=True)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"
