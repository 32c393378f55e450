"""Evaluation: from the weights of the lanes to their trials' measurements, and to the end of a trial.

Read `Evaluator.evaluate_due` first.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainables import scoring
from trainables.config import AT_DECLINE
from trainables.lanes.device import DeviceLanes
from trainables.lanes.lane import Lane
from trainables.lanes.shape import Shape
from trainables.measurement import Declined, Ending, Measurement, TrialEnd, TrialHistory, Watch, columns
from trainables.schedule import MeasuringConfig, whole_blocks
from trainables.sizes import bzip2_bytes

EVALUATED_LANES = 16
"""Lanes evaluated at once, a bound on memory."""


class Evaluator:
    """Measures the trials that are due, and ends those that have diverged, spent their budget or are told to end.

    Args:
        shape: common to the trials.
        lanes: where the trials are.
        measuring: when to evaluate and at which epsilons to measure.
        watch: asked after each evaluated step whether the trial ends there.
        declined: asked, where `spectral_start` is `at_decline`, whether complexity has declined.
    """

    def __init__(
        self,
        shape: Shape,
        lanes: DeviceLanes,
        measuring: MeasuringConfig,
        watch: Watch | None = None,
        declined: Declined | None = None,
    ) -> None:
        self._shape, self._lanes, self._measuring = shape, lanes, measuring
        self._watch, self._declined = watch, declined
        _, self._grokked_at = measuring.thresholds(shape.task)

    def evaluate_due(self) -> list[Measurement]:
        """Evaluate the trials that are due at their age, in the order of the queue."""
        due = [(place, lane) for place, lane in self._lanes.placed() if lane.is_due]
        due.sort(key=lambda placed: placed[1].trial_index)
        if not due:
            return []
        started = time.perf_counter()
        outcomes = self.outcomes(due)
        seconds_each = (time.perf_counter() - started) / len(due)
        measurements = []
        for (_, lane), (of_lane, weights) in zip(due, outcomes, strict=True):
            lane.measure_wall_s += seconds_each
            measurements.append(self._measure(lane, of_lane, weights))
        return measurements

    # --- on the device -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def outcomes(self, due: Sequence[tuple[int, Lane]]) -> list[tuple[scoring.TableOutcomes, Tensor]]:
        """Compute outcomes, [N] each, and weights [P] of lanes given with their places, on the host.

        This is the one moment between two evaluations at which the host waits for the device.
        """
        of_place: dict[int, scoring.TableOutcomes] = {}
        by_table: dict[int, list[int]] = {}
        for place, lane in due:
            by_table.setdefault(self._lanes.table_of(lane), []).append(place)
        together = 1 if self._shape.one_by_one else EVALUATED_LANES
        for table, places in by_table.items():
            for first in range(0, len(places), together):
                some = places[first : first + together]
                # Too few lanes have other bits: a lane alone is evaluated twice, and its copy left out below.
                rows = some * self._shape.fewest_lanes if len(some) < self._shape.fewest_lanes else some
                outcomes = scoring.table_outcomes(
                    self._shape.architecture,
                    self._shape.layout.parameters(self._lanes.weights[rows]),
                    self._lanes.table(table),
                    self._lanes.targets[rows],
                )
                for place, *one_lane in zip(some, *outcomes, strict=False):
                    of_place[place] = scoring.TableOutcomes(*one_lane)
        places = [place for place, _ in due]
        # One transfer of each kind, and not one a lane.
        kinds = zip(*(of_place[place] for place in places), strict=True)
        on_host = zip(*(torch.stack(kind).cpu() for kind in kinds), strict=True)
        weights = self._lanes.weights[places].cpu()
        return [(scoring.TableOutcomes(*row), own) for row, own in zip(on_host, weights, strict=True)]

    # --- on the host ---------------------------------------------------------------------------------------------

    def _measure(self, lane: Lane, outcomes: scoring.TableOutcomes, weights: Tensor) -> Measurement:
        """Make one lane's measurement from its outcomes, and end the trial where that is due."""
        losses, answers, squared_logit_norms = outcomes
        started = time.perf_counter()
        lane.evaluated.pop()
        network = {name: weight.clone() for name, weight in self._shape.layout.parameters(weights).items()}
        scores = scoring.scores(losses, answers, lane.split)
        matrices = scoring.matrices(network)
        size = scoring.size_scores(network, matrices)
        finite = math.isfinite(scores.train_loss) and math.isfinite(size.l2_norm)
        measured = finite and lane.needs_complexity(scores.val_accuracy, self._grokked_at)
        complexities: tuple[scoring.ComplexityMeasurement, ...] = ()
        if measured:
            complexities = scoring.complexities(
                self._shape.architecture, lane.task, lane.split, network, self._measuring
            )
        row = columns(
            scores,
            scoring.noise_scores(answers, lane.split, lane.task.targets),
            scoring.group_scores(answers, lane.split, lane.task.group),
            scoring.logit_scores(squared_logit_norms, lane.split),
            size,
            scoring.complexity_scores(complexities, len(lane.split.train)),
        )
        lane.measure_wall_s += time.perf_counter() - started
        measurement = Measurement(
            **columns(lane.trial_columns(), lane.wall_seconds(), lane.phase_columns()),
            **row,
            complexities=complexities,
            matrices=matrices if measured else (),
        )
        lane.history.append(measurement)
        ending = self._ending(lane, finite)
        if ending is None:
            self._start_penalty_at_decline(lane)
            return dataclasses.replace(measurement, network=network if measured else None)
        lane.running = False
        return dataclasses.replace(measurement, network=network, end=self._end(lane, ending, network))

    def _ending(self, lane: Lane, finite: bool) -> Ending | None:
        """Decide whether the trial ends: diverged, told so by the watch, or at its budget.

        At the last step a decision to stop comes too late, so the ending is that of the budget.
        """
        if not finite:
            return Ending(because="diverged", reason=f"loss or weights were not finite at step {lane.age}")
        ending = self._watch(TrialHistory(lane.trial, tuple(lane.history))) if self._watch else None
        if lane.age == lane.trial.steps and (ending is None or ending.because == "stopped"):
            return Ending(because="budget", reason=f"the budget of {lane.trial.steps} steps was used up")
        return ending

    def _end(self, lane: Lane, ending: Ending, network: Mapping[str, Tensor]) -> TrialEnd:
        has_started = lane.penalised_from is not None and lane.penalised_from < lane.age
        return TrialEnd(
            ending=ending,
            bzip2_bytes=bzip2_bytes(network),
            parameters=self._shape.layout.weights,
            training_examples=len(lane.split.train),
            validation_examples=len(lane.split.validation),
            spectral_started_at_step=lane.penalised_from if has_started else None,
        )

    def end_of_parked(self, lane: Lane, weights: Tensor, ending: Ending) -> Measurement:
        """Return a parked trial's last measurement once more, with its ending.

        Args:
            lane: the trial, which was parked at its last evaluated step.
            weights: its own, [P] on the host.
            ending: why it ends.
        """
        lane.running = False
        network = {name: weight.clone() for name, weight in self._shape.layout.parameters(weights).items()}
        end = dataclasses.replace(self._end(lane, ending, network), parked=True)
        seconds = dataclasses.asdict(lane.wall_seconds())
        return dataclasses.replace(lane.history[-1], network=network, end=end, **seconds)

    def _start_penalty_at_decline(self, lane: Lane) -> None:
        """Start a penalty that waits for the decline of complexity, at the next block boundary after it."""
        waits = lane.trial.spectral_start == AT_DECLINE and lane.penalised_from is None
        if waits and self._declined and self._declined(TrialHistory(lane.trial, tuple(lane.history))):
            lane.penalised_from = whole_blocks(lane.age)
