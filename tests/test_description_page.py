"""What docs/description.md shows is run: its Python on the other page's network, and its example in small."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import ModelConfig, TaskConfig, TrialConfig, describe_task, save_network, train, trained_network

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_runs_as_the_page_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def few_steps(*positional: Any, **named: Any) -> Any:
        return describe_task(*positional, **named, budget=50)

    namespace: dict[str, Any] = {}
    exec(blocks("complexity.md")[0], namespace)
    monkeypatch.setattr("trainables.describe_task", few_steps)
    exec(blocks("description.md")[0], namespace)
    printed_rows = re.findall(
        r"^([\d.]+) nats: ([\d,]+) bytes, [01]\.\d+ right$", capsys.readouterr().out, re.MULTILINE
    )
    assert [epsilon for epsilon, _ in printed_rows] == ["1", "0.125"]


def test_the_example_prints_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelConfig(width=16, hidden_width=32, heads=2, attention="sum")
    trial = TrialConfig(
        task=TaskConfig(modulus=11), model=model, data_fraction=0.6, weight_decay=0, learning_rate=1e-2, steps=300
    )
    *_, last = train([trial])
    network, picture = tmp_path / "network.safetensors", tmp_path / "picture.png"
    save_network(trained_network(trial, dict(last.network or {})), network)
    example = ROOT / "examples" / "compress_until_it_groks.py"
    arguments = ["--network", str(network), "--steps", "250", "--epsilon", "0.5", "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", [str(example), *arguments])
    threads = torch.get_num_threads()
    runpy.run_path(str(example), run_name="__main__")
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    before, after = re.search(r"before: ([\d,]+) bytes; description after: ([\d,]+) bytes", printed).groups()  # type: ignore[union-attr]
    assert int(after.replace(",", "")) < int(before.replace(",", ""))
    assert re.search(r"^ +250 +[\d,]+ +[01]\.\d+ +[01]\.\d+$", printed, re.MULTILINE)
    assert picture.stat().st_size > 5_000
