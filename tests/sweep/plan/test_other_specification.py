"""A plan says that another specification was run in the same folder, and what differed; a network must fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweep import SweepConfig
from sweep.errors import SpecificationError
from sweep.plan import sharing
from sweep.plan.plan import plan, record
from sweep.results.store import Store


def specification(tmp_path: Path, **values: Any) -> SweepConfig:
    settings = {"task": {"modulus": 7}, "model": {"width": 8, "heads": 2}, "steps": 96, "stop": "none", **values}
    return SweepConfig(results=str(tmp_path / "r"), **settings)


def test_another_specification_in_the_folder_is_noted(tmp_path: Path) -> None:
    first = specification(tmp_path, name="first", seeds=2)
    store = Store(first.results_path)
    assert plan(first, store).notes == []
    record(plan(first, store), first, store)
    assert plan(first, store).notes == []
    assert plan(specification(tmp_path, seeds=3), store).notes == []  # the same trials and one more
    other = specification(tmp_path, task={"modulus": 11}, weight_decay=[0, 0.5], seeds=1)
    assert plan(other, store).notes == [
        "the folder has 2 trials of another specification, planned from 'first', with task.modulus: 7, "
        "weight_decay: 1.0, seeds: 2; both are kept, and maps and reports show both; use --results for a folder of "
        "its own"
    ]
    (tmp_path / "r" / "sweep.json").write_text("[")
    damaged, note = plan(other, store).notes
    assert damaged.startswith("damaged or missing in the results folder: 1 file")
    assert note.startswith("the folder has 2 trials of another specification; both are kept")


def test_a_network_that_does_not_fit_is_a_wrong_specification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = sharing.Node(cores=1, memory_bytes=2**30, gpus=1, gpu_bytes=2**30)
    monkeypatch.setattr(sharing, "this_node", lambda: node)
    for values, path in (({"model": {"width": 4096}}, "model"), ({"lanes": 100_000}, "lanes")):
        config = specification(tmp_path, **values)
        with pytest.raises(SpecificationError, match="of this network need") as caught:
            plan(config, Store(config.results_path))
        assert caught.value.problems[0].path == (path,)
        assert len(str(caught.value).splitlines()) == 1
