"""The trigger form's params: typed, bounded, described, and refused when wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from medferry.errors import OptionError
from medferry.runtime.options import LoadMode, RunOptions
from medferry_airflow.params import options_among


def schemas(dag: DAG) -> dict[str, dict[str, Any]]:
    return {name: dag.params.get_param(name).schema for name in dag.params}


def test_every_option_of_a_run_is_a_described_param(migration_dags: list[DAG]) -> None:
    for dag in migration_dags:
        found = schemas(dag)
        assert {*RunOptions.model_fields, "entities"} - (
            {"sample"} if dag.dag_id == "replay" else set()
        ) <= found.keys()
        assert all(dag.params.get_param(name).description and found[name]["title"] for name in found)


def test_defaults_are_those_of_the_core(dags: dict[str, DAG]) -> None:
    assert options_among(dags["big_bang"].params.dump(), RunOptions) == RunOptions()


def test_units_are_chosen_by_title_in_the_big_bang_and_fixed_in_a_wave(dags: dict[str, DAG]) -> None:
    units = schemas(dags["big_bang"])["units"]
    assert units["values_display"]["harbor"] == "Harbor Street Clinic (harbor)"
    assert "shared" not in units["examples"]
    assert "units" not in schemas(dags["wave_pilot"])


def test_rare_params_stand_in_their_own_section(dags: dict[str, DAG]) -> None:
    plain = [name for name, schema in schemas(dags["wave_pilot"]).items() if schema.get("section") != "Seldom needed"]
    assert plain == ["dry_run", "sample"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"units": ["nowhere"]},
        {"units": "harbor"},
        {"entities": ["nothing"]},
        {"batch_size": 0},
        {"batch_size": 1001},
        {"lanes": 17},
        {"lanes": "2"},
        {"load_mode": "fast"},
        {"sample": 0},
        {"dry_run": "no"},
        {"stop_at_share": 0},
        {"slice_rows": 2_000_000},
    ],
)
def test_a_wrong_value_is_refused_when_the_run_is_triggered(dags: dict[str, DAG], wrong: dict[str, Any]) -> None:
    assert _refused(_params(dags["big_bang"]), wrong)


def _params(dag: DAG) -> ParamsDict:
    return copy.deepcopy(dag.params)  # an update changes the params themselves


def _refused(params: ParamsDict, values: dict[str, Any]) -> bool:
    try:
        params.update(values)
        params.validate()
    except ParamValidationError:
        return True
    return False


def test_right_values_are_accepted(dags: dict[str, DAG]) -> None:
    params = _params(dags["big_bang"])
    given = {"units": ["harbor"], "load_mode": "conditional", "dry_run": True, "sample": 5}
    assert not _refused(params, given)
    options = options_among(params.dump(), RunOptions)
    assert (options.load_mode, options.dry_run, options.sample) == (LoadMode.CONDITIONAL, True, 5)


@pytest.mark.parametrize("wrong", [{"reasons": ["Ada Byron"]}, {"reasons": "x"}, {"run": 1}, {"entities": ["nothing"]}])
def test_a_wrong_choice_of_dead_letters_is_refused(dags: dict[str, DAG], wrong: dict[str, Any]) -> None:
    assert _refused(_params(dags["replay"]), wrong)
    assert not _refused(_params(dags["replay"]), {"run": "r", "reasons": ["unmapped-code"], "entities": ["patient"]})


def test_the_reasons_of_a_replay_are_a_list_to_choose_from(dags: dict[str, DAG]) -> None:
    shown = schemas(dags["replay"])["reasons"]["examples"]
    assert {"impossible-date", "target-changed", "key-blank", "impossible-period"} <= set(shown)
    assert not {"source-row-gone", "no-resource"} & set(shown) and shown == sorted(shown)
    assert not _refused(_params(dags["replay"]), {"reasons": ["put-together-by-a-mapping"]})


def test_a_replay_takes_no_sample_and_no_units(dags: dict[str, DAG]) -> None:
    assert not {"sample", "units"} & schemas(dags["replay"]).keys()


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 2**31}, {"sample_share": 0}, {"force": "yes"}])
def test_a_wrong_sample_of_a_verification_is_refused(dags: dict[str, DAG], wrong: dict[str, Any]) -> None:
    assert _refused(_params(dags["verify"]), wrong)
    assert not _refused(_params(dags["verify"]), {"seed": 2**31 - 1, "sample_share": 0.5, "force": True})


@pytest.mark.parametrize("wrong", [{"run": 1}, {"run": "r", "action": "stop"}])
def test_a_wish_needs_a_known_word_and_no_run(dags: dict[str, DAG], wrong: dict[str, Any]) -> None:
    assert _refused(_params(dags["control"]), wrong)
    for right in ({"run": "r", "action": "abort"}, {"action": "abort"}):
        assert not _refused(_params(dags["control"]), right)


def test_every_load_mode_is_offered_by_what_it_means(dags: dict[str, DAG]) -> None:
    schema = schemas(dags["big_bang"])["load_mode"]
    assert schema["enum"] == list(schema["values_display"]) == [mode.value for mode in LoadMode]


def test_a_sample_that_would_be_loaded_is_refused_with_a_remedy() -> None:
    with pytest.raises(OptionError, match=r"a sample is for a dry run.*start again"):
        options_among({"sample": 5}, RunOptions)
