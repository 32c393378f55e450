"""The processes and ports of one Ray, and the guard that removes what is left of it.

Run as a script, this module is the guard: a separate process that waits until its standard input is closed, by the
driver or by the driver's death. Then it ends every process of that Ray and removes its folder. Without it, Ray
leaves agents behind for a minute when its driver is killed, and its folder for ever.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

#: How long Ray's own processes may take to end by themselves before they are killed.
GRACE_S = 4.0


def processes_of(folder: Path, driver: int | None = None) -> list[psutil.Process]:
    """Return every process that works in this folder, also orphans, except this process and the driver.

    Ray's processes name the folder in their command line or keep a log open in it. Both are checked, because titles
    set at run time overwrite the command line. The driver keeps a log open, too, even when it is done with Ray.

    Args:
        folder: the folder given to Ray.
        driver: id of the process that started Ray, by default this one.
    """
    passed_over = {os.getpid(), driver}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in passed_over and _works_in(process, str(folder))
    ]


def _works_in(process: psutil.Process, folder: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return any(folder in argument for argument in process.cmdline()) or any(
            file.path.startswith(folder + os.sep) for file in process.open_files()
        )
    return False


def open_ports(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    """Return the addresses and ports on which these processes accept TCP connections."""
    listening: set[tuple[str, int]] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            listening.update(
                (str(connection.laddr.ip), int(connection.laddr.port))
                for connection in process.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN
            )
    return sorted(listening)


def is_loopback(address: str) -> bool:
    """Check whether an address is reachable from this machine only; `::ffff:127.0.0.1` is."""
    # An IPv6 address may carry the name of its interface after a percent sign.
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def start_guard(folder: Path) -> subprocess.Popen[bytes]:
    """Start the guard of a folder; it acts on `end_guard`, or when this process ends in any way."""
    return subprocess.Popen(
        # -P keeps this folder off the guard's import path, where a module of ours could hide one of the same name.
        [sys.executable, "-P", str(Path(__file__).resolve()), str(folder), str(os.getpid())],
        stdin=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C in the terminal must not end the guard
    )


def end_guard(guard: subprocess.Popen[bytes]) -> None:
    """Let the guard do its work, and wait for it."""
    if guard.stdin is not None:
        guard.stdin.close()
    guard.wait()


def _guard(folder: Path, driver: int) -> None:
    sys.stdin.buffer.read()
    psutil.wait_procs(processes_of(folder, driver), timeout=GRACE_S)
    # Look again after each round: a process may have been started while others ended.
    while remaining := processes_of(folder, driver):
        for process in remaining:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(remaining, timeout=GRACE_S)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Stopping a Ray job sends SIGTERM to every process below the job's, including the guard.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _guard(Path(sys.argv[1]), driver=int(sys.argv[2]))
