"""What 'the same rows' means: everything but wall seconds, compared to the last bit (NaN equals NaN)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from trainables.measurement import Measurement


def comparable(measurement: Measurement) -> str:
    """Text that is equal exactly when two measurements are, seconds left out, weights included."""
    plain = dataclasses.replace(
        measurement,
        train_wall_s=0.0,
        measure_wall_s=0.0,
        complexities=tuple(dataclasses.replace(c, wall_s=0.0) for c in measurement.complexities),
        network=None,
    )
    weights = {name: weight.numpy().tobytes() for name, weight in (measurement.network or {}).items()}
    return f"{plain!r} {plain.complexities!r} {plain.matrices!r} {weights!r}"


def rows_of(trial_id: str, measurements: Iterable[Measurement]) -> list[str]:
    """The comparable measurements of one trial, in order."""
    return [comparable(measurement) for measurement in measurements if measurement.trial_id == trial_id]
