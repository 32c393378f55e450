"""What compression does to the answers of a network, beyond the loss that the bound is about.

A bound on the mean loss does not bound what happens to a few examples: compressed networks with nearly the same
accuracy lose it on some classes and on rare groups (Hooker et al., 'What Do Compressed Deep Neural Networks
Forget?', arXiv 1911.05248; 'Characterising Bias in Compressed Models', arXiv 2010.03058). So the original and the
decoded network are compared example by example, on the validation examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.complexity.objective import CHUNK_EXAMPLES
from trainables.errors import MeasurementError
from trainables.networks.network import Examples, LoadedNetwork
from trainables.numerics.computing import settled_torch

BINS = 15
"""Bins of the calibration error, as in the experiments of Guo et al. 2017."""


class Pair(NamedTuple):
    """A number of the original and of the decoded network."""

    original: float
    decoded: float

    @property
    def fall(self) -> float:
        """How much lower it is for the decoded network; below 0 where it is higher."""
        return self.original - self.decoded


@dataclass(frozen=True, slots=True)
class Part:
    """Accuracy on some of the examples: those of a class, the members of the task's group, or the others."""

    name: str
    examples: int
    accuracy: Pair

    @property
    def lost(self) -> int:
        """How many fewer of its examples the decoded network answers rightly."""
        return round(self.accuracy.fall * self.examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """A network's answers to the validation examples, original and decoded."""

    examples: int
    accuracy: Pair
    parts: tuple[Part, ...]
    """Each class that occurs, and the group with the others where the task has one."""
    changed: float
    """Share of the examples with another answer, right or wrong."""
    calibration_error: Pair
    """See `calibration_error`."""

    @property
    def worst(self) -> tuple[Part, Part]:
        """The part with the lowest accuracy: of the original network, and of the decoded one."""
        original = min(self.parts, key=lambda part: part.accuracy.original)
        return original, min(self.parts, key=lambda part: part.accuracy.decoded)

    @property
    def largest_fall(self) -> Part:
        """The part whose accuracy falls most."""
        return max(self.parts, key=lambda part: part.accuracy.fall)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        worst_original, worst = self.worst
        return {
            "examples": self.examples,
            "accuracy": self.accuracy._asdict(),
            "worst_accuracy": Pair(worst_original.accuracy.original, worst.accuracy.decoded)._asdict(),
            "worst_part": worst.name,
            "largest_fall": self.largest_fall.accuracy.fall,
            "largest_fall_part": self.largest_fall.name,
            "changed": self.changed,
            "calibration_error": self.calibration_error._asdict(),
            "parts": [
                {"name": part.name, "examples": part.examples, **part.accuracy._asdict()} for part in self.parts
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a network's behaviour may change; beyond one of them it should be compressed less."""

    accuracy_fall: float = 0.01
    """Fall of the accuracy on all validation examples."""
    part_fall: float = 0.05
    """Fall of the accuracy on a class, on the group or on the others. A single lost example is always allowed: a
    class may have so few that one of them is more than this share."""
    changed: float = 0.02
    """Share of changed answers."""
    calibration_rise: float = 0.05
    """Rise of the calibration error."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not 0 <= value <= 1:
                raise MeasurementError(f"{entry.name} must be a share from 0 to 1, got {value}")

    def exceeded(self, behaviour: Behaviour) -> list[str]:
        """Return a few words for each limit that a network's behaviour exceeds, with the numbers."""
        words = []
        if behaviour.accuracy.fall > self.accuracy_fall:
            words.append(f"{_from_to('accuracy falls', behaviour.accuracy)}, by more than {self.accuracy_fall:g}")
        fallen = [part for part in behaviour.parts if part.accuracy.fall > self.part_fall and part.lost > 1]
        if fallen:
            most = max(fallen, key=lambda part: part.accuracy.fall)
            others = f", and in {len(fallen) - 1} more classes or groups" if len(fallen) > 1 else ""
            falls = _from_to(f"accuracy on {most.name} falls", most.accuracy)
            words.append(
                f"{falls} ({most.lost} of {most.examples} examples){others}, by more than {self.part_fall:g}"
            )
        if behaviour.changed > self.changed:
            words.append(f"{behaviour.changed:.4f} of the answers change, more than {self.changed:g}")
        if -behaviour.calibration_error.fall > self.calibration_rise:
            rises = _from_to("calibration error rises", behaviour.calibration_error)
            words.append(f"{rises}, by more than {self.calibration_rise:g}")
        return words


def behaviour(network: LoadedNetwork, decoded: Mapping[str, Tensor]) -> Behaviour:
    """Compare a network with its decoded form on its validation examples.

    Args:
        network: the original.
        decoded: parameters named as in `network.parameters`.

    Raises:
        MeasurementError: there are no validation examples.
    """
    examples = network.validation
    if not len(examples):
        raise MeasurementError(
            "behaviour is compared on validation examples, and this network has none; name a network with examples"
        )
    answers, confidences = zip(*(_answers(network, each) for each in (network.parameters, decoded)), strict=True)
    right = [answer == examples.targets for answer in answers]
    return Behaviour(
        examples=len(examples),
        accuracy=_accuracy(right, torch.ones_like(right[0])),
        parts=tuple(
            Part(name, int(members.sum()), _accuracy(right, members)) for name, members in _parts(examples)
        ),
        changed=_share(answers[0] != answers[1]),
        calibration_error=Pair(
            *(calibration_error(sure, correct) for sure, correct in zip(confidences, right, strict=True))
        ),
    )


def calibration_error(confidences: Tensor, right: Tensor, bins: int = BINS) -> float:
    """Compute the expected calibration error (ECE): how far confidence is from accuracy.

    The confidence of an answer is its softmax probability. With B_m the examples whose confidence lies in
    ((m - 1) / M, m / M], it is the sum over m of |B_m| / n x |accuracy(B_m) - mean confidence(B_m)|: equation 3 of
    Guo et al. 2017 (arXiv 1706.04599), after Naeini et al. 2015. With few examples it is above 0 even for a network
    that is calibrated, for the original as for the decoded one.

    Args:
        confidences: [n] probabilities of the given answers, in (0, 1], n > 0.
        right: [n] bool, whether they are right.
        bins: M.
    """
    bin_of = (confidences.double() * bins).ceil().clamp(1, bins).long() - 1
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, right.double() - confidences.double())
    return float(gaps.abs().sum()) / len(confidences)


def _parts(examples: Examples) -> list[tuple[str, Tensor]]:
    """Name the parts of the examples, with their members, [n] bool."""
    classes: list[int] = torch.unique(examples.targets).tolist()
    parts = [(f"class {one}", examples.targets == one) for one in classes]
    if examples.group is not None:
        parts += [("the group", examples.group), ("the rest beside the group", ~examples.group)]
    return [(name, members) for name, members in parts if bool(members.any())]


@settled_torch()
def _answers(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the answers [n] to the validation examples, and their softmax probabilities [n] (float64)."""
    architecture, inputs = network.architecture, network.validation.inputs
    lanes = {name: weight[None] for name, weight in parameters.items()}
    answers, confidences = [], []
    with torch.no_grad():
        for first in range(0, len(inputs), CHUNK_EXAMPLES):
            logits = architecture.forward(lanes, inputs[first : first + CHUNK_EXAMPLES])[0]
            # The answer is the first largest logit, as in the scores of a trial; probabilities might tie.
            answers.append(logits.argmax(-1))
            probabilities = logits.double().softmax(-1)
            confidences.append(probabilities.gather(-1, answers[-1][:, None])[:, 0])
    return torch.cat(answers), torch.cat(confidences)


def _accuracy(right: list[Tensor], members: Tensor) -> Pair:
    return Pair(*(_share(each[members]) for each in right))


def _share(true: Tensor) -> float:
    return int(true.sum()) / len(true)


def _from_to(what: str, pair: Pair) -> str:
    return f"{what} from {pair.original:.4f} to {pair.decoded:.4f}"
