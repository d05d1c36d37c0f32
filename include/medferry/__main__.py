"""``python -m medferry``: the command line."""

from medferry.cli import app

app(prog_name="medferry")
