"""What an operator may choose when starting a verification; the only declaration of these options.

Light: the trigger form is made from them whenever Airflow reads a DAG file.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_CONFIDENT = 3.0
"""Rule of three: no difference in n random rows means, with 95 % confidence, at most 3/n of all rows differ."""


class Sampling(BaseModel):
    """What the operator chose. A share of 1 compares the values of every row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_share: Annotated[
        float, Field(gt=0, le=1, description="The share of the rows whose values are compared; 1: every row.")
    ] = 1.0
    seed: Annotated[
        int, Field(ge=0, le=2**31 - 1, description="Which rows a sample takes: the same number, the same rows.")
    ] = 0
    validate_all: Annotated[
        bool, Field(description="Let Medplum validate every resource (20 points each), not a sample of them.")
    ] = False

    def takes(self, entity: str, key: str) -> bool:
        """Whether a row is in the sample: a function of seed, entity and key alone."""
        if self.sample_share == 1:
            return True
        digest = hashlib.sha256(f"{self.seed}/{entity}/{key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.sample_share * 2**64

    def bound(self, rows: int) -> str:
        """What a sample of `rows` without a difference says about all; empty when it was no sample."""
        return "" if self.sample_share == 1 else error_bound(rows, self.seed)


class VerifyOptions(Sampling):
    """What an operator may choose when starting a verification."""

    force: bool = Field(
        False, description="Begin again from the start, even where a verification that died could go on."
    )


def error_bound(number: int, seed: int) -> str:
    """What a random sample says about all, when nothing in it differs."""
    says = f"at most {min(_CONFIDENT / number, 1):.2%} of all differ" if number else "nothing is known of the others"
    return f"Sample of {number:,}, seed {seed}: when none of them differs, {says} (95 % confidence)."
