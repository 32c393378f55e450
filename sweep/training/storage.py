"""Faults of the storage under a results folder: their causes in words, and how long the sweep waits for it.

A full disk or a bucket that refuses says nothing about the trials. So what was to be stored is kept and tried
again, and training waits; nothing is marked as failed. pyarrow's own S3 client tries a request that was refused a
few times within seconds. This begins where that ends, and also waits for refused credentials, since these are
renewed.
"""

from __future__ import annotations

import contextlib
import errno
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from analysis.errors import AnalysisError
from sweep.errors import ResultsGone, StorageFault, StoreError
from sweep.results.cohort import Cohort
from sweep.results.store import Store

PATIENCE_S = 600.0
"""Seconds for which a sweep waits for a storage that fails, before it ends."""

FIRST_DELAY_S = 0.5
"""Seconds between the first failure and the next try; each later delay is twice the one before."""

LONGEST_DELAY_S = 8.0
"""The longest delay, in seconds, which is also how long an interruption may have to wait."""

T = TypeVar("T")

_CAUSES = {
    errno.ENOSPC: "storage full",
    errno.EDQUOT: "storage quota used up",
    errno.EROFS: "storage is read-only",
    errno.EIO: "storage reports an error of the device",
    errno.EACCES: "storage refuses access",
    errno.EPERM: "storage refuses access",
}

#: Words in the messages of pyarrow's S3 file system, which have no error number.
_WORDS = (
    (re.compile(r"ACCESS_DENIED|EXPIRED|INVALID_ACCESS|SIGNATURE|\b40[13]\b", re.I), "storage refuses access"),
    (re.compile(r"SLOW_DOWN|THROTTL|SERVICE_UNAVAILABLE|\b50[0-4]\b", re.I), "storage is overloaded"),
    (re.compile(r"NETWORK_CONNECTION|curl|timeout|timed out|connect", re.I), "storage cannot be reached"),
)

#: Errors about one path, not about the storage.
_OF_ONE_PATH = (IsADirectoryError, NotADirectoryError, FileExistsError)


def cause_of(error: OSError) -> str:
    """Say in one line what is wrong with the storage: `storage full: [Errno 28] No space left on device`."""
    text = " ".join(str(error).split())
    meaning = _CAUSES.get(error.errno or 0)
    if meaning is None:
        meaning = next((words for pattern, words in _WORDS if pattern.search(text)), "storage fails")
    return f"{meaning}: {text or type(error).__name__}"


@contextlib.contextmanager
def storage_faults(store: Store, *, begun: bool = True) -> Iterator[None]:
    """Turn errors of the storage into ones that tell it from other causes.

    Args:
        store: the results folder.
        begun: whether the sweep has begun, so that its folder must be there.

    Raises:
        ResultsGone: the results folder is not there any more.
        StorageFault: the storage fails.
    """
    try:
        if begun:
            store.require_there()
        yield
    except (OSError, StoreError, AnalysisError) as error:
        if isinstance(error, (ResultsGone, StorageFault)):
            raise
        if begun:
            # A folder that was moved away makes writes fail in many ways; that it is gone is the reason to name.
            with contextlib.suppress(OSError):
                store.require_there()
        fault = _storage_error(error)
        if fault is None:
            raise
        raise StorageFault(cause_of(fault)) from error


class Patience:
    """How long a failing storage is waited for: delays that grow, and an end.

    Args:
        bound_s: seconds from the first of a row of failures to giving up; by default `PATIENCE_S`.
        clock: returns seconds.
    """

    def __init__(self, bound_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.cause: str | None = None
        """What is wrong with the storage; None while it works."""
        self._bound_s = PATIENCE_S if bound_s is None else bound_s
        self._clock = clock
        self._since = 0.0
        self._delay_s = FIRST_DELAY_S

    def failed(self, fault: StorageFault) -> bool:
        """Note a failure; return whether to try again after `wait`."""
        if self.cause is None:
            self._since, self._delay_s = self._clock(), FIRST_DELAY_S
        self.cause = str(fault)
        return self._clock() + self._delay_s <= self._since + self._bound_s

    def works(self) -> None:
        """Note that the storage works."""
        self.cause = None

    def wait(self) -> None:
        """Wait until the next try is due; return at once while the storage works."""
        if self.cause is not None:
            time.sleep(self._delay_s)
            self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)


def patiently(
    store: Store,
    work: Callable[[], T],
    note: Callable[[str], None],
    *,
    bound_s: float | None = None,
    begun: bool = True,
) -> T:
    """Do work on a results folder, again and again while its storage fails.

    Args:
        store: the results folder.
        work: what to do; it must be fit to be done again.
        note: called with one sentence when the waiting begins, and one when it ends.
        bound_s: seconds to wait at most; by default `PATIENCE_S`.
        begun: whether the sweep has begun, so that its folder must be there.

    Raises:
        StorageFault: the storage has failed for too long.
        ResultsGone: the results folder is not there any more.
    """
    patience = Patience(bound_s)
    while True:
        try:
            with storage_faults(store, begun=begun):
                done = work()
        except StorageFault as fault:
            waited = patience.cause is not None
            if not patience.failed(fault):
                raise
            if not waited:
                note(pause_text(str(fault)))
        else:
            if patience.cause is not None:
                note(RESUMED)
            return done
        patience.wait()


def compact(store: Store, cohort: Cohort) -> None:
    """Put the reports of a cohort into one file in each table if it has ended.

    Raises:
        StorageFault: the storage fails.
        ResultsGone: the results folder is not there any more.
    """
    with storage_faults(store):
        store.compact(cohort.cohort_id, cohort.trial_ids)


RESUMED = "The storage works again; the sweep continues."


def pause_text(cause: str) -> str:
    """Say that the sweep waits for its storage, why, and for how long."""
    return f"Paused, {cause}. The sweep tries again for up to {PATIENCE_S / 60:g} minutes."


def given_up_text(cause: str, place: str) -> str:
    """Say that the sweep no longer waits for its storage, and what to do."""
    return (
        f"{cause}. This lasted longer than the sweep waits for {place}; once it can be written again, the same "
        "command resumes from the last reports. No trial is marked as failed"
    )


def _storage_error(error: BaseException) -> OSError | None:
    """Return the error of the storage that this error is or came from; None if there is none."""
    wrapped = False
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and not isinstance(link, _OF_ONE_PATH):
            # A missing file that was already understood as one is a fault of the folder's content.
            known = link.errno is not None or "AWS Error" in str(link)
            if known and not (wrapped and isinstance(link, FileNotFoundError)):
                return link
        wrapped, link = True, link.__cause__ or link.__context__
    return None
