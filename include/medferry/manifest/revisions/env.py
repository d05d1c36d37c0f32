"""Alembic's entry: run the revisions on the connection that ``medferry.manifest.database.upgrade`` hands over."""

from alembic import context

from medferry.manifest import (  # noqa: F401 - tables beside their statements
    births,
    checkpoints,
    coverage,
    feeds,
    held_back,
    leftover_acts,
    policy_gates,
    set_aside,
    sweeps,
    write_backs,
)
from medferry.manifest.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
