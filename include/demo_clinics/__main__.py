"""Make a legacy database and its truth: `python -m demo_clinics --url sqlite:///legacy.db --truth truth.json`.

`python -m demo_clinics live` lets people work in it and in Medplum at once (README.md, "The living clinic").
"""

import argparse
import sys
import time
from pathlib import Path

import typer
from sqlalchemy import create_engine

from demo_clinics.catalogue import SUCCESSFUL
from demo_clinics.generate import DEFAULT_CLINICS, DEFAULT_PATIENTS, fill
from demo_clinics.living.run import main as live


def main() -> None:
    """Fill the database and say how much."""
    options = _options()
    started = time.monotonic()
    truth = fill(
        create_engine(options.url), options.seed, options.patients, options.clinics, options.canary, options.pace,
        options.truth,
    )  # fmt: skip
    rows, good = truth.eligible(), sum(n for key, n in truth.counts.items() if key[2] == SUCCESSFUL)
    seconds = time.monotonic() - started
    print(f"{rows} source rows, {good} to succeed as {truth.resources.total()} resources, {seconds:.1f} s")  # noqa: T201


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo_clinics", description=__doc__)
    parser.add_argument("--url", required=True, help="SQLAlchemy URL of an empty database")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--patients", type=int, default=DEFAULT_PATIENTS)
    parser.add_argument("--clinics", type=int, default=DEFAULT_CLINICS)
    parser.add_argument("--pace", type=float, default=1.0, help="how dirty: 1 is about 3 %% of the rows, 0 none")
    parser.add_argument("--canary", help="a word to put into every tenth patient's family name")
    parser.add_argument("--truth", type=Path, help="where truth.json goes")
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["live"]:
        del sys.argv[1]
        typer.run(live)
    else:
        main()
