"""Settings every test shares."""

import functools
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)

# No test depends on how fast a machine is, or on how busy.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


class SlowFilesTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process whole files, and all files with slow tests, which may use two cores, to one of them."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the group of a test; tests of one group run in one process, one after the other."""
        file = nodeid.split("::")[0]
        return "slow" if _has_slow_tests(file) else file


@functools.cache
def _has_slow_tests(file: str) -> bool:
    return "mark.slow" in (ROOT / file).read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> SlowFilesTogether:
    return SlowFilesTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that the other process is not done long before."""
    items.sort(key=lambda item: not _has_slow_tests(item.nodeid.split("::")[0]))
