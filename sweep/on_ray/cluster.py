"""The Ray that a sweep runs on: one started here and removed afterwards, or the cluster that a job was sent to.

A Ray started here listens on the loopback interface only, asks every client for a token that exists only in this
process's environment, and leaves neither processes nor files behind, however the work ends.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweep.errors import RayUnusable
from sweep.on_ray.environment import environment
from sweep.on_ray.processes import end_guard, is_loopback, open_ports, processes_of, start_guard

#: Ray appends up to 62 characters to its folder, and a Unix socket's path may have 107.
LONGEST_FOLDER_CHARACTERS = 40

#: Cohorts pass only small dictionaries through Ray; this is close to the least that Ray accepts.
OBJECT_STORE_BYTES = 80 * 2**20

#: A cluster that does not answer within this time counts as missing. Ray itself would try for minutes.
REACHABLE_WITHIN_S = 10.0

_PREFIX = "sweep-"
_RAY_FOLDER = "ray"


@dataclass(frozen=True, slots=True)
class RaySession:
    """The resources to run on, once Ray is connected."""

    cpus: float
    gpus: float
    nodes: int
    started_here: bool
    """False if the sweep joined a cluster that outlives it."""
    folder: Path
    """A private folder on this machine for temporary files; removed at the end of the session."""


@contextlib.contextmanager
def local_ray(cpus: int | None = None) -> Iterator[RaySession]:
    """Connect to the cluster named by `RAY_ADDRESS`, or start a temporary Ray on this machine.

    If this process is connected to a Ray already, that one is used and left as it is.

    A Ray started here is new: it never joins one that runs already. It listens on loopback only, with token
    authentication, and without dashboard, metrics, usage statistics and memory monitor (which would end a whole
    sweep to free one process's memory). At the end its processes and its folder are gone, even if this process is
    killed. From a cluster that was joined, the process only disconnects.

    Args:
        cpus: the number of CPUs that the started Ray offers, by default all. Not used with `RAY_ADDRESS`.

    Raises:
        RayUnusable: Ray did not start, cannot be reached, or listens on more than loopback.
    """
    with _guarded_folder() as folder:
        address = os.environ.get("RAY_ADDRESS", "local")
        # Ray reads its environment when it is imported, so it is not imported just to ask this.
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            yield _session(folder, started_here=False)
        elif address in ("", "local"):
            with _started(folder, cpus) as session:
                yield session
        else:
            with _joined(folder, address) as session:
                yield session


@contextlib.contextmanager
def _joined(folder: Path, address: str) -> Iterator[RaySession]:
    import ray

    try:
        _require_answer(address)
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise RayUnusable(
            f"no connection to the Ray cluster at RAY_ADDRESS={address}: {_first_line(error)}. "
            "Start that cluster, or unset RAY_ADDRESS to run on this machine"
        ) from error
    try:
        yield _session(folder, started_here=False)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _started(folder: Path, cpus: int | None) -> Iterator[RaySession]:
    own_environment = {
        # Ray's switch for machines that cannot be part of a cluster: the only one that keeps gcs, raylet and
        # agents on loopback where the host has another address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        # No one reads this Ray's metrics, and collecting them every few seconds costs more than Tune.
        "RAY_enable_metrics_collection": "0",
        "RAY_task_events_report_interval_ms": "0",
        "REPORTER_UPDATE_INTERVAL_MS": "3600000",
        # Python's own default; `ray.init` changes it, and would leave it changed.
        "PYTHONBREAKPOINT": os.environ.get("PYTHONBREAKPOINT", "sys.breakpointhook"),
    }
    with (
        _reread_at_the_end(),
        environment(own_environment),
        _sigterm_handler_kept(),
        _session_of_its_own(),
        _no_idle_processes(),
    ):
        import ray

        _reread_environment()
        try:
            try:
                ray.init(
                    "local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(folder / _RAY_FOLDER),
                )
            except Exception as error:
                raise RayUnusable(f"Ray did not start on this machine: {_first_line(error)}") from error
            _require_loopback(folder)
            yield _session(folder, started_here=True)
        finally:
            with _uninterrupted():
                ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT; other forms of address are left to Ray."""
    # An address without a port is one of Ray's own forms, such as `auto`.
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHABLE_WITHIN_S).close()


def _require_loopback(folder: Path) -> None:
    exposed = [
        f"{address}:{port}" for address, port in open_ports(processes_of(folder)) if not is_loopback(address)
    ]
    if exposed:
        raise RayUnusable(
            f"Ray must listen on loopback only, but accepts connections at {', '.join(exposed)}; "
            "this version of Ray cannot be used on a machine with other addresses"
        )


def _session(folder: Path, *, started_here: bool) -> RaySession:
    import ray

    resources = ray.cluster_resources()
    return RaySession(
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        # `ray.nodes` lists nodes that have died, too.
        nodes=sum(bool(node["Alive"]) for node in ray.nodes()),
        started_here=started_here,
        folder=folder,
    )


@contextlib.contextmanager
def _guarded_folder() -> Iterator[Path]:
    """Create a private folder with a short path; it and all processes that work in it end with this context."""
    # Ray puts Unix sockets deep below its folder, and their paths are limited.
    # Some machines have a long TMPDIR, e.g. macOS and batch systems.
    place = Path(tempfile.gettempdir())
    if len(str(place / f"{_PREFIX}12345678" / _RAY_FOLDER)) > LONGEST_FOLDER_CHARACTERS:
        place = Path("/tmp")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    guard = start_guard(folder)
    try:
        yield folder
    finally:
        with _uninterrupted():
            end_guard(guard)


@contextlib.contextmanager
def _reread_at_the_end() -> Iterator[None]:
    try:
        yield
    finally:
        _reread_environment()


def _reread_environment() -> None:
    """Make a Ray that was imported earlier see the current environment, which it reads only once, at import."""
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    ray_constants.ENABLE_RAY_CLUSTER = ray_constants.env_bool(
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, not ray_constants.IS_WINDOWS_OR_OSX
    )
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _sigterm_handler_kept() -> Iterator[None]:
    """Restore the SIGTERM handler that `ray.init` replaces and never restores."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _no_idle_processes() -> Iterator[None]:
    """Leave out processes that a Ray without cluster, dashboard and printed logs does not need.

    The autoscaler's monitor, the log monitor and the rest of the dashboard take 2 CPU seconds and 280 MB to start,
    and continue polling several times a second. `ray.init` has no arguments that leave them out.
    """
    from ray._private import parameter, services

    parameters, start_api_server = parameter.RayParams, services.start_api_server
    parameter.RayParams = functools.partial(parameters, include_log_monitor=False, no_monitor=True)
    services.start_api_server = lambda *_, **__: (None, None)
    try:
        yield
    finally:
        parameter.RayParams, services.start_api_server = parameters, start_api_server


@contextlib.contextmanager
def _session_of_its_own() -> Iterator[None]:
    """Keep Ray's processes out of this one's process group.

    `timeout` and batch systems send SIGTERM to the whole group. If Ray dies of it before we have stopped, it takes
    the driver with it, a minute later. Ray itself guards its processes against SIGINT only.
    """
    from ray._private import services

    original = services.ConsolePopen
    services.ConsolePopen = functools.partial(original, start_new_session=True)
    try:
        yield
    finally:
        services.ConsolePopen = original


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and the like for the few seconds of cleaning up, so that nothing stays behind."""
    # Only the main thread may set signal handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in held}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
