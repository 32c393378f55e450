"""One call in a notebook: the same tables as through Ray, without Ray, and resuming where it was."""

from __future__ import annotations

import io
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import analysis
import sweep
from analysis.report import write_report
from sweep.errors import SpecificationError, SweepError
from sweep.on_ray.cluster import RaySession
from sweep.on_ray.runner import run
from sweep.plan.plan import plan, record
from sweep.results.store import Store
from sweep.training import cohort_training
from sweep.training.here import ENDING_SIGNALS
from sweep.training.progress import NoProgress, OneLine, Snapshot
from tests.sweep.tables import assert_same_tables
from trainables.errors import ConfigError
from trainables.lanes import LaneRun
from trainables.measurement import Measurement

LABELS = torch.arange(60) % 3
INPUTS = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + LABELS[:, None]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(inputs)
        return logits


def here(results: Path, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "module": Network,
        "inputs": INPUTS,
        "targets": LABELS.numpy(),
        "weight_decay": [0.0, 1.0],
        "spectral_entropy_weight": [0.0, 0.1],
        "data_fraction": 0.5,
        "learning_rate": 1e-2,
        "steps": 96,
        "stop": "none",
        "progress": NoProgress(),
        "results": str(results),
    }
    return sweep.run_here(**{**settings, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    summary = here(results)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert (summary.results, summary.trials, summary.done, summary.exit_code) == (str(results), 4, 4, 0)
    return results


def test_all_five_tables_and_what_reads_them(finished: Path) -> None:
    assert {path.name for path in (finished / "tables").iterdir()} == {
        "rows",
        "complexity",
        "matrices",
        "trials",
        "networks",
    }
    rows = analysis.load(finished)
    last = rows[rows["step"] == 96]
    assert (last["complexity_bytes"] > 0).all()
    assert (last["train_accuracy"] > 0.5).all()
    assert rows["task_family"].str.startswith("data-").all()
    assert rows["model_kind"].str.startswith("Network-").all()
    assert len(analysis.grok_map(analysis.events(rows), x="weight_decay", y="spectral_entropy_weight")) == 4
    assert Path(write_report(finished).report).is_file()


def test_again_it_does_what_is_missing(finished: Path) -> None:
    again = here(finished)
    assert (again.ended_here, again.done) == (0, 4)
    more = here(finished, seeds=2)
    assert (more.ended_here, more.done) == (4, 8)
    other = here(finished, inputs=INPUTS + 1, spectral_entropy_weight=0.0)
    assert (other.ended_here, other.done) == (2, 2)
    named = here(finished, module=lambda: nn.Linear(4, 3), spectral_entropy_weight=0.0)
    assert (named.ended_here, named.done) == (2, 2)
    assert here(finished, module=lambda: nn.Linear(4, 3), spectral_entropy_weight=0.0).ended_here == 0


@pytest.fixture
def _default_signals() -> Iterator[None]:
    """Handle the signals as a fresh Python does: the Ray of another test takes over SIGTERM while it runs."""
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_default_signals")
@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_interrupted_it_has_saved_and_goes_on(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a real Ctrl-C, SIGTERM or hang-up in the middle of the first step."""
    handlers = [signal.getsignal(each) for each in ENDING_SIGNALS]
    advance = LaneRun.advance
    calls = itertools.count(1)

    def is_interrupted(run: LaneRun, blocks: int) -> list[Measurement]:
        if next(calls) == 1:
            signal.raise_signal(number)
        return advance(run, blocks)

    with monkeypatch.context() as fault:
        fault.setattr(cohort_training, "RESULT_EVERY_S", 0)
        fault.setattr(LaneRun, "advance", is_interrupted)
        with pytest.raises(KeyboardInterrupt):
            here(tmp_path)
    assert next(calls) == 2
    assert [signal.getsignal(each) for each in ENDING_SIGNALS] == handlers
    assert list((tmp_path / "checkpoints").glob("*.safetensors"))
    assert here(tmp_path).done == 4
    here(tmp_path / "whole")
    assert_same_tables(tmp_path, tmp_path / "whole")


def test_a_promise_that_this_process_cannot_keep_fails_nothing_that_did_not_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise ConfigError("other bits")

    monkeypatch.setattr("sweep.training.here.require_across_machines", refused)
    monkeypatch.setattr(cohort_training, "require_across_machines", refused)
    same: dict[str, Any] = {"task": {"modulus": 5}, "model": {"kind": "mlp", "width": 4}, "steps": 1, "seeds": 1}
    same |= {"stop": "none", "results": str(tmp_path)}
    asked = sweep.SweepConfig(**same, reproducible="across machines")
    with pytest.raises(ConfigError, match="other bits"):
        sweep.run_here(asked, progress=NoProgress())
    store = Store(tmp_path)
    record(plan(asked, store), asked, store)
    summary = sweep.run_here(sweep.SweepConfig(**same), progress=NoProgress())
    assert (summary.failed, summary.done) == ({}, 1)
    assert set(analysis.trials(tmp_path).reproducible) == {"here"}


def test_parameters_without_dimensions_are_trained_and_ones_without_elements_are_refused(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self, extra: torch.Tensor) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3)
            self.extra = nn.Parameter(extra)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.net(x) * self.extra.sum()
            return answer

    summary = here(tmp_path / "scalar", module=lambda: Scaled(torch.tensor(1.0)), steps=32)
    assert (summary.failed, summary.done) == ({}, summary.trials)
    with pytest.raises(SweepError, match="'extra'"):
        here(tmp_path / "empty", module=lambda: Scaled(torch.empty(0)))
    assert not list((tmp_path / "empty").glob("cohorts/*"))


@pytest.mark.slow
def test_the_tables_are_those_of_a_run_on_ray(tmp_path: Path, ray_session: RaySession) -> None:
    config = {"task": {"modulus": 7}, "model": {"kind": "mlp", "width": 8}, "data_fraction": 0.5, "steps": 64}
    summary = sweep.run_here(sweep.SweepConfig(**config, results=str(tmp_path / "here")), progress=NoProgress())
    run(sweep.SweepConfig(**config, results=str(tmp_path / "ray")), progress=NoProgress())
    assert_same_tables(Path(summary.results), tmp_path / "ray")


def test_a_whole_specification_stands_alone(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="a whole specification is given"):
        sweep.run_here(sweep.SweepConfig(), steps=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"module": Network()},
            "must be a class, or a function, .* got one network; write module=lambda: ConvNet()",
        ),
        ({"module": 3}, "must be a class, or a function, .* got int"),
        ({"targets": None}, "inputs and targets must be given together"),
        ({"targets": LABELS[1:]}, r"of the same examples, got inputs \[60, 4\] and targets \[59\]"),
        ({"targets": LABELS - 1}, "targets must lie from 0 to 1, the 2 classes, got -1"),
        ({"targets": LABELS + 0.5}, "must be classes, whole numbers, got 0.5"),
        ({"inputs": INPUTS / 0}, "inputs must be finite"),
        (
            {"module": lambda: nn.Linear(5, 3)},
            r"must take inputs \[4, 4\] of features, the task's, got RuntimeError",
        ),
        (
            {"module": lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))},
            "use GroupNorm or LayerNorm instead",
        ),
        ({"weight_decy": 1}, "unknown key 'weight_decy'; did you mean 'weight_decay'"),
        ({"data_fraction": 2}, "data_fraction must lie strictly between 0 and 1, got 2"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((SweepError, SpecificationError, ConfigError), match=message):
        here(tmp_path / "results", **changes)
    assert not (tmp_path / "results").exists()


def test_ray_is_not_imported() -> None:
    script = "import sys, sweep; sweep.run_here; print('ray' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout == "False\n"


def test_progress_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    times = iter(range(100))
    line = OneLine(clock=lambda: next(times))

    def snapshot(done: int) -> Snapshot:
        return Snapshot(12, done, 1, 0, 0, 0, None, None, None)

    for done in (1, 10, 2):
        line.show(snapshot(done))
    line.note("Memory ran out.")
    line.close()
    text = written.getvalue()
    assert text.count("\n") == 2
    assert text.endswith("\r" + str(snapshot(2)) + "\n")
    assert "\r" + str(snapshot(2)).ljust(len(str(snapshot(10)))) in text
    assert "\rMemory ran out.".ljust(len(str(snapshot(2))) + 1) + "\n" in text
