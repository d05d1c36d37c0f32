"""The environment that docker-compose.yaml is read with, and what it takes from there."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yaml"


def make_environment() -> str:
    """The .env that a person makes."""
    script = ["sh", str(ROOT / "docker" / "make_env.sh")]
    return subprocess.run(script, check=True, capture_output=True, text=True).stdout


def values(environment: str) -> dict[str, str]:
    """The names of an env file and their values."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", environment, flags=re.MULTILINE))


def required() -> dict[str, str]:
    """The variables that docker-compose.yaml cannot do without → `:?` (must not be empty) or `?` (may be empty)."""
    return dict(re.findall(r"\$\{(\w+)(:?\?)", COMPOSE_FILE.read_text(encoding="utf-8")))


def with_defaults() -> set[str]:
    """The variables of docker-compose.yaml that have a default."""
    return set(re.findall(r"\$\{(\w+):-", COMPOSE_FILE.read_text(encoding="utf-8")))
