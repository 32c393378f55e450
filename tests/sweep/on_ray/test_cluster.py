"""Ray as we start it: closed to other machines, asking for a token, leaving nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweep.on_ray.cluster import LONGEST_FOLDER_CHARACTERS, RaySession
from sweep.on_ray.processes import is_loopback, open_ports, processes_of


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def elsewhere() -> Iterator[subprocess.Popen[str]]:
    """Another process with a Ray of ours, holding it until it is told to stop; prints its folder first."""
    code = """
        import time
        from sweep.on_ray.cluster import local_ray
        with local_ray(cpus=1) as session:
            print(session.folder, flush=True)
            time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def folder_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_every_open_port_is_on_loopback(ray_session: RaySession) -> None:
    import ray

    # Workers listen too: have one.
    assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()

    tree = psutil.Process().children(recursive=True)
    names = " ".join(argument for process in tree for argument in process.cmdline())
    assert "gcs_server" in names
    assert "raylet" in names
    assert "Agent" in names
    # Nobody looks at what these would find out.
    assert [name for name in ("log_monitor", "monitor.py", "dashboard.py") if name in names] == []

    ports = open_ports(tree)
    assert len(ports) >= 6
    assert [port for port in ports if not is_loopback(port[0])] == []
    assert {process.pid for process in tree if open_ports([process])} <= {
        process.pid for process in processes_of(ray_session.folder)
    }


def test_the_kernel_agrees_about_the_ports(ray_session: RaySession) -> None:
    """The same from /proc/net, by the sockets that the processes hold."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc")
    sockets = set()
    for process in processes_of(ray_session.folder):
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                sockets.add(os.readlink(descriptor))
            except OSError:
                continue
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                listening.append(fields[1].rpartition(":")[0])
    loopback = {
        "0100007F",
        "0000000000000000FFFF00000100007F",
        "00000000000000000000000001000000",
    }
    assert len(listening) >= 6
    assert set(listening) <= loopback


@pytest.mark.parametrize(
    ("environment", "let_in"),
    [
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}, False),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, False),
        ({}, True),
    ],
    ids=["without a token", "with a wrong token", "with the token"],
)
def test_a_client_needs_the_token(ray_session: RaySession, environment: dict[str, str], let_in: bool) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    code = f"""
        from ray._raylet import GcsClient
        client = GcsClient(address="{address}")
        print("nodes", len(client.get_all_node_info(timeout=10)))
    """
    outcome = run_python(code, **environment)
    assert ("nodes 1" in outcome.stdout) == let_in, outcome.stderr
    assert let_in or "Token" in outcome.stderr or "token" in outcome.stderr


def test_the_token_is_kept_from_the_home_folder(ray_session: RaySession) -> None:
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    home = Path.home() / ".ray" / "auth_token"
    assert not home.exists() or os.environ["RAY_AUTH_TOKEN"] not in home.read_text()


def test_what_there_is_to_run_on(ray_session: RaySession) -> None:
    assert (ray_session.cpus, ray_session.nodes, ray_session.started_here) == (2.0, 1, True)
    assert ray_session.folder.stat().st_mode & 0o077 == 0
    assert len(str(ray_session.folder)) <= LONGEST_FOLDER_CHARACTERS


@pytest.mark.slow
def test_nothing_remains_and_the_environment_is_as_before() -> None:
    """Also the other Ray of this machine continues: the one of the test session is not touched."""
    outcome = run_python(
        """
        import os, psutil, ray
        from sweep.on_ray.cluster import local_ray
        from sweep.on_ray.processes import processes_of
        before = dict(os.environ)
        for _ in range(2):  # twice in one process, so with two tokens, and with a Ray that was imported before
            with local_ray(cpus=1) as session:
                processes = psutil.Process().children(recursive=True)
                assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
            # One that has ended, and that the system has not yet taken note of, still counts as running.
            left = [p.pid for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            print(session.folder.exists(), left, processes_of(session.folder))
        assert dict(os.environ) == before
        print(len(psutil.Process().children(recursive=True)))
        """,
        TMPDIR="/tmp/a-folder-with-a-name-too-long-for-a-socket-of-ray",
    )
    assert outcome.stdout.split("\n") == ["False [] []", "False [] []", "0", ""], outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_remains_after_a_signal(elsewhere: subprocess.Popen[str], number: signal.Signals) -> None:
    folder = folder_of(elsewhere)
    assert processes_of(folder)
    elsewhere.send_signal(number)
    elsewhere.communicate(timeout=60)
    assert elsewhere.returncode != 0
    assert not folder.exists()
    assert processes_of(folder) == []


@pytest.mark.slow
def test_nothing_remains_of_a_killed_driver(elsewhere: subprocess.Popen[str]) -> None:
    folder = folder_of(elsewhere)
    processes = processes_of(folder)
    assert len(processes) >= 6
    elsewhere.kill()
    elsewhere.wait()
    psutil.wait_procs(processes, timeout=60)
    assert processes_of(folder) == []
    assert not folder.exists()


def test_a_named_cluster_is_joined_and_left_running(ray_session: RaySession) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    code = """
        from sweep.on_ray.cluster import local_ray
        with local_ray(cpus=1) as session:
            print(session.cpus, session.nodes, session.started_here)
    """
    assert run_python(code, RAY_ADDRESS=address).stdout.split() == ["2.0", "1", "False"]
    assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()


def test_a_cluster_that_is_not_there() -> None:
    outcome = run_python(
        """
        from sweep.on_ray.cluster import local_ray
        from sweep.errors import RayUnusable
        try:
            with local_ray():
                pass
        except RayUnusable as error:
            print(error)
        """,
        RAY_ADDRESS="127.0.0.1:1",
    )
    assert "RAY_ADDRESS=127.0.0.1:1" in outcome.stdout, outcome.stderr


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.2", False),
        ("::ffff:192.0.2.2", False),
        ("fe80::1%eth0", False),
    ],
)
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) == expected


def test_an_exposed_ray_is_refused() -> None:
    """Where Ray's switch has no effect, nothing is started that others could reach."""
    if all(is_loopback(address.address) for address in _inet_addresses()):
        pytest.skip("this machine has no address but loopback")
    outcome = run_python(
        """
        import sweep.on_ray.cluster as cluster
        from sweep.errors import RayUnusable
        from ray._private import ray_constants
        reread = cluster._reread_environment
        def without_the_switch():
            reread()
            ray_constants.ENABLE_RAY_CLUSTER = True
        cluster._reread_environment = without_the_switch
        try:
            with cluster.local_ray(cpus=1):
                print("started")
        except RayUnusable as error:
            print(error)
        """
    )
    assert outcome.stdout.startswith("Ray must listen on loopback only"), outcome.stdout + outcome.stderr


def _inet_addresses() -> list[object]:
    import socket

    return [
        address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    ]
