"""One Ray and one trained sweep for all tests of this folder that need one: each costs five CPU seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sweep.on_ray.cluster import RaySession, local_ray
from tests.sweep.results.grokked_sweep import grokked_sweep


@pytest.fixture(scope="session")
def ray_session() -> Iterator[RaySession]:
    """A Ray of ours with two CPUs; tests that start or kill a Ray themselves do so in a subprocess."""
    with local_ray(cpus=2) as session:
        yield session


@pytest.fixture(scope="session")
def grokked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The results of a real sweep, see `grokked_sweep`."""
    return grokked_sweep(tmp_path_factory.mktemp("grokked") / "results")
