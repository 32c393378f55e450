"""Training of trials of any shapes: one lane run for each shape, with fewer lanes where memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from trainables.config import TrialConfig
from trainables.lanes.company import warn_of_company
from trainables.lanes.run import DEFAULT_LANES, LaneRun
from trainables.lanes.shape import ShapeKey, shape_key
from trainables.measurement import Declined, Measurement, Watch
from trainables.out_of_memory import fewer_lanes, give_memory_back, is_out_of_memory
from trainables.schedule import MeasuringConfig


def train(
    trials: Sequence[TrialConfig],
    watch: Watch | None = None,
    *,
    declined: Declined | None = None,
    measuring: MeasuringConfig = MeasuringConfig(),  # noqa: B008 (frozen)
    lanes: int = DEFAULT_LANES,
    device: str = "cpu",
) -> Iterator[Measurement]:
    """Train trials of any shapes, one shape after the other, and yield their measurements as they are taken.

    Where memory runs out, the block is trained again with half the lanes, and a warning says so; the watch then
    gets histories that it has had before.

    Args:
        trials: of any shapes; those of one shape train together.
        watch: asked after each evaluated step whether the trial ends there.
        declined: asked, where `spectral_start` is `at_decline`, whether complexity has declined.
        measuring: when to evaluate and at which epsilons to measure.
        lanes: trials trained at once, at most.
        device: a torch device.

    Raises:
        ConfigError: a trial cannot be trained; raised here, before any is.
        OutOfMemory: not even one lane fits; raised from the iterator.
    """
    groups: dict[ShapeKey, list[TrialConfig]] = {}
    for trial in trials:
        groups.setdefault(shape_key(trial), []).append(trial)
    runs = [
        LaneRun(group, measuring=measuring, watch=watch, declined=declined, lanes=lanes, device=device)
        for group in groups.values()
    ]

    def measurements() -> Iterator[Measurement]:
        while runs:
            yield from _next_block(runs[0])
            if runs[0].finished:
                runs.pop(0)

    return measurements()


def _next_block(run: LaneRun) -> list[Measurement]:
    """Train a block; where memory runs out, train it again with half the lanes, as often as needed."""
    before, lanes = run.record(), run.lanes
    while True:
        try:
            # Memory ran out in this block, and some lanes may have been trained by then: all of them go back to
            # where it began.
            if lanes < run.lanes:
                run.go_back(before, lanes)
            warn_of_company(run.dependent_computations, run.device)
            return run.advance(1)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside the `except` clause the error is gone, and with its traceback the tensors that it kept alive.
        give_memory_back()
        fewer = fewer_lanes(lanes)
        warnings.warn(f"memory ran out with {lanes} lanes; continuing with {fewer}", RuntimeWarning, stacklevel=3)
        lanes = fewer
