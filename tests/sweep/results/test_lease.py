"""Leases: one holder at a time, whatever becomes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.files import Files
from sweep.errors import LeaseHeld, LeaseLost, StoreError
from sweep.results.lease import Lease
from tests.sweep.results.test_store import bucket  # noqa: F401

BEAT_S = 0.05

HOLDER = """
import sys, time
from analysis.files import Files
from sweep.results.lease import Lease
lease = Lease(Files(sys.argv[1]), "driver", beat_s=0.05)
lease.take()
print("held", flush=True)
time.sleep(100)
"""


def lease(place: object, **changes: object) -> Lease:
    quick: dict[str, object] = {"beat_s": BEAT_S, "silent_s": 1.0, "settle_s": 0.05, **changes}
    return Lease(Files(str(place)), "driver", **quick)  # type: ignore[arg-type]


def until(true: Callable[[], object]) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + 120
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease of `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def of_another_machine(place: Path, **changes: object) -> None:
    """Make the lease look as if it were taken on another machine."""
    stated = json.loads((place / "driver.lease").read_text())
    (place / "driver.lease").write_text(json.dumps({**stated, "machine": "another", **changes}))


def test_one_at_a_time(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with lease(results) as first:
        with pytest.raises(LeaseHeld, match=f"{results} is being written by another sweep: process {os.getpid()}"):
            lease(results).take()
        with lease(results / "elsewhere"):
            first.check()
    assert list(tmp_path.iterdir()) == []  # not even the folder is left, since nothing was written
    with lease(results):
        (results / "sweep.json").touch()
    assert [path.name for path in results.iterdir()] == ["sweep.json"]


def test_a_living_process_is_refused_at_once_and_named(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LeaseHeld, match=f"process {holder.pid} on .*, since 20.* UTC, last heartbeat 20") as caught:
        lease(tmp_path, silent_s=1e9).take()
    assert "\n" not in str(caught.value)
    with pytest.raises(LeaseHeld):
        lease(tmp_path).require_free()
    # Even where it does not beat, e.g. because it is stopped by SIGSTOP for a while.
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(LeaseHeld):
        lease(tmp_path, silent_s=0).take()


def test_a_killed_process_is_replaced_at_once(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """Also while its parent has not waited for it."""
    holder.kill()
    until(lambda: "Z" in Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2])
    lease(tmp_path).require_free()
    with lease(tmp_path, silent_s=1e9) as mine:
        mine.check()


def test_another_process_with_the_same_id_is_not_the_holder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGSTOP)  # no heartbeat repairs the file
    stated = json.loads((tmp_path / "driver.lease").read_text())
    (tmp_path / "driver.lease").write_text(json.dumps({**stated, "started": "1"}))
    with lease(tmp_path, silent_s=1e9) as mine:
        mine.check()


def test_another_machine_lives_while_its_file_changes(tmp_path: Path) -> None:
    notes: list[str] = []
    lease(tmp_path, beat_s=1e9).take()
    of_another_machine(tmp_path, host="far")
    beat = threading.Timer(0.2, of_another_machine, [tmp_path], {"host": "far", "beats": 1})
    beat.start()
    with pytest.raises(LeaseHeld, match="on far, since"):
        lease(tmp_path, silent_s=1e9, note=notes.append).take()
    beat.join()
    assert len(notes) == 1
    assert "waiting up to 1000000000 s for its next heartbeat" in notes[0]
    # It beats no more, whatever its clock said.
    of_another_machine(tmp_path, host="far", beat_at="2999-01-01 00:00:00 UTC")
    with lease(tmp_path, silent_s=0.2) as mine:
        mine.check()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_damaged_file_holds_nothing(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "driver.lease").write_bytes(damage)
    with lease(tmp_path) as mine:
        mine.check()


def test_a_holder_that_was_replaced_notices_and_leaves_the_other_alone(tmp_path: Path) -> None:
    first = lease(tmp_path)
    first.take()
    of_another_machine(tmp_path, token="of another", host="far")

    def lost() -> bool:
        try:
            first.check()
        except LeaseLost as error:
            return "taken over by process" in str(error) and "on far" in str(error)
        return False

    until(lost)
    first.release()
    assert json.loads((tmp_path / "driver.lease").read_text())["token"] == "of another"


def test_a_folder_that_was_deleted_is_noticed_and_not_made_again(tmp_path: Path) -> None:
    first = lease(tmp_path / "results")
    first.take()
    (tmp_path / "results").rename(tmp_path / "moved")

    def lost() -> bool:
        try:
            first.check()
        except LeaseLost as error:
            return "the folder was moved, deleted or cleaned" in str(error)
        return False

    until(lost)
    first.release()
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_trouble_with_the_storage_does_not_end_the_heartbeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease(tmp_path) as mine:
        before = Files.write
        failures: list[str] = []

        def fails(_files: Files, name: str, _data: bytes) -> None:
            failures.append(name)
            raise OSError("503")

        monkeypatch.setattr(Files, "write", fails)
        until(lambda: len(failures) >= 2)
        monkeypatch.setattr(Files, "write", before)
        beats = json.loads((tmp_path / "driver.lease").read_text())["beats"]
        until(lambda: json.loads((tmp_path / "driver.lease").read_text())["beats"] > beats)
        mine.check()


def test_of_many_at_once_one_holds(tmp_path: Path) -> None:
    """Each in a process of its own, and all of them wait for the same instant."""
    racer = (
        "import sys, time\n"
        "from analysis.files import Files\n"
        "from sweep.errors import LeaseHeld\n"
        "from sweep.results.lease import Lease\n"
        "lease = Lease(Files(sys.argv[1]), 'driver')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    lease.take()\n"
        "    print('held', flush=True)\n"
        "except LeaseHeld:\n"
        "    print('refused', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", racer, str(tmp_path / "results")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = []
    for process in racers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in racers:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in racers:
        assert process.stdout is not None
        said.append(process.stdout.readline())
    for process in racers:
        process.communicate("\n")
    assert sorted(said) == ["held\n", "refused\n", "refused\n"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        lease(tmp_path / "file" / "results").take()


def test_a_bucket(bucket: str) -> None:  # noqa: F811
    with lease(bucket) as first:
        with pytest.raises(LeaseHeld, match="s3://sweeps/results/tiny is being written"):
            lease(bucket).take()
        until(lambda: first._mine is not None and first._mine.beats >= 2)
        first.check()
    with lease(bucket, settle_s=0.5) as second:
        # Another one that read before this one wrote, and writes after it.
        late = lease(bucket)
        with second._turn:  # not while a heartbeat has read and is about to write
            stated = json.loads(Files(bucket).read("driver.lease"))
            late._write(second._mine.__class__(**{**stated, "token": "late"}))
        until(lambda: second._lost is not None)
    assert b"late" in Files(bucket).read("driver.lease")
    Files(bucket).delete("driver.lease")


def test_of_two_in_a_bucket_at_once_one_holds(bucket: str) -> None:  # noqa: F811
    together = threading.Barrier(2)
    held: list[Lease] = []

    def take(mine: Lease) -> None:
        mine._files.filesystem.get_file_info("sweeps")  # connected
        read = mine._dead_or_none

        def read_together() -> None:
            read()
            together.wait()

        mine._dead_or_none = read_together  # type: ignore[method-assign, assignment]
        try:
            mine.take()
        except LeaseHeld:
            return
        held.append(mine)

    threads = [threading.Thread(target=take, args=[lease(bucket, settle_s=0.5)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    held[0].release()
