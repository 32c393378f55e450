"""One Ray for all tests of this folder that need one: starting it costs five CPU seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sweep.on_ray.cluster import RaySession, local_ray


@pytest.fixture(scope="session")
def ray_session() -> Iterator[RaySession]:
    """A Ray of ours with two CPUs; tests that start or kill a Ray themselves do so in a subprocess."""
    with local_ray(cpus=2) as session:
        yield session
