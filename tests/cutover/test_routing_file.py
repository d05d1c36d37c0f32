"""The routing's file: readers never see half of it, a publisher that dies leaves the old or the new, one at a time."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from medferry.cutover.flagd import flag_definitions, routing_in
from medferry.cutover.routing import ALL_OTHER, ForeignRouting, Route, Routing, StaleRouting, Writes
from medferry.cutover.routing_file import RoutingBusy, publish, read_routing
from medferry.errors import SettingsError
from medferry.fhir.sides import Side


def at(epoch: int, units: int = 1) -> Routing:
    side = Side.MEDPLUM if epoch % 2 else Side.LEGACY
    names = [f"u{number:04}" for number in range(units)]
    return Routing.of(
        "tiny", [Route(unit=n, domain=ALL_OTHER, reads=side, writes=Writes(side), epoch=epoch) for n in names]
    )


def test_it_is_written_when_it_says_something_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "routing.json"
    assert publish(path, lambda: at(0)).changed
    first = path.stat()
    again = publish(path, lambda: at(0))
    assert not again.changed and path.stat() == first
    moved = publish(path, lambda: at(1))
    assert (moved.changed, moved.routing.version) == (True, 2)
    assert read_routing(path) == moved.routing
    assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(file.name for file in path.parent.iterdir()) == [".routing.json.lock", "routing.json"]


def test_an_older_decision_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    publish(path, lambda: at(2))
    with pytest.raises(StaleRouting, match="at epoch 2, and this was decided on epoch 1"):
        publish(path, lambda: at(1))
    assert read_routing(path) == at(2)


def test_a_file_of_others_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    path.write_text('{"flags": {}}')
    with pytest.raises(ForeignRouting):
        publish(path, lambda: at(1))
    assert path.read_text() == '{"flags": {}}'


def test_it_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file's bytes, then its name, then the folder."""
    acts: list[str] = []
    real_sync, real_rename = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        acts.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        real_sync(descriptor)

    def rename(path: Path, to: Path) -> Path:
        acts.append("rename")
        return real_rename(path, to)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    publish(tmp_path / "routing.json", lambda: at(0))
    assert acts == ["file", "rename", "folder"]


def test_each_is_newer_than_the_last_whatever_the_clock_says(tmp_path: Path) -> None:
    """Readers such as flagd's providers load a file again when its time of change is later."""
    path = tmp_path / "routing.json"
    times = []
    for epoch in range(4):
        publish(path, lambda epoch=epoch: at(epoch))  # type: ignore[misc]
        if epoch == 1:
            os.utime(path, (4e9, 4e9))  # published before the clock was set back
        times.append(path.stat().st_mtime)
    assert times == sorted(set(times)) and times[3] > 4e9


@pytest.mark.parametrize("act", ["fsync", "fchmod", "replace"])
def test_a_publisher_that_dies_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    path = tmp_path / "routing.json"
    publish(path, lambda: at(0))

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path if act == "replace" else os, act, dies)
        publish(path, lambda: at(1))
    assert read_routing(path) == at(0)
    assert publish(path, lambda: at(1)).changed  # over what the dead one has left


def test_readers_never_see_half(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    publish(path, lambda: at(0, units=500))
    over = threading.Event()
    faults: list[BaseException] = []

    def read() -> None:
        last = 0
        try:
            while not over.is_set():
                version = routing_in(path.read_bytes()).version
                assert version >= last
                last = version
        except BaseException as error:  # noqa: BLE001 -- told by the test
            faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for epoch in range(1, 40):
        publish(path, lambda epoch=epoch: at(epoch, units=500))  # type: ignore[misc]
    over.set()
    reader.join()
    assert faults == []


def test_what_was_found_last_is_written_last(tmp_path: Path) -> None:
    """The gates are looked at when nobody else can publish; one that cannot wait says so and changes nothing."""
    path = tmp_path / "routing.json"
    publish(path, lambda: at(0))
    with (tmp_path / ".routing.json.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RoutingBusy):
            publish(path, lambda: pytest.fail("it looked before it was its turn"), patience=0.1)
    assert publish(path, lambda: at(1)).changed


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="MEDFERRY_ROUTING_FILE"):
        publish(tmp_path / "file" / "routing.json", lambda: at(0))
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError):
        read_routing(tmp_path / "folder")


def test_the_file_is_as_a_person_would_write_it(tmp_path: Path) -> None:
    publish(tmp_path / "routing.json", lambda: at(1))
    text = (tmp_path / "routing.json").read_bytes()
    assert text == flag_definitions(at(1)) and text.count(b"\n") > 20
