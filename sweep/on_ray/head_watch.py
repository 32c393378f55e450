"""Watches whether the head of the Ray in use is alive, while Tune runs.

If its gcs dies, Ray keeps trying for a minute and then ends the driver process from C++, with a line of its own and
without a summary. Within that minute the driver can still say what happened, remove what is left and summarise.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

LOOK_EVERY_S = 1.0

UNWINDS_S = 20.0
"""Seconds that the driver is given to come back from a call into Ray that waits for the dead head."""

UNREACHABLE_S = 30.0
"""Seconds for which the gcs of a joined cluster may refuse connections; Ray itself waits for 60 and ends then."""


@contextlib.contextmanager
def head_watch(on_death: Callable[[str], None], give_up: Callable[[], object]) -> Iterator[None]:
    """Watch from another thread whether Ray loses its head meanwhile.

    Args:
        on_death: called once with what has died; it should end the block.
        give_up: called if the block has not ended `UNWINDS_S` later, because Ray does not return to Python.
    """
    over = threading.Event()
    is_dead = _checks()

    def watch() -> None:
        while not over.wait(LOOK_EVERY_S):
            which = is_dead()
            if which is not None:
                if not over.is_set():
                    on_death(which)
                    if not over.wait(UNWINDS_S):
                        give_up()
                return

    thread = threading.Thread(target=watch, name="head-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _checks() -> Callable[[], str | None]:
    """Return a function that names what has died, or returns None; it is called every `LOOK_EVERY_S` seconds."""
    import ray
    from ray._private import worker

    # A Ray that this process has started is known by its processes; the head of a joined cluster can only be asked
    # over the network.
    node: Any = worker._global_node
    own = {} if node is None else node.all_processes
    heads = [(name, info.process) for name in ("gcs_server", "raylet") for info in own.get(name, ())]
    if heads:
        return lambda: next((name for name, process in heads if process.poll() is not None), None)
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    refused = 0

    def answers() -> str | None:
        nonlocal refused
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_EVERY_S).close()
            refused = 0
        except OSError:
            # One refusal may be a busy head; Ray's own client tries again, too.
            refused += 1
        return f"gcs at {host}:{port}" if refused * LOOK_EVERY_S >= UNREACHABLE_S else None

    return answers
