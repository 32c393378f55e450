"""Leases: one process at a time holds a name in a results folder, e.g. that of the driver of its sweep.

A lease is a small file with a random token, rewritten at every heartbeat. It works in a folder and in a bucket, and
asks nothing of clocks: a holder on this machine lives if its process does, and one on another machine lives if its
file changes while it is watched.

In a local folder two processes of one machine cannot take a lease at once, because a lock of the operating system
is held meanwhile. In a bucket, which offers no such lock, the token is written, and read back after a pause: of
processes that took the lease at once, only the last one finds its own. A process that hung between reading and
writing for longer than the pause may still replace another's token. The other one notices at its next heartbeat,
and stops. So two holders overlap for two heartbeats at most, in which the attempts of `analysis.results_folder`
keep each row from counting twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from analysis.files import Files
from sweep.errors import LeaseHeld, LeaseLost, StoreError

BEAT_S = 10.0
"""Seconds between two heartbeats."""

SILENT_S = 120.0
"""A holder on another machine whose file does not change for this many seconds is dead."""

SETTLE_S = 2.0
"""Seconds after which a token written to a bucket is read back."""

_RELEASE_S = 10.0
"""Seconds that a release waits for a heartbeat that hangs; the lease is left then, without a holder."""

_held_here: set[str] = set()
"""The tokens of the leases that this process holds."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lease, as its file says."""

    token: str
    host: str
    machine: str
    """What a process id is unique in: one start of one kernel, and a container's own processes."""
    pid: int
    started: str
    """When the process started, in units of the machine: another process with the same id started later."""
    since: str
    beat_at: str
    """The last heartbeat, by the clock of the holder; for people only."""
    beats: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}, last heartbeat {self.beat_at}"


class Lease:
    """The right to do something that one process at a time may do in a results folder; a context manager.

    Args:
        files: the results folder.
        name: what is held: `driver`, or a path such as `cohorts/c0000`; the file is `<name>.lease`.
        note: called with a sentence for people where taking the lease has to wait.
        beat_s: seconds between heartbeats, the same for all that may hold the lease.
        silent_s: seconds without a heartbeat after which a holder on another machine is dead.
        settle_s: seconds after which a token is read back where no lock of the operating system helps.
    """

    def __init__(
        self,
        files: Files,
        name: str,
        *,
        note: Callable[[str], object] = lambda _: None,
        beat_s: float = BEAT_S,
        silent_s: float = SILENT_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._files, self._file, self._note = files, f"{name}.lease", note
        self._beat_s, self._silent_s, self._settle_s = beat_s, silent_s, settle_s
        self._place = f"{files.root if files.is_local else f's3://{files.root}'}"
        self._mine: Holder | None = None
        self._lost: str | None = None
        self._ended = threading.Event()
        self._turn = threading.Lock()
        """Held during a heartbeat, and during the release."""

    def __enter__(self) -> Lease:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> None:
        """Take the lease and keep it by heartbeats of a thread; a dead holder's is taken over.

        Raises:
            LeaseHeld: a living process holds it.
            StoreError: the folder cannot be written.
        """
        try:
            dead = self._dead_or_none()
            mine = _this_process()
            if self._files.is_local:
                Path(self._files.root).mkdir(parents=True, exist_ok=True)
            with self._alone() as alone:
                now = self._read()
                if now is not None and now != dead:
                    raise self._refusal(now)
                self._write(mine)
            # Long enough for a token written at the same time to be there: the last one written is the one that all
            # read.
            if not alone:
                time.sleep(self._settle_s)
                now = self._read()
                if now is not None and now.token != mine.token:
                    raise self._refusal(now)
        except OSError as error:
            raise StoreError(f"results cannot be written to {self._place}: {error}") from None
        self._mine, self._lost = mine, None
        _held_here.add(mine.token)
        self._ended.clear()
        threading.Thread(target=self._keep, name=self._file, daemon=True).start()

    def require_free(self) -> None:
        """Do nothing if no living process holds the lease; write nothing.

        Raises:
            LeaseHeld: one does.
            OSError: the folder cannot be read.
        """
        self._dead_or_none()

    def check(self) -> None:
        """Do nothing while this process holds the lease.

        Raises:
            LeaseLost: another process has taken it over, e.g. because this machine was asleep, or its file is gone.
        """
        if self._lost is not None:
            raise LeaseLost(self._lost)

    def release(self) -> None:
        """Give the lease back; nothing happens if it is not held. A folder that is empty then is removed."""
        if self._mine is None:
            return
        self._ended.set()
        # A heartbeat under way would write the file again after it has been deleted.
        if self._turn.acquire(timeout=_RELEASE_S):
            try:
                with contextlib.suppress(OSError), self._alone():
                    now = self._read()
                    if now is not None and now.token == self._mine.token:
                        self._files.delete(self._file)
            finally:
                self._turn.release()
        _held_here.discard(self._mine.token)
        self._mine = None
        if self._files.is_local:
            with contextlib.suppress(OSError):
                # Made by `take`, and empty where the run was refused; otherwise this fails, as it should.
                os.rmdir(self._files.root)

    # --- heartbeats ----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Write the file again at every heartbeat, until the lease is given back or lost."""
        while not self._ended.wait(self._beat_s) and self._lost is None:
            # Trouble with the storage is met by the training, too, which says so. The next heartbeat may succeed.
            with contextlib.suppress(Exception):
                self._beat()

    def _beat(self) -> None:
        with self._turn:
            mine = self._mine
            if mine is None or self._ended.is_set():
                return
            try:
                with self._alone():
                    now = self._read()
                    if now is not None and now.token == mine.token:
                        self._mine = dataclasses.replace(mine, beat_at=_now(), beats=mine.beats + 1)
                        self._write(self._mine)
                        return
            # `_alone` opens the folder, which the sweep does not make again.
            except FileNotFoundError:  # the folder itself
                now = None
            self._lost = (
                f"this sweep no longer owns {self._place}: it was taken over by {now}; this sweep has stopped"
                if now is not None
                else f"this sweep no longer owns {self._place}: {self._file} is gone, so the folder was moved, "
                "deleted or cleaned; this sweep has stopped"
            )

    # --- judging a holder ----------------------------------------------------------------------------------------

    def _dead_or_none(self) -> Holder | None:
        """Return the holder if it is dead, None if there is none; refuse a living one."""
        seen = self._read()
        if seen is None:
            return None
        lives = _lives(seen)
        if lives is None:
            self._note(
                f"{self._place} is held by {seen}; waiting up to {self._silent_s:.0f} s for its next heartbeat"
            )
            now = self._watch(seen)
            lives = now != seen
            if now is None:
                return None
            seen = now
        if lives:
            raise self._refusal(seen)
        return seen

    def _watch(self, seen: Holder) -> Holder | None:
        """Wait until the file of a holder on another machine changes, or has not for too long; return it then."""
        give_up = time.monotonic() + self._silent_s
        while time.monotonic() < give_up:
            time.sleep(min(1.0, self._beat_s / 2))
            now = self._read()
            if now != seen:
                return now
        return seen

    def _refusal(self, holder: Holder) -> LeaseHeld:
        return LeaseHeld(
            f"{self._place} is being written by another sweep: {holder}; wait until it has ended or press Ctrl-C "
            "there, or choose another place with --results"
        )

    # --- the file ------------------------------------------------------------------------------------------------

    def _read(self) -> Holder | None:
        """Read the holder; None if there is none, or the file is damaged: its writer will notice, too."""
        try:
            data = self._files.read(self._file)
        except FileNotFoundError:
            return None
        try:
            stated = json.loads(data)
            fields = {field.name: stated[field.name] for field in dataclasses.fields(Holder)}
        except (ValueError, KeyError, TypeError):
            return None
        numbers = ("pid", "beats")
        if not all(isinstance(value, int if name in numbers else str) for name, value in fields.items()):
            return None
        return Holder(**fields)

    def _write(self, holder: Holder) -> None:
        self._files.write(self._file, (json.dumps(dataclasses.asdict(holder)) + "\n").encode())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep other processes of this machine out meanwhile; yield False where that is not possible."""
        if not self._files.is_local:
            yield False
            return
        folder = os.open(self._files.root, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                alone = True
            except OSError:  # some network file systems
                alone = False
            yield alone
        finally:
            os.close(folder)


def _this_process() -> Holder:
    now = _now()
    return Holder(
        token=secrets.token_hex(16),
        host=platform.node(),
        machine=_machine(),
        pid=os.getpid(),
        started=_start_of(os.getpid()) or "",
        since=now,
        beat_at=now,
    )


def _lives(holder: Holder) -> bool | None:
    """Tell whether a holder lives; None if its process cannot be seen from here."""
    if (holder.host, holder.machine) != (platform.node(), _machine()):
        return None
    # A release that failed leaves a file of this very process, so only a token that it still holds counts.
    if holder.pid == os.getpid():
        return holder.token in _held_here
    return _start_of(holder.pid) == holder.started


def _machine() -> str:
    """Return what is common to the processes that see each other's ids; empty where the host's name must do."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Containers of one host share its boot and count their own processes, so that ids of two of them may be
        # equal.
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _start_of(pid: int) -> str | None:
    """Return when a process started, None if there is no such process or it has ended and waits for its parent."""
    with contextlib.suppress(OSError, IndexError):
        # psutil's time is derived from the clock, which may be set meanwhile; these are ticks since the boot.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if state in ("Z", "X") else fields[18]
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    return None


def _now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
