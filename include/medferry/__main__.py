"""``python -m medferry``: the command line."""

from medferry.cli.main import app

app(prog_name="medferry")
