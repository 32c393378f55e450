"""The configuration of one trial: everything that determines its weights, and its budget.

A trial's id is a hash of what determines the weights and of nothing else. So the same setting is the same trial in
another sweep, with a longer budget or under another stopping rule.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import Any, Final, Literal

from trainables.config import registry
from trainables.config.drift import Drift
from trainables.config.families import BUILT_IN_KINDS, FROM_FILES
from trainables.config.task_source import absolute_path, task_source
from trainables.errors import ConfigError, shown
from trainables.schedule import BLOCK_STEPS, LARGEST_STEPS, is_finite, whole_blocks

Attention = Literal["softmax", "sum"]
SpectralStart = int | Literal["at_decline"]

TRIAL_ID_CHARACTERS = 16

LARGEST_WIDTH = 2**16
"""Largest width of a network, and a quarter of the largest hidden width: a square matrix of it takes 16 GiB."""

LARGEST_LAYERS = 1_000
"""Largest number of layers; the shapes of all layers are listed before anything is known to fit."""

#: The value of `TrialConfig.spectral_start` that starts the spectral penalty once complexity has declined.
AT_DECLINE: Final = "at_decline"

#: Fields of `TrialConfig` that do not change the weights at any step that two runs share. The path of data is not
#: part of the id, but their content is, as `task.source`.
NOT_IN_THE_ID = frozenset({"steps", "task.data"})


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskConfig:
    """The data set: a family of tasks and the family's own parameters."""

    family: str = "addition"
    """Name of a task family, see `trainables.tasks.FAMILIES`."""
    modulus: int = 113
    """Modulus p of the arithmetic; any integer >= 2 (division then uses invertible divisors only)."""
    degree: int = 5
    """The number of things whose permutations are composed: n of the symmetric group S_n."""
    bits: int = 40
    """Bits of an example of `sparse_parity`."""
    relevant_bits: int = 3
    """The number of these bits that make the parity, in `sparse_parity`."""
    examples: int | None = None
    """The largest number of examples, drawn evenly by a fixed seed; None: the family's own default. Only for
    families whose table is a draw."""
    data: str | None = None
    """Path of user-supplied files with the examples, for `mnist` only; see `trainables.config.digit_files`."""
    source: str | None = None
    """Hash of a registered family's source, or of the content of a family's files; filled in by `with_source` where
    the family or the files are known."""

    def __post_init__(self) -> None:
        self._check_data()
        if self.modulus < 2:
            raise ConfigError(f"task.modulus must be at least 2, got {shown(self.modulus)}")
        if self.degree < 2:
            raise ConfigError(f"task.degree must be at least 2, got {shown(self.degree)}")
        if self.bits < 1:
            raise ConfigError(f"task.bits must be at least 1, got {shown(self.bits)}")
        if not 1 <= self.relevant_bits <= self.bits:
            raise ConfigError(
                f"task.relevant_bits must lie from 1 to task.bits, {shown(self.bits)}, got "
                f"{shown(self.relevant_bits)}"
            )
        if self.examples is not None and self.examples < 2:
            raise ConfigError(
                f"task.examples must be at least 2, one to train on and one to validate, got {shown(self.examples)}"
            )

    def with_source(self) -> TaskConfig:
        """Return the same task with `source` filled in; making a trial and building the task both call this.

        A source that is there already is kept: building the task compares it with what is here.

        Raises:
            ConfigError: files that cannot be read.
        """
        source = task_source(self.family, self.data) if self.source is None else None
        return self if source is None else dataclasses.replace(self, source=source)

    def _check_data(self) -> None:
        wanted = self.family in FROM_FILES
        if wanted and self.data is None:
            raise ConfigError(
                f"task.data must be a folder with MNIST's idx files, or an .npz file, where task.family is "
                f"{self.family}; set task.data=PATH, see docs/tasks.md"
            )
        if not wanted and self.data is not None:
            raise ConfigError(
                f"task.data must be left out where task.family is {self.family}, got {shown(self.data)}"
            )
        if self.data is not None and self.source is None:
            object.__setattr__(self, "data", absolute_path(self.data))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network; the defaults are the paper's (arXiv 2412.09810, section 4)."""

    kind: str = "transformer"
    """`transformer`, `mlp`, or the name of a registered network, which interprets widths, layers and heads in its
    own way."""
    width: int = 128
    """Width of the embeddings and of the residual stream."""
    layers: int | None = None
    """Number of layers; by default 1 for a transformer and 3 for an MLP."""
    heads: int = 4
    """Attention heads of a transformer; must divide the width."""
    hidden_width: int | None = None
    """Width of the hidden layers of the MLP (of the feed-forward part); by default 4 x width."""
    attention: Attention = "softmax"
    """`sum` is the attention of the paper's public code, whose output is the plain sum of the values."""
    initial_scale: float = 1.0
    """The factor on initial weights with two or more axes; large weights delay generalisation (Omnigrok, arXiv
    2210.01117)."""
    source: str | None = None
    """Hash of a registered network's source; filled in by `with_source`."""

    def __post_init__(self) -> None:
        _check_range("model.width", self.width, LARGEST_WIDTH)
        if self.layers is None:
            object.__setattr__(self, "layers", 3 if self.kind == "mlp" else 1)
        if self.hidden_width is None:
            object.__setattr__(self, "hidden_width", 4 * self.width)
        _check_range("model.layers", self.depth, LARGEST_LAYERS)
        _check_range("model.hidden_width", self.hidden, 4 * LARGEST_WIDTH)
        if self.attention not in ("softmax", "sum"):
            raise ConfigError(f"model.attention must be softmax or sum, got {shown(self.attention)}")
        if not (is_finite(self.initial_scale) and self.initial_scale > 0):
            raise ConfigError(f"model.initial_scale must be finite and above 0, got {shown(self.initial_scale)}")
        if self.kind == "transformer" and not (self.heads >= 1 and self.width % self.heads == 0):
            raise ConfigError(
                f"model.heads must divide model.width, got {shown(self.heads)} heads for width {self.width}; "
                f"use a divisor of {self.width}"
            )

    def with_source(self) -> ModelConfig:
        """Return the same model with `source` filled in; making a trial and building the network both call this.

        A source that is there already is kept: building the network compares it with what is registered.

        Raises:
            ConfigError: the kind is neither built in nor registered; the message names the nearest ones.
        """
        if self.source is not None or self.kind in BUILT_IN_KINDS:
            return self
        return dataclasses.replace(self, source=registry.MODELS.matching(self.kind, None).source)

    @property
    def depth(self) -> int:
        """Number of layers, with the default filled in."""
        return self.layers if self.layers is not None else 0

    @property
    def hidden(self) -> int:
        """Hidden width, with the default filled in."""
        return self.hidden_width if self.hidden_width is not None else 0


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One trial: one setting and one seed. Every field but `steps` is in the trial's id."""

    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data_fraction: float = 0.3
    """Share of all examples that is trained on, strictly between 0 and 1; the rest is validation."""
    label_noise: float = 0.0
    """Share of the training examples whose label is replaced by a random other class."""
    weight_decay: float = 1.0
    """Decoupled weight decay of AdamW, on every parameter."""
    spectral_entropy_weight: float = 0.0
    """lambda of the spectral penalty: lambda x mean over all matrices of H(W), in nats."""
    spectral_floor: float = 1e-2
    """tau: singular values enter the penalty's gradient as sqrt(s^2 + (tau s_max)^2); 0 is the paper's form."""
    spectral_every: int = 1
    """Apply the penalty every N steps, scaled by N; N is a divisor of `BLOCK_STEPS`."""
    spectral_start: SpectralStart = 0
    """Steps before the penalty begins to act, rounded up to whole blocks. `at_decline`: until the first block
    boundary at which complexity is known to have declined; this also depends on how the trial is measured."""
    weight_noise: float = 0.0
    """Standard deviation of the Gaussian noise under which the gradient is taken, fresh each step."""
    learning_rate: float = 1e-3
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    adam_epsilon: float = 1e-8
    batch_size: int | None = None
    """Examples per step; by default min(512, n // 2) of the n training examples, 0 for the full batch."""
    drift: Drift = Drift()  # noqa: RUF009 (frozen)
    """Exchanges of the training set, e.g. `Drift.of({4000: {"split": 1}})`; none by default."""
    seed: int = 0
    steps: int = 20_000
    """Budget in optimiser updates. Not part of the id."""

    def __post_init__(self) -> None:
        if not 0 < self.data_fraction < 1:
            raise ConfigError(
                f"data_fraction must lie strictly between 0 and 1, got {shown(self.data_fraction)}; "
                "the rest is validation"
            )
        if not 0 <= self.label_noise < 1:
            raise ConfigError(f"label_noise must lie in [0, 1), got {shown(self.label_noise)}")
        for name in ("weight_decay", "spectral_entropy_weight", "spectral_floor", "weight_noise"):
            if not (is_finite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} must be finite and at least 0, got {shown(getattr(self, name))}")
        if not (self.spectral_every >= 1 and BLOCK_STEPS % self.spectral_every == 0):
            raise ConfigError(
                f"spectral_every must divide {BLOCK_STEPS}, the steps of a block, got "
                f"{shown(self.spectral_every)}; use 1, 2, 4, 8, 16 or 32"
            )
        self._check_spectral_start()
        for name in ("learning_rate", "adam_epsilon"):
            if not (is_finite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} must be finite and above 0, got {shown(getattr(self, name))}")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), got {shown(getattr(self, name))}")
        if self.batch_size is not None and self.batch_size < 0:
            raise ConfigError(f"batch_size must be >= 0, got {shown(self.batch_size)}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be a non-negative 63-bit integer, got {shown(self.seed)}")
        _check_range("steps", self.steps, LARGEST_STEPS)
        if (self.penalised_from or 0) >= self.steps:
            raise ConfigError(
                f"spectral_start must come before the end of the budget, rounded up to blocks of {BLOCK_STEPS} "
                f"steps, got {shown(self.spectral_start)} for {self.steps} steps; start earlier or allow more steps"
            )
        # The one place where sources are looked up: the id is a hash of them, whatever is registered later.
        object.__setattr__(self, "task", self.task.with_source())
        object.__setattr__(self, "model", self.model.with_source())
        object.__setattr__(self, "drift", self.drift.without_own(self.task.family).with_sources())
        self.drift.check(self.steps)

    def _check_spectral_start(self) -> None:
        start = self.spectral_start
        whole = isinstance(start, int) and not isinstance(start, bool)
        if not (start == AT_DECLINE or (whole and int(start) >= 0)):
            raise ConfigError(
                f"spectral_start must be a step, a whole number of at least 0, or {AT_DECLINE}, got {shown(start)}"
            )
        if start != 0 and self.spectral_entropy_weight == 0:
            raise ConfigError(
                f"spectral_start must be 0 where spectral_entropy_weight is 0, got {shown(start)}: there is no "
                "penalty to start; give a weight above 0 or leave spectral_start out"
            )

    @property
    def penalised_from(self) -> int | None:
        """Steps done when the spectral penalty begins to act, a multiple of `BLOCK_STEPS`.

        None without a penalty, or if it starts at the decline, whose step is not known beforehand.
        """
        if self.spectral_entropy_weight == 0 or not isinstance(self.spectral_start, int):
            return None
        return whole_blocks(self.spectral_start)

    @property
    def phases(self) -> tuple[tuple[int, int], ...]:
        """Steps done when each phase of the training set begins and ends; each ends where the next one begins."""
        starts = self.drift.starts()
        return tuple(zip(starts, (*starts[1:], self.steps), strict=True))

    def phase_at(self, age: int) -> int:
        """Return the phase whose training set the next step uses, once `age` steps are done."""
        return sum(step <= age for step, _ in self.drift.exchanges)

    @cached_property
    def trial_id(self) -> str:
        """Hash of what determines the weights, 16 hexadecimal characters; computed once for each trial.

        Numbers are canonical (1 = 1.0 = 1e0) and fields at their default are left out, so a field added
        later with the old behaviour as its default keeps every old id.
        """
        return hashlib.sha256(_ENCODER.encode(identity(self)).encode()).hexdigest()[:TRIAL_ID_CHARACTERS]

    @cached_property
    def cell_id(self) -> str:
        """Hash of the settings without the seed: equal for trials that are seeds of one setting."""
        settings = {name: text for name, text in identity(self).items() if name != "seed"}
        return hashlib.sha256(_ENCODER.encode(settings).encode()).hexdigest()[:TRIAL_ID_CHARACTERS]

    def as_dict(self) -> dict[str, Any]:
        """Return a nested dictionary of plain values, the inverse of `trial_from_dict`."""
        return {**dataclasses.asdict(self), "drift": self.drift.as_dict()}


def trial_from_dict(values: dict[str, Any]) -> TrialConfig:
    """Build a trial from the result of `TrialConfig.as_dict`."""
    return TrialConfig(
        **{
            **values,
            "task": TaskConfig(**values.get("task", {})),
            "model": ModelConfig(**values.get("model", {})),
            "drift": Drift.of(values.get("drift", {})),
        }
    )


def _check_range(name: str, value: int, largest: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, got {shown(value)}")
    if value > largest:
        raise ConfigError(f"{name} must be at most {largest:,}, got {shown(value)}")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def identity(trial: TrialConfig) -> dict[str, str]:
    """Return what the id is a hash of: dotted field name -> canonical text, without defaults."""
    texts = {**_task_identity(trial.task), **_model_identity(trial.model)}
    for name, (default, usual) in _defaults().items():
        value = getattr(trial, name)
        # An equal value has an equal text, in all fields but the two parts, which are above.
        if value != default and (text := _canonical(value.as_dict() if name == "drift" else value)) != usual:
            texts[name] = text
    return texts


@lru_cache(maxsize=1024)
def _task_identity(task: TaskConfig) -> dict[str, str]:
    return _differences("task", task, TaskConfig())


@lru_cache(maxsize=1024)
def _model_identity(model: ModelConfig) -> dict[str, str]:
    # Defaults that follow from the kind and the width are those of this kind and width. The source of a registered
    # name is always written, because it never equals that of a built-in kind.
    usual = ModelConfig(kind=model.kind, width=model.width, heads=model.heads, source="")
    first = ModelConfig()
    return _differences(
        "model",
        model,
        dataclasses.replace(usual, kind=first.kind, width=first.width, heads=first.heads, source=None),
    )


def _differences(prefix: str, part: TaskConfig | ModelConfig, usual: TaskConfig | ModelConfig) -> dict[str, str]:
    """Return dotted name -> canonical text of the fields whose text differs from the usual one."""
    names = [f"{prefix}.{entry.name}" for entry in dataclasses.fields(part)]
    pairs = ((getattr(part, name.partition(".")[2]), getattr(usual, name.partition(".")[2])) for name in names)
    return {
        name: _canonical(value)
        for name, (value, default) in zip(names, pairs, strict=True)
        if name not in NOT_IN_THE_ID and _canonical(value) != _canonical(default)
    }


@cache
def _defaults() -> dict[str, tuple[Any, str]]:
    """Return the default of each field in the id beside task and model, and its canonical text."""
    names = [entry.name for entry in dataclasses.fields(TrialConfig) if entry.name not in ("task", "model")]
    usual = TrialConfig()
    values = {name: getattr(usual, name) for name in names if name not in NOT_IN_THE_ID}
    return {
        name: (value, _canonical(value.as_dict() if name == "drift" else value)) for name, value in values.items()
    }


def _canonical(value: Any) -> str:
    """Write a value canonically: 1, 1.0 and 1e0 are one number; texts and None are kept; mappings by parts."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_canonical(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value)
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
