"""Sweeps sent through the job server of a real Ray head, started here on loopback with a token of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from sweep import jobs
from sweep.config import SweepConfig
from sweep.errors import JobServerUnusable, PlaceholderLeft
from sweep.ray_processes import is_loopback, open_ports, processes_of

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """A Ray head of our own."""

    address: str
    folder: Path
    token: str


@pytest.fixture(scope="module")
def running_head() -> Iterator[Head]:
    # Ray's sockets need a short path, and pytest's own temporary folders have long ones.
    folder = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))
    token = secrets.token_hex(32)
    gcs, dashboard, client, agent = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(BIN / "ray", "start", "--head", "--block", "--num-cpus=2", "--object-store-memory=83886080"),
                *(f"--temp-dir={folder}", f"--port={gcs}", f"--dashboard-port={dashboard}"),
                *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
                "--dashboard-host=127.0.0.1",
            ],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        head = Head(f"http://127.0.0.1:{dashboard}", folder, token)
        try:
            wait_until_it_answers(head, process)
            yield head
        finally:
            end(process, folder)


@pytest.fixture
def head(running_head: Head, monkeypatch: pytest.MonkeyPatch) -> Head:
    """The head, with this process knowing its token and no other Ray."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", running_head.token)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return running_head


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_it_answers(head: Head, process: subprocess.Popen[bytes]) -> None:
    request = urllib.request.Request(f"{head.address}/api/jobs/", headers={"Authorization": f"Bearer {head.token}"})
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5):
            return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    pytest.fail(f"the Ray head did not start:\n{(head.folder / 'head.log').read_text()}")


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End this head and nothing else; `ray stop` would end everybody's."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for left in processes_of(folder):
        with contextlib.suppress(psutil.Error):
            left.kill()
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def tiny(results: Path, **changes: object) -> SweepConfig:
    return SweepConfig(
        **{
            "name": "tiny",
            "task": {"modulus": 7},
            "model": {"width": 8, "heads": 2},
            "data_fraction": 0.6,
            "weight_decay": [0.0, 1.0],
            "seeds": 2,
            "steps": 200,
            "results": str(results),
            **changes,
        }
    )


def wait_for(job: jobs.Job, *states: str) -> str:
    for _ in range(600):
        state = jobs.status(job)
        if state in (*states, "FAILED"):
            break
        time.sleep(0.2)
    assert state in states, jobs.logs(job)
    return state


def test_head_is_on_loopback_only(head: Head) -> None:
    ports = open_ports(processes_of(head.folder))
    assert ports
    assert [address for address, _ in ports if not is_loopback(address)] == []


@pytest.mark.parametrize(("token", "code"), [(None, 401), ("wrong", 403)])
def test_jobs_are_refused_without_the_token(head: Head, token: str | None, code: int) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = b'{"entrypoint": "true"}'
    request = urllib.request.Request(f"{head.address}/api/jobs/", body, headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == code


@pytest.mark.parametrize("token", [None, "wrong"])
def test_submit_without_the_token_says_where_to_put_it(
    head: Head, token: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    if token:
        (tmp_path / "token").write_text(token)
    with pytest.raises(JobServerUnusable, match="token: put the cluster's into RAY_AUTH_TOKEN"):
        jobs.submit(tiny(tmp_path / "results"), address=head.address)


def test_nobody_answers(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(JobServerUnusable, match="no job server answers at"):
        jobs.submit(tiny(tmp_path), address=f"http://127.0.0.1:{port}")


def test_placeholder_in_the_results_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlaceholderLeft, match="<YOUR-BUCKET>"):
        jobs.submit(tiny(tmp_path), results="s3://<YOUR-BUCKET>/tiny")


@pytest.mark.slow
def test_submitted_sweep_runs_and_is_found_by_its_results(head: Head, tmp_path: Path) -> None:
    job = jobs.submit(tiny(tmp_path / "results"), address=head.address)
    assert job.id.startswith("sweep-tiny-")
    assert job.results == str(tmp_path / "results")
    assert jobs.find(job.id, address=head.address) == job
    assert jobs.find(str(tmp_path / "results"), address=head.address) == job
    wait_for(job, "SUCCEEDED")
    print(jobs.logs(job))
