"""A sweep on a cluster: sent through Ray's job server, then followed by the address of its results.

The job carries the three packages, the resolved specification, and the user-supplied modules that register its
names; the cluster needs only their dependencies. The job's driver runs `python -m sweep run` on the head, so all
that `sweep run` promises holds there too.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import JobServerUnusable, SweepError
from sweep.imports import imports_of, require_importable, sources_of
from sweep.on_ray.cluster_file import check_no_placeholders, results_root
from sweep.on_ray.environment import environment
from sweep.on_ray.shipment import SPECIFICATION_FILE, pack
from sweep.results.store import Store
from sweep.specification.trials import trials as trials_of

if TYPE_CHECKING:
    from sweep.specification.config import SweepConfig

#: The address at which `ray dashboard cluster.yaml` provides a cluster's job server.
DEFAULT_ADDRESS = "http://127.0.0.1:8265"

_ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})

#: How long `stop` waits for the driver; Ray kills it after RAY_JOB_STOP_WAIT_TIME_S, see cluster.yaml.
_STOP_WAIT_S = 120.0

#: A head that has just started does not know its machines for some seconds.
_NODES_WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Job:
    """A sweep that was sent to a cluster."""

    id: str
    """Ray's submission id, `sweep-<name>-<time>-<random>`."""
    address: str
    """The address of the job server."""
    results: str
    """Folder or bucket of the results; `sweep status` and `sweep report` read it."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Information for people about what was sent and what was not."""


def submit(config: SweepConfig, *, address: str = DEFAULT_ADDRESS, results: str | None = None) -> Job:
    """Send a sweep to a cluster and return at once.

    Args:
        config: the sweep.
        address: the address of the cluster's job server.
        results: the place for the results. By default the specification's; without one, a folder with the sweep's
            name: in this machine's `results/` if the job server is this machine, otherwise in the bucket of
            `cluster.yaml`.

    Raises:
        JobServerUnusable: the server does not answer or refuses, or another job writes the same results.
        LeaseHeld: another process writes the same results.
        PlaceholderLeft: the results path, or the cluster file that names the bucket, still has to be edited.
        SweepError: results would be on this machine's disk, for a cluster of other machines; or a task or network
            is registered where the cluster cannot import it, next to too much data, or differs once it is sent.
    """
    wanted = results if results is not None else config.results
    if wanted is not None:
        check_no_placeholders(wanted, "results")
    trials = trials_of(config)
    imports = imports_of(trials)
    require_importable(imports)
    named = "".join(f" --import {module}" for module in imports)
    with _client(address) as client, tempfile.TemporaryDirectory(prefix="sweep-job-") as folder:
        place = _results_place(client, wanted, config)
        _require_idle(client, place, address)
        _require_no_driver(place)
        notes = pack(config, imports, Path(folder), sources_of(trials))
        job_id = f"sweep-{config.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        client.submit_job(
            entrypoint=f"python -m sweep run {SPECIFICATION_FILE} --results {shlex.quote(place)}{named}",
            submission_id=job_id,
            runtime_env={"working_dir": folder},
            metadata={"sweep_results": place, "sweep_name": config.name},
        )
    return Job(job_id, address, place, notes)


def find(results_or_id: str, *, address: str = DEFAULT_ADDRESS) -> Job:
    """Return the job with this id, or the newest job that writes to these results.

    Raises:
        JobServerUnusable: there is no such job; the message lists the existing ones.
    """
    with _client(address) as client:
        jobs = _sweeps(client)
    place = _absolute(results_or_id)
    for job in jobs:
        if results_or_id == job.submission_id or place == job.metadata["sweep_results"]:
            return Job(job.submission_id, address, job.metadata["sweep_results"])
    known = "".join(f"\n  {job.submission_id}  {job.metadata['sweep_results']}" for job in jobs) or " none"
    raise JobServerUnusable(f"the job server at {address} knows no job {results_or_id!r}; its sweeps:{known}")


def status(job: Job) -> str:
    """Return Ray's status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED. The trials' status is in the results."""
    with _client(job.address) as client:
        return str(client.get_job_status(job.id).value)


def logs(job: Job) -> str:
    """Return what the job's driver has printed so far."""
    with _client(job.address) as client:
        return str(client.get_job_logs(job.id))


def stop(job: Job) -> str:
    """Make the job save and end, wait, and return its status. The same sweep, sent again, resumes from there."""
    with _client(job.address) as client:
        client.stop_job(job.id)
        give_up = time.monotonic() + _STOP_WAIT_S
        while (state := client.get_job_status(job.id).value) not in _ENDED and time.monotonic() < give_up:
            time.sleep(0.2)
        return str(state)


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    """Connect Ray's own client, with the token; turn its errors into ones that say what to do."""
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    token = _token()
    try:
        # Ray's client prefers RAY_API_SERVER_ADDRESS, and then RAY_ADDRESS, to the address that it is given.
        with environment({"RAY_API_SERVER_ADDRESS": address}):
            client = JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"} if token else {})
        yield client
    except AuthenticationError as error:
        problem = "refuses the token" if token else "wants a token"
        raise JobServerUnusable(
            f"the job server at {address} {problem}: put the cluster's into RAY_AUTH_TOKEN, or into the file "
            f"~/.ray/auth_token"
        ) from error
    except ConnectionError as error:
        raise JobServerUnusable(
            f"no job server answers at {address}; for a cluster started with `ray up cluster.yaml`, keep "
            "`ray dashboard cluster.yaml` running meanwhile"
        ) from error
    except SweepError:
        raise
    except RuntimeError as error:
        raise JobServerUnusable(f"the job server at {address} says: {error}") from error


def _token() -> str | None:
    """Return the cluster's token, from the places where Ray itself looks for it."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    with contextlib.suppress(OSError):
        path = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
        return Path(path).expanduser().read_text(encoding="utf-8").strip() or None
    return None


def _results_place(client: Any, wanted: str | None, config: SweepConfig) -> str:
    here = _is_this_machine(client)
    if wanted is None:
        wanted = config.results_path if here else f"{results_root()}/{config.name}"
    if not here and "://" not in wanted:
        raise SweepError(
            f"the results of a cluster must be where all its machines can reach them, got {wanted}, a folder of "
            "this machine; use --results s3://<bucket>/<folder>, or leave it out for the bucket of cluster.yaml"
        )
    return _absolute(wanted)


def _is_this_machine(client: Any) -> bool:
    """Check whether the whole cluster runs on this machine."""
    give_up = time.monotonic() + _NODES_WAIT_S
    hosts: set[str] = set()
    # The job server of a head that has just started knows no nodes for a moment.
    while not hosts and time.monotonic() < give_up:
        hosts = set(client._do_request("GET", "/nodes?view=hostNameList").json()["data"]["hostNameList"])
        time.sleep(0 if hosts else 0.2)
    return hosts == {platform.node()}


def _require_idle(client: Any, place: str, address: str) -> None:
    for job in _sweeps(client):
        if job.metadata["sweep_results"] == place and job.status.value not in _ENDED:
            raise JobServerUnusable(
                f"{place} is being written by job {job.submission_id} at {address}; "
                f"wait for it, or `sweep stop {job.submission_id}`"
            )


def _require_no_driver(place: str) -> None:
    """Refuse results that a sweep beside the cluster's jobs is writing, if they can be read from here."""
    with contextlib.suppress(OSError):
        Store(place).driving(lambda _: None).require_free()


def _sweeps(client: Any) -> list[Any]:
    """Return our jobs that the server knows, newest first."""
    jobs = [job for job in client.list_jobs() if "sweep_results" in (job.metadata or {})]
    return sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)


def _absolute(place: str) -> str:
    return place.rstrip("/") if "://" in place else str(Path(place).resolve())
