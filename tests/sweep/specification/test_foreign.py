"""Files of other tools, lists without brackets, wrong addresses, anchors: what is told in one line, what works."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from sweep import SweepConfig
from sweep.cli import main
from sweep.errors import SpecificationError, StoreError
from sweep.results.store import Store
from sweep.specification.config import load_specification
from sweep.specification.file import PRESETS, read_file
from sweep.specification.foreign import HOW_HERE
from sweep.specification.trials import trials
from trainables.config import TaskConfig
from trainables.errors import ConfigError

WANDB = "program: train.py\nmethod: grid\nmetric: {name: val_acc}\nparameters:\n  frac: {min: 0.2, max: 0.8}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(text: str, name: str = "s.yaml", *overrides: str) -> list[str]:
    Path(name).write_text(text, encoding="utf-8")
    with pytest.raises(SpecificationError) as caught:
        load_specification(name, overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("s.yaml", WANDB, "a sweep of Weights & Biases"),
        ("s.yaml", "defaults:\n  - _self_\n  - model: mlp\nlr: 0.1\n", "a configuration of Hydra"),
        ("s.yaml", "hydra: {mode: MULTIRUN}\n", "a configuration of Hydra"),
        ("s.yaml", "cluster_name: x\nprovider: {type: aws}\n", "a cluster file of Ray"),
        ("s.yaml", "param_space: {lr: 1}\ntune_config: {num_samples: 3}\n", "an experiment of Ray Tune"),
        ("s.yaml", "study_name: x\ndirection: minimize\nn_trials: 100\n", "a study of Optuna"),
        ("job.sh", "#!/bin/bash\n#SBATCH --gpus=1\npython train.py\n", "a Slurm script"),
        ("job.yaml", "#!/bin/bash\npython train.py\n", "a shell script"),
        ("train.py", "print(1)\n", "a Python file"),
        ("train.yaml", "import torch\nx = 1\n", "a Python file"),
        ("r.json", '{"step": 1, "val_accuracy": 0.1}\n{"step": 2, "val_accuracy": 0.2}\n', "a file of results"),
        ("r.json", '[{"step": 1}]', "a file of results"),
        ("r.json", '{"trial_id": "a", "training_iteration": 3}', "a file of results"),
    ],
)
def test_a_file_of_another_tool_is_named_in_one_line(name: str, text: str, kind: str) -> None:
    assert refused(text, name) == [
        f"{name}:1: this is {kind}, not a specification; {HOW_HERE} (docs/specification.md)"
    ]


def test_a_specification_in_json_is_one() -> None:
    Path("s.json").write_text('{"weight_decay": [0, 1]}')
    assert load_specification("s.json").weight_decay == (0, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("weight_decay=0,1", "weight_decay must be a number, got '0,1'; a list is written as [0,1]"),
        ("seeds=0, 1, 2", "seeds must be a whole number, got '0, 1, 2'; a list is written as [0, 1, 2]"),
        ("steps=20,000", "steps must be a whole number, got '20,000'; write 20000 without commas"),
        (
            "model.attention=softmax, sum",
            "model.attention must be 'softmax' or 'sum', got 'softmax, sum'; a list is written as [softmax, sum]",
        ),
    ],
)
def test_a_list_without_brackets_is_told_how_it_is_written(override: str, message: str) -> None:
    assert refused("steps: 100\n", "s.yaml", override) == [f"--set {override}: {message}"]


def test_names_without_brackets_are_told_how_a_list_is_written() -> None:
    [line] = refused("task: {family: 'addition, division'}\n")
    assert line.endswith("; a list is written as [addition, division]")


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        (str(Path("s3://bucket/x")), "write s3://bucket/x with two slashes"),
        ("s3:///bucket", "with two slashes"),
        ("file:/x", "write file:///folder with three slashes"),
        ("file://host/x", "write file:///folder with three slashes"),
        ("gs:/x", "gs: addresses are not supported"),
        ("gs://bucket/x", "gs: addresses are not supported"),
        ("https://host/x", "https: addresses are not supported"),
    ],
)
def test_a_wrong_address_is_refused_by_name_wherever_one_is_taken(address: str, hint: str) -> None:
    for build, error in (
        (lambda: SweepConfig(results=address), SpecificationError),
        (lambda: Store(address), StoreError),
    ):
        with pytest.raises(error, match=hint):
            build()
    with pytest.raises(ConfigError, match=r"task\.data must be a local path, got"):
        TaskConfig(family="mnist", data=address)
    outcome = CliRunner().invoke(main, ["status", address])
    assert outcome.exit_code == 2
    assert hint in outcome.stderr
    network = str(Path(__file__).parents[2] / "data" / "addition_noise.npz")
    outcome = CliRunner().invoke(main, ["compress", network, "--output", address])
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: --output must be a local path, got")
    assert not list(Path.cwd().iterdir())


def test_addresses_that_work(tmp_path: Path) -> None:
    assert SweepConfig(results=f"file://{tmp_path}/r").results_path == f"{tmp_path}/r"
    assert Store(f"file://{tmp_path}/r").is_local
    assert SweepConfig(results="s3://bucket/x").results_path == "s3://bucket/x"
    assert SweepConfig(results="./s3:/x").results_path == "./s3:/x"
    assert SweepConfig(results="C:/x").results_path == "C:/x"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("实验", "实验"),
        ("эксперимент 2", "эксперимент-2"),
        ("u\N{COMBINING DIAERESIS}ber", "\N{LATIN SMALL LETTER U WITH DIAERESIS}ber"),
        ("a b", "a-b"),
        ("@@", "sweep"),
    ],
)
def test_a_name_keeps_the_letters_of_its_file(stem: str, name: str) -> None:
    Path(f"{stem}.yaml").write_text("steps: 10\n")
    config = load_specification(f"{stem}.yaml")
    assert (config.name, config.results_path) == (name, f"results/{name}")


MERGED = """\
x-shared: &s {family: addition, modulus: 7}
x-small: &m {width: 8, heads: 2}
task: {<<: *s}
model: {<<: [{width: 16}, *m], kind: mlp}
cases:
  a: [&a {weight_decay: 0, data_fraction: 0.5}]
  b: [{<<: *a, data_fraction: 0.4}]
"""


def test_merge_keys_work_and_keys_with_x_hold_anchors() -> None:
    Path("s.yaml").write_text(MERGED)
    config = load_specification("s.yaml")
    assert [
        (t.task.modulus, t.model.width, t.model.heads, t.weight_decay, t.data_fraction) for t in trials(config)
    ] == [
        (7, 16, 2, 0, 0.5),
        (7, 16, 2, 0, 0.4),
    ]


def test_what_is_wrong_behind_a_merge_key_has_its_own_line() -> None:
    assert refused(MERGED.replace("heads: 2", "haeds: 2")) == [
        "s.yaml:2: unknown key 'model.haeds'; did you mean 'heads'?"
    ]
    [line] = refused("task: {<<: 3}\n")
    assert line == "s.yaml:1: << must be followed by a mapping, or a list of mappings: `<<: *anchor`"


def test_another_key_for_anchors_is_told_a_name() -> None:
    assert refused("shared: &s {modulus: 7}\ntask: *s\n") == [
        "s.yaml:1: unknown key 'shared'; a key for anchors begins with x-: x-shared"
    ]


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_no_preset_looks_like_a_file_of_another_tool(preset: str) -> None:
    source = read_file(PRESETS / f"{preset}.yaml")
    assert not source.problems


def test_an_anchor_that_is_given_again_is_no_warning(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("x-a: &a 2\nx-b: &a 3\nweight_decay: *a\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_specification(str(file)).weight_decay == 3


@pytest.mark.parametrize("address", ["a\0b", "\ud800", "red\x1b[31m", "two\nlines"])
def test_an_address_is_printable(address: str) -> None:
    with pytest.raises(SpecificationError, match="results must be an address of printable characters") as refused:
        SweepConfig(results=address)
    assert str(refused.value).isprintable()
