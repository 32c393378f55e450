"""The settings of a trial as axes of a specification: one model for the specification and for each of its cases.

The defaults are those of `trainables.TrialConfig`.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

from sweep.errors import Path
from sweep.specification.axes import Axis, Number, Text, Whole
from sweep.specification.problems import nearest
from trainables.config import AT_DECLINE, ModelConfig, TaskConfig, TrialConfig
from trainables.config.drift import Drift
from trainables.errors import ConfigError, shown


def default_of(config: type[Any], name: str) -> Any:
    """Return the default of a field of a dataclass."""
    return next(field.default for field in dataclasses.fields(config) if field.name == name)


def _step_or_decline(value: Any) -> Any:
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if value == AT_DECLINE or (isinstance(whole, int) and not isinstance(whole, bool)):
        return whole
    hint = nearest(value, [AT_DECLINE]) if isinstance(value, str) else ""
    raise ValueError(f"must be a step (a whole number) or {AT_DECLINE}, got {shown(value)}{hint}")


def _exchanges(value: Any) -> Drift:
    try:
        return value if isinstance(value, Drift) else Drift.of(value)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("drift").lstrip()) from None


Exchanges = Annotated[
    Drift,
    PlainValidator(_exchanges),
    PlainSerializer(Drift.as_dict),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]+$"},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "split": {"type": "integer", "minimum": 0},
                    "family": {"type": "string"},
                    "shift": {"type": "number"},
                },
            },
        }
    ),
]
"""Step -> differences of the training set from that step on."""


class Part(BaseModel):
    """A mapping of a specification: no unknown keys, no infinite numbers, and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class TaskAxes(Part):
    """The data set; see `trainables.config.TaskConfig`."""

    family: Axis[Text] = default_of(TaskConfig, "family")
    """Name of a task family from `trainables.FAMILIES`, or of one that an imported module registers."""
    modulus: Axis[Whole] = default_of(TaskConfig, "modulus")
    """Modulus of the arithmetic."""
    degree: Axis[Whole] = default_of(TaskConfig, "degree")
    """Number of things whose permutations are composed."""
    bits: Axis[Whole] = default_of(TaskConfig, "bits")
    """Bits of an example of sparse_parity."""
    relevant_bits: Axis[Whole] = default_of(TaskConfig, "relevant_bits")
    """Number of bits that make the parity."""
    examples: Axis[Whole | None] = default_of(TaskConfig, "examples")
    """Largest number of examples, for families whose table is a draw; empty: the family's own default."""
    data: Axis[Text | None] = default_of(TaskConfig, "data")
    """For the family mnist: a folder with its idx files, or an .npz file; an id contains a hash of them."""


class ModelAxes(Part):
    """The network; see `trainables.config.ModelConfig`."""

    kind: Axis[Text] = default_of(ModelConfig, "kind")
    """transformer, mlp, or the name of a network that an imported module registers."""
    width: Axis[Whole] = default_of(ModelConfig, "width")
    """Width of embeddings and residual stream."""
    layers: Axis[Whole | None] = default_of(ModelConfig, "layers")
    """Number of layers; empty: 1 for a transformer, 3 for an MLP."""
    heads: Axis[Whole] = default_of(ModelConfig, "heads")
    """Attention heads; must divide the width."""
    hidden_width: Axis[Whole | None] = default_of(ModelConfig, "hidden_width")
    """Width of hidden layers; empty: 4 x width."""
    attention: Axis[Literal["softmax", "sum"]] = default_of(ModelConfig, "attention")
    """`sum` is the attention of the paper's public code."""
    initial_scale: Axis[Number] = default_of(ModelConfig, "initial_scale")
    """Factor on the initial weights."""


class TrialAxes(Part):
    """Every setting of a trial but its seed."""

    task: TaskAxes = TaskAxes()
    model: ModelAxes = ModelAxes()
    data_fraction: Axis[Number] = default_of(TrialConfig, "data_fraction")
    """Share of all examples that is trained on."""
    label_noise: Axis[Number] = default_of(TrialConfig, "label_noise")
    """Share of the training labels replaced by a random other class."""
    weight_decay: Axis[Number] = default_of(TrialConfig, "weight_decay")
    """Decoupled weight decay of AdamW."""
    spectral_entropy_weight: Axis[Number] = default_of(TrialConfig, "spectral_entropy_weight")
    """Weight of the spectral penalty."""
    spectral_floor: Axis[Number] = default_of(TrialConfig, "spectral_floor")
    """Floor on singular values in the penalty's gradient, as a share of the largest."""
    spectral_every: Axis[Whole] = default_of(TrialConfig, "spectral_every")
    """Apply the penalty every N steps, scaled by N; N is a divisor of 32."""
    spectral_start: Axis[Annotated[Literal["at_decline"] | int, BeforeValidator(_step_or_decline)]] = default_of(
        TrialConfig, "spectral_start"
    )
    """Steps before the penalty acts, rounded up to blocks of 32; at_decline: until complexity has declined."""
    weight_noise: Axis[Number] = default_of(TrialConfig, "weight_noise")
    """Standard deviation of the Gaussian noise under which the gradient is taken."""
    learning_rate: Axis[Number] = default_of(TrialConfig, "learning_rate")
    adam_beta1: Axis[Number] = default_of(TrialConfig, "adam_beta1")
    adam_beta2: Axis[Number] = default_of(TrialConfig, "adam_beta2")
    adam_epsilon: Axis[Number] = default_of(TrialConfig, "adam_epsilon")
    batch_size: Axis[Whole | None] = default_of(TrialConfig, "batch_size")
    """Examples per step; empty: min(512, half the training set); 0: the full batch."""
    drift: Axis[Exchanges] = default_of(TrialConfig, "drift")
    """Exchanges of the training set: step -> differences from the initial one, in split (the k-th other one),
    family (with the same table shape) and shift (of the inputs). Steps are rounded up to blocks of 32."""
    steps: Axis[Whole] = default_of(TrialConfig, "steps")
    """Budget of a trial in optimiser updates."""

    def said(self) -> list[Path]:
        """Return the paths of the settings that are written here, whatever defaults the others have."""
        names = [name for name in TrialAxes.model_fields if name in self.model_fields_set]
        paths: list[Path] = []
        for name in names:
            value = getattr(self, name)
            inner = value.model_fields_set if isinstance(value, Part) else None
            paths += (
                [(name,)] if inner is None else [(name, key) for key in type(value).model_fields if key in inner]
            )
        return paths


class Case(TrialAxes):
    """Settings that belong together, merged with the rest of the specification; lists are axes here, too."""

    @model_serializer(mode="wrap")
    def _as_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Dump without defaults: a case is only what it says."""
        return only(handler(self), self.said())


def only(values: dict[str, Any], paths: list[Path]) -> dict[str, Any]:
    """Pick the values at these paths, which are one or two names long, from nested values."""
    kept: dict[str, Any] = {}
    for name, *inner in paths:
        if inner:
            kept.setdefault(str(name), {})[str(inner[0])] = values[str(name)][str(inner[0])]
        else:
            kept[str(name)] = values[str(name)]
    return kept
