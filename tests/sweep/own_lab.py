"""A researcher's module on disk: a task and a network of its own, under names that no other test has."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_count = itertools.count()

_SOURCE = """\
import torch
from torch import nn

from trainables import Task, register_model, register_task

{first}


@register_task("{name}-blobs")
def blobs(config):
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    return Task.of(torch.randn(60, 4, generator=stream) + labels[:, None], labels)


@register_model("{name}-layers")
def layers(task, config):
    return nn.Sequential(nn.Linear(4, config.width), nn.ReLU(), nn.Linear(config.width, task.classes))
"""


@dataclass(frozen=True)
class Lab:
    """Where it lies and what it registers."""

    folder: Path
    name: str

    @property
    def module(self) -> str:
        """The module's dotted name."""
        return f"{self.name}.tasks"

    @property
    def file(self) -> Path:
        """The module's file."""
        return self.folder / self.name / "tasks.py"

    @property
    def settings(self) -> dict[str, Any]:
        """A small sweep of it: two trials."""
        return {
            "task": {"family": f"{self.name}-blobs"},
            "model": {"kind": f"{self.name}-layers", "width": 4},
            "data_fraction": 0.5,
            "weight_decay": [0.0, 1.0],
            "steps": 64,
            "stop": "none",
            "lanes": 2,
        }

    def specification(self, **changes: Any) -> str:
        """Path of that sweep's YAML."""
        lines = [f"{key}: {value!r}".replace("'", "") for key, value in {**self.settings, **changes}.items()]
        path = self.folder / f"{self.name}.yaml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    def write(self, first: str = "") -> None:
        """Write the module anew, with these lines before its definitions."""
        self.file.write_text(_SOURCE.format(name=self.name, first=first), encoding="utf-8")


def new_lab(folder: Path, first: str = "") -> Lab:
    """A package with one module, `tasks`, in this folder."""
    lab = Lab(folder, f"lab{next(_count)}_of_{folder.name.replace('-', '_')}")
    (folder / lab.name).mkdir()
    (folder / lab.name / "__init__.py").touch()
    lab.write(first)
    return lab
