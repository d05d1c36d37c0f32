"""What the embedded server keeps over a restart and a SIGKILL."""

import threading
import time
from pathlib import Path

import httpx

from tests.contract.target import Json, create


def test_a_kill_loses_no_acknowledged_write(embedded, tmp_path: Path) -> None:
    server, target = embedded(data=tmp_path / "medplum.db", quota=1_000_000_000)
    acknowledged: list[Json] = []

    def write() -> None:
        while True:
            try:
                results = target.batch(*(create(target.patient()) for _ in range(20)))
            except httpx.TransportError:
                return
            acknowledged.extend(result["resource"] for result in results)

    lanes = [threading.Thread(target=write) for _ in range(3)]
    for lane in lanes:
        lane.start()
    while len(acknowledged) <= 100:
        time.sleep(0.1)
    server.kill()
    for lane in lanes:
        lane.join()
    server.start()
    for n in range(0, len(acknowledged), 500):
        some = acknowledged[n : n + 500]
        answer = target.post("Patient/_search", data={"_id": ",".join(r["id"] for r in some), "_count": "1000"})
        stored = {entry["resource"]["id"]: entry["resource"] for entry in answer.json()["entry"]}
        assert [stored.get(resource["id"]) for resource in some] == some


def test_history_deletions_and_binaries_survive_a_restart(embedded, tmp_path: Path) -> None:
    server, target = embedded(data=tmp_path / "medplum.db")
    changed, deleted = target.create(target.patient(gender="female")), target.create(target.patient())
    url = f"Patient/{changed['id']}"
    target.put(url, json=changed | {"gender": "male"})
    target.delete(f"Patient/{deleted['id']}")
    binary = target.post("Binary", content=b"\x00scan", headers={"Content-Type": "image/png"}).json()
    before = target.get(f"{url}/_history").json()
    server.restart()
    assert target.get(f"{url}/_history").json() == before
    assert len(before["entry"]) == 2
    assert target.get(f"Patient/{deleted['id']}").status_code == 410
    assert target.found(target.key(deleted)) == []
    assert [r["gender"] for r in target.found(target.key(changed))] == ["male"]
    assert target.get(f"Binary/{binary['id']}").content == b"\x00scan"
    later = target.create(target.patient())
    assert later["meta"]["lastUpdated"] >= changed["meta"]["lastUpdated"]


def test_without_a_file_nothing_is_kept(embedded) -> None:
    server, target = embedded()
    target.create(target.patient())
    server.restart()
    assert target.search("Patient", _summary="count")["total"] == 0
