"""The results as Markdown."""

from __future__ import annotations

from typing import Any

from medferry_bench.goals import goals

_TITLES = {
    "ceiling": "(a) ceiling: prebuilt plain creates",
    "cli_import": "(b) `medplum bulk import`",
    "documented_1": "(c) documented way, 1 lane",
    "documented_2": "(c) documented way, 2 lanes",
    "documented_4": "(c) documented way, 4 lanes",
    "load": "(d) Medferry's load",
    "end_to_end": "(e) Medferry from SQL to loaded and read back",
    "rerun": "(f) rerun of (e), nothing changed",
}


def ways_of(figures: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(key, title, figures) of the compared ways in the order of the table."""
    flat = figures | {"documented_2": figures["documented_4"]["at_two_lanes"]}
    return [(key, title, flat[key]) for key, title in _TITLES.items()]


def markdown(figures: dict[str, Any], before: dict[str, Any] | None = None) -> str:
    """One table of the ways, one of the stages, one of the goals, some of which are about results of `before`."""
    settings = figures["ceiling"]["settings"]
    parts = [
        f"{settings['resources']:,} resources of {settings['source_units']:,} source records; {settings['server']}; "
        f"batches of {settings['batch_size']}; {settings['cpus']} CPUs for client and server together.",
        _ways(figures),
        _alone(figures),
        _growth(figures["memory"]),
        _in_step(figures["in_step"], figures["capture"]),
        _goals(figures, before),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ways(figures: dict[str, Any]) -> str:
    top = figures["ceiling"].get("resources_per_second")
    lines = [
        "| Way | Lanes | Resources/s | Share of (a) | Source records/s | Client's CPU s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for _, title, one in ways_of(figures):
        if "not_measured" in one:
            lines.append(f"| {title} | | not measured: {one['not_measured']} | | | |")
            continue
        rate = one["resources_per_second"]
        share = f"{rate / top:.2f}" if top else ""
        cpu = one.get("client_cpu_seconds", "")
        units = one["source_units_per_second"]
        lines.append(f"| {title} | {one['settings']['lanes']} | {rate:,.0f} | {share} | {units:,.0f} | {cpu} |")
    return "\n".join(lines)


def _alone(figures: dict[str, Any]) -> str:
    lines = ["| Stage | Seconds | Peak memory, MB |", "|---|--:|--:|"]
    stages = figures["memory"].get("stages", {})
    lines += [f"| {name} | {one.get('seconds', '')} | {one['peak_megabytes']} |" for name, one in stages.items()]
    told = []
    if "not_measured" not in figures["transform"]:
        told.append(
            f"Mapping and full validation: {figures['transform']['resources_per_second']:,.0f} resources/s and core."
        )
    if "not_measured" not in figures["extract"]:
        told.append(_extract(figures["extract"]["engines"]))
    if "not_measured" not in figures["end_to_end"]:
        first, again = figures["end_to_end"], figures["rerun"]
        told.append(
            f"From SQL to verified: {first['verified_resources_per_second']:,.0f} resources/s; a rerun to verified: "
            f"{again['verified_source_units_per_second']:,.0f} source records/s."
        )
    if "not_measured" not in figures["verify"]:
        one = figures["verify"]
        rate, points, share = one["resources_per_second"], one["points_per_resource"], one["percent_of_load_points"]
        told.append(
            f"Verification: {rate:,.0f} resources/s, {points:.2f} points each, {share:.2f} % of the load's points."
        )
    return "\n\n".join(["\n".join(lines)] * bool(stages) + [" ".join(told)] * bool(told))


def _extract(engines: dict[str, Any]) -> str:
    return f"Extract: {'; '.join(f'{name} {_rate(one)}' for name, one in engines.items())}."


def _rate(one: dict[str, Any]) -> str:
    if "not_measured" in one:
        return f"not measured ({one['not_measured']})"
    rates = f"{one['rows_per_second']:,.0f} rows/s, {one['megabytes_per_second']} MB/s"
    return f"{rates}, {one['ratio_to_postgresql']:.2f} of postgresql in the same round"


def _growth(memory: dict[str, Any]) -> str:
    rows = memory.get("transform_growth", [])
    lines = ["| Transform of source records | Source records/s | Peak memory, MB |", "|--:|--:|--:|"]
    lines += [
        f"| {one['source_units']:,} | {one['source_units_per_second']:,.0f} | {one['peak_megabytes']} |" for one in rows
    ]
    return "\n".join(lines) if rows else ""


def _in_step(in_step: dict[str, Any], capture: dict[str, Any]) -> str:
    lines = ["| Both systems in use | Measured |", "|---|---|"]
    if "not_measured" not in in_step:
        empty, sweep = in_step["empty"], in_step["sweep"]
        asked = ", ".join(f"{number} to {name}" for name, number in empty["requests"].items())
        for way, title in (("forth", "legacy → Medplum"), ("back", "Medplum → legacy")):
            lag = in_step[way]
            lines.append(
                f"| {title}, lag at {lag['changes_per_second']:g} changes/s | p50 {lag['p50_seconds']} s, "
                f"p99 {lag['p99_seconds']} s, {lag['values']:,} values, {lag['missing']} missing "
                f"({lag['start_seconds']} s before them, `medferry sync` was started) |"
            )
        lines += [
            f"| a cycle both ways without a change, at rest | {empty['milliseconds']} ms; requests: {asked} |",
            f"| sweep without a bound | {sweep['rows_per_second']:,} rows/s of {sweep['rows']:,}, "
            f"{sweep['missed']} missed |",
        ]
    for name, one in capture.items() if "not_measured" not in capture else ():
        if "cost_percent" in one:
            rates = one["rows_per_second"]
            told = f"{one['cost_percent']} % ({rates['without']:,} → {rates['with']:,} rows/s)"
            lines.append(f"| capture on {name}, cost on single-row inserts | {told} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _goals(figures: dict[str, Any], before: dict[str, Any] | None) -> str:
    lines = ["| Goal | Wanted | Measured | Met |", "|---|--:|--:|---|"]
    for goal in goals(figures, before):
        wanted = f"{'≥' if goal.least else '≤'} {goal.wanted:,g}"
        lines.append(f"| {goal.text} | {wanted} | {goal.value:,.2f} | {'yes' if goal.met else '**no**'} |")
    return "\n".join(lines) if len(lines) > 2 else ""
