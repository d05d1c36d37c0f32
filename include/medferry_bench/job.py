"""One measurement in a process of its own, so that neither memory nor warm caches of another one count.

The job goes to the child on stdin (it holds passwords), the result comes back as JSON on stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What a child process shall do. `kind` names a function of `medferry_bench.worker`.

    `settings` are those of `medferry.settings.Settings`, `base` is the identifier base, `folder` holds prepared
    requests, `number` is a size in source records.
    """

    kind: str
    settings: dict[str, str] = field(default_factory=dict, repr=False)
    base: str = ""
    folder: str = ""
    lanes: int = 1
    batch_size: int = 200
    run_id: str = ""
    number: int = 0


class JobFailed(RuntimeError):
    """The child ended with an error. The text ends with its last lines, which hold no data (the demo is made up)."""


def run_job(job: Job) -> Result:
    """Do the job in a child process. Raises JobFailed."""
    command = [sys.executable, "-m", "medferry_bench.worker"]
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        command,
        input=json.dumps(asdict(job)),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise JobFailed(f"{job.kind} failed:\n{done.stderr[-2_000:]}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def read_job() -> Job:
    """The job that `run_job` sent to this process."""
    return Job(**json.loads(sys.stdin.read()))


def peak_bytes() -> int:
    """Peak resident memory of this process in bytes.

    Linux' ``VmHWM`` and not ``ru_maxrss``, which a child inherits from the process that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")
