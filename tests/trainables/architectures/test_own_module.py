"""Any module in lanes: the same networks as a plain loop trains, whatever their company."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

from tests.trainables import lab
from tests.trainables.comparing import rows_of
from trainables import ConfigError, LaneRun, ModelConfig, Task, TaskConfig, TrialConfig, build_task, split, train
from trainables.architectures import architecture_of
from trainables.architectures.own_module import OwnModule
from trainables.lanes import run_bytes
from trainables.random import generator, stream_seed

STRIPES = TaskConfig(family="stripes")
TASK = build_task(STRIPES)


def trial(**changes: object) -> TrialConfig:
    values = {
        "task": STRIPES, "model": ModelConfig(kind="tiny-conv", width=4), "data_fraction": 0.5, "batch_size": 7,
        "steps": 40, "learning_rate": 1e-2,
    }  # fmt: skip
    return TrialConfig(**(values | changes))  # type: ignore[arg-type]


def test_weights_are_those_of_a_plain_loop() -> None:
    (last,) = [m for m in train([trial(weight_decay=0.5)]) if m.end is not None]
    torch.manual_seed(stream_seed(0, "initialisation"))
    module = lab.tiny_conv(TASK, ModelConfig(kind="tiny-conv", width=4))
    with torch.no_grad():
        module(TASK.inputs[:4])
    parts = split(TASK, 0.5, 0.0, 0)
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.5)
    per_epoch = len(parts.train) // 7
    for step in range(40):
        order = torch.randperm(len(parts.train), generator=generator(0, "batches", step // per_epoch))
        batch = parts.train[order][step % per_epoch * 7 :][:7]
        optimiser.zero_grad()
        functional.cross_entropy(module(TASK.inputs[batch]), TASK.targets[batch]).backward()
        optimiser.step()
    assert last.network is not None
    for name, weight in module.named_parameters():
        torch.testing.assert_close(last.network[name], weight.detach(), rtol=1e-3, atol=1e-4)
    assert last.train_accuracy == float(
        (module(TASK.inputs).argmax(1) == TASK.targets)[parts.train].double().mean()
    )


@pytest.mark.parametrize(
    "kind",
    [("stripes", "tiny-conv"), ("addition", "embedded"), ("stripes", "attentive"), ("stripes", "mlp")],
    ids=lambda kind: kind[1],
)
def test_company_and_interruption_change_no_bit(kind: tuple[str, str]) -> None:
    family, model = kind
    settings = {
        "task": TaskConfig(family=family, modulus=7), "model": ModelConfig(kind=model, width=4),
        "spectral_entropy_weight": 0.1, "weight_noise": 1e-2,
    }  # fmt: skip
    trials = [trial(seed=seed, weight_decay=float(seed), **settings) for seed in range(4)]
    together = list(train(trials, lanes=4))
    alone = list(train(trials[2:3]))
    assert rows_of(trials[2].trial_id, together) == rows_of(trials[2].trial_id, alone)
    run = LaneRun(trials, lanes=3)
    first = run.advance(1)
    resumed = LaneRun.restore(run.save(), trials)
    rest = list(itertools.chain.from_iterable(iter(lambda: resumed.advance(1), [])))
    assert rows_of(trials[2].trial_id, first + rest) == rows_of(trials[2].trial_id, together)


def test_it_is_watched_and_measured_like_any_network() -> None:
    *_, last = train([trial(steps=300, spectral_entropy_weight=0.1)])
    assert last.train_accuracy == 1.0
    assert last.complexity_bytes is not None
    assert last.complexity_bytes < sum(4 * weight.numel() for weight in (last.network or {}).values())
    assert [m.matrix for m in last.matrices] == ["0.weight", "4.weight"]
    assert (last.matrices[0].rows, last.matrices[0].columns) == (4, 4)  # of the kernel [4, 1, 2, 2]


def test_the_penalty_lowers_the_entropy_of_kernels() -> None:
    plain, penalised = (
        list(train([trial(steps=200, spectral_entropy_weight=weight)]))[-1] for weight in (0.0, 1.0)
    )
    for before, after in zip(plain.matrices, penalised.matrices, strict=True):
        assert after.spectral_entropy < before.spectral_entropy - 0.05


def test_what_a_pass_costs_is_counted() -> None:
    architecture = architecture_of(TASK, ModelConfig(kind="tiny-conv", width=4))
    assert architecture.products() == 4 * 4 * 9 + 36 * 3
    # What is saved for each example: the image, what ReLU gave (twice: for it and for the last layer).
    assert 16 + 36 <= architecture.kept_floats() <= 16 + 6 * 36
    assert run_bytes(trial(), 8) > run_bytes(trial(), 2)


def test_the_initial_scale_is_of_everything_but_biases() -> None:
    one, large = (
        next(iter(train([trial(model=ModelConfig(kind="tiny-conv", width=4, initial_scale=s), steps=1)])))
        for s in (1.0, 3.0)
    )
    for name, weight in (one.network or {}).items():
        assert torch.equal((large.network or {})[name], 3 * weight if weight.ndim > 1 else weight)


class Statistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


class Counts(Statistics):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x)


class Draws(Statistics):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.randn(3)


class LooksAround(Statistics):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - x.mean(0))


class Branches(Statistics):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if float(self.layer.weight.sum()) > 1e9 else 2 * x)


class WritesInPlace(Statistics):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(len(x), 3)
        out += super().forward(x)
        return out


class KeepsATensor(Statistics):
    def __init__(self) -> None:
        super().__init__()
        self.mask = torch.rand(16).round()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1) * self.mask)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(16, 8).requires_grad_(False)
        self.layer = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.relu(self.features(x.flatten(1))))


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), *layers)


def infinite() -> nn.Module:
    module = flat(nn.Linear(16, 3))
    with torch.no_grad():
        module[1].weight.fill_(3e38)  # type: ignore[index,union-attr]
    return module


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: "a text", "must give a torch.nn.Module, got str"),
        (lambda: 1 / 0, "must be built without an error, got ZeroDivisionError: division by zero"),
        (lambda: nn.Flatten(), "must have parameters to train"),
        (lambda: flat(nn.Linear(16, 3).double()), r"must have float32 parameters, got torch.float64 in '1.weight'"),
        (
            lambda: flat(nn.Linear(15, 3)),
            r"must take inputs \[4, 1, 4, 4\] of features, the task's, got RuntimeError",
        ),
        (lambda: flat(nn.Linear(16, 4)), r"must map inputs \[4, 1, 4, 4\] to logits \[4, 3\].*got \[4, 4\]"),
        (lambda: nn.LSTM(4, 3), "must take inputs|must give a tensor of logits"),
        (infinite, "must have a finite loss on the task's inputs before training"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 3)),
            "must not keep statistics of batches, got BatchNorm2d in '1'.*use GroupNorm or LayerNorm",
        ),
        (
            lambda: nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True), nn.Flatten(), nn.Linear(16, 3)),
            "must not keep statistics of batches, got InstanceNorm2d in '0'",
        ),
        (lambda: flat(nn.Dropout(0.1), nn.Linear(16, 3)), "must not draw random numbers.*got dropout in '1'"),
        (Counts, "must not change its own state in forward, but it writes to 'calls'"),
        (Draws, "must give the same logits when called twice"),
        (LooksAround, "must treat each example by itself"),
        (Branches, r"must be batchable by torch.func.vmap.*no \.item\(\)"),
        (WritesInPlace, "must be batchable by torch.func.vmap: no writing into tensors in place"),
        (
            KeepsATensor,
            "must give the same logits in a lane as alone.*neither a parameter nor a buffer; register it",
        ),
        (Frozen, "must have the same buffers and frozen parameters whatever the seed, but 'features.weight'"),
    ],
    ids=lambda part: getattr(part, "__name__", None) if callable(part) else None,
)
def test_what_cannot_train_in_lanes_is_refused_before_it_does(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        OwnModule("my network", TASK, build)
    assert str(caught.value).startswith("my network ")
    assert "\n" not in str(caught.value)


def test_weights_from_elsewhere_than_torch_are_refused() -> None:
    draws = itertools.count()

    def build() -> nn.Module:
        module = flat(nn.Linear(16, 3))
        with torch.no_grad():
            module[1].weight.fill_(float(next(draws)))  # type: ignore[index,union-attr]
        return module

    with pytest.raises(ConfigError, match="must have the same initial weights each time it is built for a seed"):
        OwnModule("my network", TASK, build)


def test_tokens_that_a_network_cannot_take_are_refused() -> None:
    task = build_task(TaskConfig(modulus=5))
    with pytest.raises(ConfigError, match=r"must take inputs \[4, 4\] of tokens, the task's"):
        OwnModule("my network", task, lambda: flat(nn.Linear(4, 5)))


def test_nobody_elses_random_numbers_are_drawn() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    OwnModule("my network", TASK, lambda: flat(nn.Linear(16, 3))).initialise(7)
    assert torch.equal(torch.rand(3), expected)


def test_a_task_of_one_example_is_no_harm() -> None:
    lonely = Task.of(torch.ones(1, 16), torch.zeros(1), classes=3)
    architecture = OwnModule("my network", lonely, lambda: nn.Linear(16, 3))
    assert architecture.products() == 48
    assert architecture.kept_floats() > 0
