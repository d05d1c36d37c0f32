"""Asynchronous batches: nothing of ours uses them; whoever would must know that a project has to have them."""

from tests.contract.changes import ASYNCHRONOUS_BATCH
from tests.contract.target import Target


def test_an_asynchronous_batch_needs_a_feature_of_the_project(target: Target) -> None:
    entry = {"request": {"method": "GET", "url": "Patient?_count=1"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    answer = target.post("", json=bundle, headers={"Prefer": "respond-async"})
    refusing = {400, 202} if target.live else {400}  # a live project may have the feature
    assert answer.status_code in (refusing if target.has(ASYNCHRONOUS_BATCH) else {202})
