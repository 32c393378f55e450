"""Names of user-supplied tasks and networks, and the hash of their source."""

from __future__ import annotations

import importlib
import linecache
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.trainables import lab
from trainables import (
    ConfigError,
    ModelConfig,
    TaskConfig,
    TrialConfig,
    build_task,
    register_model,
    register_task,
    trial_from_dict,
)
from trainables.architectures import architecture_of
from trainables.config import Drift, TrainingSet, identity
from trainables.config.registry import MODELS, TASKS
from trainables.config.source import source_digest

MODULE = """
from helpers import half, unused
import json
SIZE = 3
NOBODY = 1

def inner():
    return half(SIZE)

class Layer:
    def forward(self):
        return inner()

def build(task, model):
    return Layer()

def other(task, model):
    return NOBODY
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user-supplied package that can be imported anew."""
    folder = tmp_path / "some_lab"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helpers.py").write_text("def half(x):\n    return x / 2\n\ndef unused():\n    pass\n")
    (folder / "nets.py").write_text(MODULE.replace("from helpers", "from .helpers"))
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("some_lab")]:
        del sys.modules[name]


def again(folder: Path) -> ModuleType:
    for name in [name for name in sys.modules if name.startswith("some_lab")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return importlib.import_module(f"{folder.name}.nets")


def digest(folder: Path) -> str:
    return source_digest(again(folder).build)


@pytest.mark.parametrize(
    ("file", "old", "new", "differs"),
    [
        ("nets.py", "SIZE = 3", "SIZE = 4", True),
        ("nets.py", "return inner()", "return 2 * inner()", True),
        ("nets.py", "return half(SIZE)", "return half(SIZE) + 1", True),
        ("helpers.py", "x / 2", "x / 3", True),
        ("nets.py", "NOBODY = 1", "NOBODY = 2", False),
        ("nets.py", "return NOBODY", "return None", False),
        ("nets.py", "SIZE = 3", "SIZE   =   3  # of the layer", False),
        ("helpers.py", "    pass", "    pass  # nothing", False),
    ],
)
def test_a_source_is_all_that_a_function_uses_and_nothing_else(
    package: Path, file: str, old: str, new: str, differs: bool
) -> None:
    before = digest(package)
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    assert (digest(package) != before) == differs


def test_what_was_typed_has_a_source_too() -> None:
    typed = ModuleType("__typed__")
    sources = {}
    for size in (3, 4):
        text = f"def inner():\n    return {size}\n\nclass Layer:\n    def forward(self):\n        return inner()\n"
        name = f"<cell {size}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        namespace = {"__name__": typed.__name__}
        exec(compile(text, name, "exec"), namespace)
        sources[size] = source_digest(namespace["Layer"])  # type: ignore[arg-type]
    assert sources[3] != sources[4]
    namespace = {"__name__": typed.__name__}
    exec("def at_a_prompt():\n    pass", namespace)
    assert len(source_digest(namespace["at_a_prompt"])) == 12  # type: ignore[arg-type]


def test_what_is_defined_within_a_function_has_a_source_too() -> None:
    def doubled(task: object, model: object) -> object:
        return lab.Centred

    def tripled(task: object, model: object) -> object:
        return lab.CLASSES

    assert source_digest(doubled) != source_digest(tripled)
    assert source_digest(lambda: lab.Centred()) != source_digest(lambda: lab.CLASSES)
    assert len({source_digest(around(width)) for width in (1, 2)}) == 2


def around(width: int) -> Callable[[], int]:
    return lambda: width


def test_the_source_is_in_the_id_and_travels_with_the_configuration() -> None:
    trial = TrialConfig(task=TaskConfig(family="stripes"), model=ModelConfig(kind="tiny-conv"))
    own, task = MODELS.get("tiny-conv"), TASKS.get("stripes")
    assert own is not None
    assert task is not None
    assert (trial.model.source, trial.task.source) == (own.source, task.source)
    assert own.source != task.source
    assert identity(trial) == {
        "task.family": '"stripes"', "task.source": f'"{task.source}"', "model.kind": '"tiny-conv"',
        "model.source": f'"{own.source}"',
    }  # fmt: skip
    assert trial_from_dict(trial.as_dict()) == trial
    other = TrialConfig(task=trial.task, model=ModelConfig(kind="tiny-conv", source="0" * 12))
    assert other.trial_id != trial.trial_id


def test_a_recorded_configuration_is_readable_without_its_module_and_buildable_only_with_it() -> None:
    recorded = {"kind": "gone", "source": "0123456789ab"}
    model = ModelConfig(**recorded)  # type: ignore[arg-type]
    task = TaskConfig(family="vanished", source="0123456789ab")
    assert TrialConfig(task=task, model=model).trial_id
    with pytest.raises(ConfigError, match=r"model\.kind must be a known kind, got 'gone'.*--import the module"):
        architecture_of(build_task(TaskConfig(modulus=5)), model)
    with pytest.raises(ConfigError, match=r"task\.family must be a known family, got 'vanished'"):
        build_task(task)
    changed = ModelConfig(kind="tiny-conv", source="0123456789ab")
    with pytest.raises(
        ConfigError, match="must be what the trial was planned with, source 0123456789ab, but tests"
    ):
        architecture_of(build_task(TaskConfig(family="stripes")), changed)


def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="got 'tiny-conf'; try tiny-conv"):
        TrialConfig(model=ModelConfig(kind="tiny-conf"))
    with pytest.raises(ConfigError, match="got 'stripe'; try stripes"):
        build_task(TaskConfig(family="stripe"))


def test_parts_of_a_trial_are_written_before_their_names_are_registered() -> None:
    written = {
        "task": TaskConfig(family="later"),
        "model": ModelConfig(kind="later-net"),
        "drift": Drift(((32, TrainingSet(family="even-later")),)),
    }
    for register, name in ((register_task, "later"), (register_task, "even-later"), (register_model, "later-net")):
        register(name, version="1")(test_names_are_registered_once)
    trial = TrialConfig(**written)  # type: ignore[arg-type]
    [(_, exchanged)] = trial.drift.exchanges
    assert all((trial.task.source, trial.model.source, exchanged.source))
    assert trial_from_dict(trial.as_dict()).trial_id == trial.trial_id


def test_a_network_that_is_registered_anew_is_built_anew() -> None:
    task, model = build_task(TaskConfig(family="stripes")), ModelConfig(kind="twice", width=4)
    register_model("twice", version="1")(lab.tiny_conv)
    before = architecture_of(task, model).shapes
    register_model("twice", version="2")(lab.Attentive)
    assert architecture_of(task, model).shapes.keys() != before.keys()


def test_names_are_registered_once() -> None:
    for taken, register, owner in (
        ("addition", register_task, "this package"),
        ("mlp", register_model, "this package"),
        ("stripes", register_task, lab.__name__),
    ):
        with pytest.raises(ConfigError, match=f"the name '{taken}' is taken by {owner}, and {__name__}"):
            register(taken)(test_names_are_registered_once)
    with pytest.raises(ConfigError, match="must begin with a letter"):
        register_task("../x")(test_names_are_registered_once)
    # The same module may register anew, as when a notebook's cell runs again.
    register_task("stripes")(lab.stripes)


def test_a_task_must_be_a_task() -> None:
    @register_task("no-task")
    def no_task(config: TaskConfig) -> tuple[int, int]:
        return config.modulus, 2

    with pytest.raises(ConfigError, match=r"must give a Task, got tuple; use Task.of\(inputs, targets\)"):
        build_task(TaskConfig(family="no-task"))


def test_installed_distributions_are_found_by_their_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_lab.py").write_text(
        "from trainables import register_model\n\n@register_model('from-outside')\ndef build(task, model): ..."
    )
    about = tmp_path / "installed_lab-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-lab\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[grokking_sweep]\nlab = installed_lab\n")
    code = (
        "import sys; from trainables import ModelConfig; "
        "print(ModelConfig(kind='from-outside').with_source().source, 'torch' in sys.modules)"
    )
    path = f"{tmp_path}:{Path(__file__).parents[3]}"
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    source, torch_is_there = run.stdout.split()
    assert len(source) == 12
    assert torch_is_there == "False"
