"""Verify what has been loaded, as it is now: where waves are kept in step, by two looks at what differs."""

from __future__ import annotations

from functools import partial

from medferry.manifest.subject import Subject
from medferry.runtime.environment import Environment
from medferry.sync.in_flight import records_in_flight, waves_in_step
from medferry.verification.options import VerifyOptions
from medferry.verification.run import EVERYTHING, EntityProgress, SubjectVerification, verify_subject
from medferry.verification.stored import ResourceProgress


def verify_present(
    environment: Environment,
    subject: Subject = EVERYTHING,
    progress: EntityProgress = lambda *_: None,
    options: VerifyOptions | None = None,
    report_progress: ResourceProgress = lambda *_: None,
) -> SubjectVerification:
    """Raises as `verify_subject`."""
    options = options or VerifyOptions()
    waves = waves_in_step(environment)
    motion = partial(records_in_flight, waves) if waves else None
    return verify_subject(environment, subject, progress, options, options.force, report_progress, motion)
