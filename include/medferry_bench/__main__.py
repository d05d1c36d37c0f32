"""`python -m medferry_bench`: measure, then write results.json, table.md and plot.svg."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from medferry_bench.corpus import corpus
from medferry_bench.measure import ALONE, WAYS, measure
from medferry_bench.plot import svg
from medferry_bench.results import results
from medferry_bench.systems import described
from medferry_bench.table import markdown

FOLDER = Path(__file__).resolve().parents[2] / "build" / "bench"
_SMALLEST = 10_000

console = Console(stderr=True)


def main(
    patients: Annotated[
        int, typer.Option(min=1, help="Made-up patients; about 25 source records and 36 resources each.")
    ] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="Times that every way is measured; medians are reported.")] = 3,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only this of {', '.join((*WAYS, *ALONE))}; repeatable.")
    ] = None,
    large: Annotated[
        int, typer.Option(min=1, help="Most source records of the growth; 1000000 for the full one.")
    ] = 100_000,
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Entries a batch.")] = 200,
    before: Annotated[
        Path | None, typer.Option(help="results.json of an earlier commit, measured beside this one on this machine.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the results go.")] = FOLDER,
) -> None:
    """Compare the ways into the embedded Medplum, or into a live one when MEDFERRY_LIVE_BASE_URL is set."""
    unknown = sorted(set(only or ()) - {*WAYS, *ALONE})
    if unknown:
        raise typer.BadParameter(f"unknown: {', '.join(unknown)}", param_hint="--only")
    earlier = orjson.loads(before.read_bytes()) if before else None
    started = time.monotonic()

    def tell(text: str) -> None:
        console.print(f"{time.monotonic() - started:6.0f} s  {text}  (load {os.getloadavg()[0]:.1f})")

    tell("making the legacy database; extract and transform")
    with (
        tempfile.TemporaryDirectory(prefix="bench-corpus-") as place,
        corpus(Path(place), patients, batch_size) as made,
    ):
        measured = measure(made, only or (*WAYS, *ALONE), rounds, batch_size, _sizes(large), tell)
        figures = results(measured, made, described(), batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
    table = markdown(figures, earlier)
    (folder / "table.md").write_text(table, encoding="utf-8")
    (folder / "plot.svg").write_text(svg(figures), encoding="utf-8")
    console.print(table, markup=False, soft_wrap=True)
    tell(f"written: {folder}")


def _sizes(large: int) -> list[int]:
    """10,000 and its tenfolds up to `large`, which is always the last."""
    sizes = [_SMALLEST * 10**power for power in range(9) if _SMALLEST * 10**power < large]
    return [*sizes, large]


if __name__ == "__main__":
    typer.run(main)
