"""Sweeps sent through the job server of a real Ray head, started here on loopback with a token of its own."""

from __future__ import annotations

import contextlib
import json
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
from click.testing import CliRunner

from sweep.cli import main
from sweep.errors import JobServerUnusable, PlaceholderLeft, SweepError
from sweep.on_ray import jobs
from sweep.on_ray.processes import is_loopback, open_ports, processes_of
from sweep.specification.config import SweepConfig, load_specification
from tests.sweep.own_lab import new_lab

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Head:
    """A Ray head of our own."""

    address: str
    folder: Path
    token: str


@pytest.fixture(scope="module")
def running_head() -> Iterator[Head]:
    # Ray's sockets need a short path, and pytest's own temporary folders have long ones.
    folder = Path(tempfile.mkdtemp(prefix="h-", dir="/tmp"))
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
        "TMPDIR": str(folder / "t"),
    }
    (folder / "t").mkdir()
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


def tiny() -> SweepConfig:
    return load_specification("tiny")


def sweep(*arguments: str) -> str:
    """What a command prints, once it has succeeded."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def wait_for(job: jobs.Job, *states: str) -> str:
    state = ""
    for _ in range(600):
        state = jobs.status(job)
        if state in (*states, "FAILED"):
            break
        time.sleep(0.2)
    assert state in states, jobs.logs(job)
    return state


def driver_folders(head: Head) -> list[Path]:
    """Private folders of drivers: one of each that runs."""
    return list((head.folder / "t").glob("sweep-*"))


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
        jobs.submit(tiny(), address=head.address, results=str(tmp_path))


def test_nobody_answers() -> None:
    (port,) = free_ports(1)
    with pytest.raises(JobServerUnusable, match="no job server answers at"):
        jobs.submit(tiny(), address=f"http://127.0.0.1:{port}")


def test_placeholder_in_the_results_path_is_refused() -> None:
    with pytest.raises(PlaceholderLeft, match="<YOUR-BUCKET>"):
        jobs.submit(tiny(), results="s3://<YOUR-BUCKET>/tiny")


def test_results_on_this_machine_are_refused_for_other_machines(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "laptop")
    with pytest.raises(SweepError, match="must be where all its machines can reach them"):
        jobs.submit(tiny(), address=head.address, results=str(tmp_path))


def test_bucket_of_the_cluster_file_must_have_been_edited(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "laptop")
    monkeypatch.chdir(ROOT)
    with pytest.raises(PlaceholderLeft, match=r"cluster\.yaml:\d+: put your own value in place of <YOUR-BUCKET>"):
        jobs.submit(tiny(), address=head.address)


def test_unknown_job(head: Head) -> None:
    with pytest.raises(JobServerUnusable, match="knows no job 'sweep-none'"):
        jobs.find("sweep-none", address=head.address)


@pytest.mark.slow
def test_submitted_sweep_is_looked_after_by_its_results(head: Head, tmp_path: Path) -> None:
    results = str(tmp_path / "results")
    job = jobs.Job(**json.loads(sweep("submit", "tiny", "--results", results, "--address", head.address, "--json")))
    assert job.id.startswith("sweep-tiny-")
    assert job.results == results
    assert jobs.find(job.id, address=head.address) == job
    assert jobs.find(results, address=head.address) == job
    with pytest.raises(JobServerUnusable, match=f"is being written by job {job.id}"):
        jobs.submit(tiny(), address=head.address, results=results)
    wait_for(job, "SUCCEEDED")
    assert "4 of 4 trials are done" in sweep("logs", results, "--address", head.address)
    assert "4 trials" in sweep("status", results)
    report = Path(json.loads(sweep("report", results, "--json"))["files"]["report"])
    assert report.read_text(encoding="utf-8").startswith("<!")
    assert jobs.stop(job) == "SUCCEEDED"
    assert driver_folders(head) == []


@pytest.mark.slow
def test_stopped_sweep_has_saved(head: Head, tmp_path: Path) -> None:
    results = str(tmp_path / "results")
    endless = load_specification("tiny", ["steps=1000000", "stop=none", "weight_decay=0"])
    job = jobs.submit(endless, address=head.address, results=results)
    wait_for(job, "RUNNING")
    for _ in range(600):
        if list(Path(results).glob("tables/rows/*.parquet")):
            break
        time.sleep(0.2)
    assert len(driver_folders(head)) == 1
    assert json.loads(sweep("stop", results, "--address", head.address, "--json"))["status"] == "STOPPED"
    assert "Interrupted (SIGTERM)" in jobs.logs(job)
    assert list(Path(results).glob("checkpoints/*.safetensors"))
    assert json.loads(sweep("status", results, "--json"))["status"] == {"unfinished": 2}
    assert driver_folders(head) == []


@pytest.mark.slow
def test_a_module_of_the_users_goes_along(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(shared)])
    (shared / "slopes_of_the_lab.py").write_text("SLOPE = 0.1\n")
    lab = new_lab(tmp_path)
    text = lab.file.read_text().replace("nn.ReLU()", "nn.LeakyReLU(SLOPE)")
    lab.file.write_text(text.replace("    return nn.", "    from slopes_of_the_lab import SLOPE\n\n    return nn."))
    monkeypatch.chdir(tmp_path)
    results = str(tmp_path / "results")
    where = ("--results", results, "--address", head.address)
    job = jobs.Job(**json.loads(sweep("submit", lab.specification(), "--import", lab.module, *where, "--json")))
    shutil.move(lab.file.parent, tmp_path / "elsewhere")
    shutil.rmtree(shared)
    wait_for(job, "SUCCEEDED")
    assert "2 of 2 trials are done" in jobs.logs(job)
