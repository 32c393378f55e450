"""A trained network with the examples it was trained on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trainables.architectures import Architecture, architecture_of
from trainables.config import Attention, ModelConfig, TaskConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.scoring import table_outcomes
from trainables.tasks import Task
from trainables.tasks.phases import phase_split, phase_task

NUMBERS = ("classes", "vocabulary", "replaced_labels")
"""Fields of a network that a file keeps as numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs and their labels."""

    inputs: Tensor
    """[n, T] int64 tokens, or [n, ...] float32 features."""
    targets: Tensor
    """[n] int64 classes."""
    group: Tensor | None = None
    """[n] bool, the members of the task's sensitive or rare group; None if it has none."""

    def __len__(self) -> int:
        return len(self.targets)

    def first(self, count: int) -> Examples:
        """Return the first `count` examples."""
        group = None if self.group is None else self.group[:count]
        return Examples(self.inputs[:count], self.targets[:count], group)


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A trained network and the examples it was trained on."""

    parameters: dict[str, Tensor]
    """name -> float32 weights on the CPU, without lane axis; `Architecture.forward` takes them with one."""
    train: Examples
    """The training examples, with the labels that were trained on."""
    validation: Examples
    model: ModelConfig
    task: TaskConfig | None
    """None if the examples belong to no known family."""
    classes: int
    vocabulary: int | None
    """Number of tokens; None if inputs are features."""
    prefix: str = ""
    """The common start of the names of `parameters` in the file."""
    replaced_labels: int = 0
    """The number of training examples with a label that is wrong on purpose."""
    trial: TrialConfig | None = None
    """The trial that it was trained in, from which its examples can be made again; None if it is not known."""
    step: int | None = None
    """The step of that trial at which it was kept; None for the end."""

    @cached_property
    def table(self) -> Task:
        """All examples, training before validation, as the table of a task."""
        return Task(
            name="examples of a file",
            inputs=torch.cat([self.train.inputs, self.validation.inputs]),
            targets=torch.cat([self.train.targets, self.validation.targets]),
            classes=self.classes,
            vocabulary=self.vocabulary,
        )

    @property
    def architecture(self) -> Architecture:
        """The network as functions of its parameters."""
        return architecture_of(self.table, self.model)

    def outcomes(self, parameters: Mapping[str, Tensor], examples: Examples) -> tuple[Tensor, Tensor]:
        """Return losses [n] in nats and correctness [n] (bool) of these parameters on n examples.

        The parameters are named as in `parameters`; the losses are differentiable in them.
        """
        lanes = {name: weight[None] for name, weight in parameters.items()}
        losses, answers, _ = table_outcomes(self.architecture, lanes, examples.inputs, examples.targets[None])
        return losses[0], answers[0] == examples.targets

    def specification(self) -> dict[str, str]:
        """Return all fields but the tensors, each as JSON; `trial` without its task, its model and defaults."""
        numbers = {name: json.dumps(getattr(self, name)) for name in NUMBERS}
        origin = {}
        if self.trial is not None and self.task is not None:
            usual, values = TrialConfig().as_dict(), self.trial.as_dict()
            differing = {name: value for name, value in values.items() if value != usual[name]}
            own = {name: value for name, value in differing.items() if name not in ("task", "model")}
            origin = {"trial": json.dumps(own), "step": json.dumps(self.step)}
        return {
            "model": json.dumps(dataclasses.asdict(self.model)),
            "task": json.dumps(None if self.task is None else dataclasses.asdict(self.task)),
            **numbers,
            **origin,
        }


def trained_network(trial: TrialConfig, parameters: dict[str, Tensor], step: int | None = None) -> LoadedNetwork:
    """Return the network of a trial with the examples it was trained on, noisy labels included.

    Args:
        trial: the trial that the network belongs to.
        parameters: name -> tensor, without lane axis.
        step: the step at which it was kept, which determines its training set under drift; None for the end.
    """
    # One step back: where the training set is exchanged, the weights come from the phase that ends there.
    phase = trial.phase_at((trial.steps if step is None else step) - 1)
    task = phase_task(trial, phase)
    parts = phase_split(trial, phase, task)
    train, validation = (
        Examples(task.inputs[part], parts.targets[part], None if task.group is None else task.group[part])
        for part in (parts.train, parts.validation)
    )
    return LoadedNetwork(
        parameters,
        train,
        validation,
        model=trial.model,
        task=trial.task,
        classes=task.classes,
        vocabulary=task.vocabulary,
        replaced_labels=int(parts.corrupted.sum()),
        trial=trial,
        step=step,
    )


def with_attention(network: LoadedNetwork, attention: Attention) -> LoadedNetwork:
    """Return the same weights in a transformer with this kind of attention."""
    return dataclasses.replace(network, model=dataclasses.replace(network.model, attention=attention))


def checked(network: LoadedNetwork) -> LoadedNetwork:
    """Return the network after checking that it can be run on its sequences.

    Raises:
        ConfigError: sequences do not consist of this network's tokens and classes, or parameters have other shapes.
    """
    if not len(network.train):
        raise ConfigError("a network file must hold training examples, got none; its complexity is bounded by them")
    shapes = {name: tuple(weight.shape) for name, weight in network.parameters.items()}
    for name, expected in network.architecture.shapes.items():
        # Positions beyond the longest sequence are never looked up.
        shape = shapes.get(name, ())
        reached = (min(shape[0], expected[0]), *shape[1:]) if name.startswith("positional") and shape else shape
        if reached != expected:
            raise ConfigError(f"{name} must have shape {expected} in this network, got {shape or 'no such tensor'}")
    return network
