"""`sweep measure`, `compress` and `decompress` on files, and what they say of files that are none."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from analysis.bounds import DELTA, architecture_bits, stream_bits, unseen_error_bound
from analysis.schema import BOUNDS
from sweep.cli import main
from tests.public_form import PREFIX, in_public_form
from trainables import ModelConfig, TaskConfig, TrialConfig, decode, load_network, save_network, train
from trainables.networks import LoadedNetwork, trained_network
from trainables.sizes import bzip2_bytes

DATA = Path(__file__).parents[2] / "data"


def sweep(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="sweep")


@cache
def trained(attention: str) -> LoadedNetwork:
    trial = TrialConfig(
        task=TaskConfig(modulus=7),
        model=ModelConfig(width=16, attention=attention),  # type: ignore[arg-type]
        data_fraction=0.6,
        weight_decay=0.0,
        learning_rate=1e-2,
        steps=200,
    )
    *_, last = train([trial])
    assert last.train_accuracy == 1.0
    return trained_network(trial, last.network or {})


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return in_public_form(trained("sum"), tmp_path / "network.npz")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_network(trained("softmax"), tmp_path / "network.safetensors")
    return tmp_path / "network.safetensors"


def test_measure_answers_with_one_json_object(npz: Path, tmp_path: Path) -> None:
    arguments = ("--attention", "sum", "--epsilon", "0.5", "--epsilon", "0.125", "--output", tmp_path / "streams")
    outcome = sweep("measure", npz, *arguments, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stderr == ""
    answer = json.loads(outcome.stdout)
    network = trained("sum")
    assert answer["parameters"] == sum(weight.numel() for weight in network.parameters.values())
    assert answer["naive_bzip2_bytes"] == bzip2_bytes(network.parameters)
    losses, correct = network.outcomes(network.parameters, network.train)
    assert answer["train_loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert answer["train_accuracy"] == float(correct.double().mean()) == 1.0
    assert 0 <= answer["val_accuracy"] <= 1
    assert [entry["epsilon"] for entry in answer["measurements"]] == [0.5, 0.125]
    named = {PREFIX + name: weight for name, weight in network.parameters.items()}
    for entry in answer["measurements"]:
        stream = Path(entry["bitstream"]).read_bytes()
        assert Path(entry["bitstream"]).parent == tmp_path / "streams"
        assert len(stream) == entry["complexity_bytes"]
        assert entry["bytes_by_tensor"].keys() == named.keys()
        assert sum(entry["bytes_by_tensor"].values()) == pytest.approx(len(stream))
        assert entry["wall_s"] > 0
        decoded = {name.removeprefix(PREFIX): weight for name, weight in decode(stream, named).items()}
        losses_then, correct_then = network.outcomes(decoded, network.train)
        increase = float(losses_then.double().mean() - losses.double().mean())
        assert entry["loss_increase"] == pytest.approx(increase, abs=1e-9)
        assert increase <= entry["epsilon"]
        assert entry["train_accuracy"] == float(correct_then.double().mean())
        assert entry["val_accuracy"] == float(network.outcomes(decoded, network.validation)[1].double().mean())
        bits = stream_bits(len(stream), architecture_bits(16, 1, 4, 64))
        wrong = int((~correct_then).sum())
        assert (entry["code_bits"], entry["training_errors"]) == (bits, wrong)
        assert entry["unseen_error_bound"] == unseen_error_bound(bits, wrong, 29, 49, answer["delta"])
        assert entry["unseen_error"] == pytest.approx(1 - entry["val_accuracy"])
        assert entry["chance_error"] == pytest.approx(6 / 7)


def test_a_file_without_validation_examples_is_measured_and_one_without_training_examples_is_not(
    npz: Path, tmp_path: Path
) -> None:
    arrays = dict(np.load(npz))
    np.savez(tmp_path / "empty.npz", **{**arrays, "val": arrays["val"][:0]})
    answer = sweep("measure", tmp_path / "empty.npz", "--attention", "sum", "--json")
    assert answer.exit_code == 0, answer.stderr
    measured = json.loads(answer.stdout)
    assert measured["measurements"][0]["val_accuracy"] is None
    np.savez(tmp_path / "empty.npz", **{**arrays, "train": arrays["train"][:0]})
    refused = sweep("measure", tmp_path / "empty.npz", "--attention", "sum")
    assert refused.exit_code == 2
    assert (
        refused.stderr
        == "error: a network file must hold training examples, got none; its complexity is bounded by them\n"
    )


def test_measure_for_people(file: Path, tmp_path: Path) -> None:
    answer = sweep("measure", file, "--epsilon", "0.25", "--output", tmp_path)
    assert answer.exit_code == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0].startswith(f"{file}: 3,")
    assert lines[5].split()[0] == "0.25"
    assert lines[-1] == str(tmp_path / "epsilon-0.25.bitstream")


def test_one_epsilon_is_the_default_and_streams_need_not_be_kept(file: Path) -> None:
    answer = json.loads(sweep("measure", file, "--json").stdout)
    (entry,) = answer["measurements"]
    assert entry["epsilon"] == 1
    assert entry["bitstream"] is None
    assert answer["attention"] == "softmax"


@pytest.mark.parametrize("attention", ["sum", "softmax"])
def test_attention_that_is_not_stated_is_found(attention: str, tmp_path: Path) -> None:
    path = in_public_form(trained(attention), tmp_path / "network.npz")
    assert load_network(path).model.attention == attention
    other = {"sum": "softmax", "softmax": "sum"}[attention]
    stated = json.loads(sweep("measure", path, "--attention", other, "--json").stdout)
    assert stated["attention"] == other
    values = json.loads(sweep("measure", path, "--json").stdout)
    assert values["attention"] == attention
    assert values["train_loss"] < 0.1 < stated["train_loss"]


def test_a_loss_like_guessing_is_remarked_on() -> None:
    answer = sweep("measure", DATA / "addition_memorised.npz", "--attention", "softmax", "--json")
    assert answer.exit_code == 0
    assert "another attention than 'softmax'" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def names_in(path: Path) -> list[str]:
    with np.load(path) as archive:
        return [name for name in archive.files if name.startswith(PREFIX)]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_decompress_gives_the_names_of_the_network(npz: Path, tmp_path: Path) -> None:
    answer = json.loads(sweep("measure", npz, "--epsilon", "0.5", "--output", tmp_path, "--json").stdout)
    (entry,) = answer["measurements"]
    output = tmp_path / "decoded.safetensors"
    outcome = sweep("decompress", entry["bitstream"], "--like", npz, "--output", output, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["parameters"] == answer["parameters"]
    decoded = load_file(output)
    assert sorted(decoded) == sorted(names_in(npz))
    network = load_network(npz)
    losses, _ = network.outcomes({n.removeprefix(PREFIX): w for n, w in decoded.items()}, network.train)
    assert float(losses.mean()) - answer["train_loss"] == pytest.approx(entry["loss_increase"], abs=1e-5)


def test_the_bound_of_a_stream_is_the_one_it_was_measured_with(file: Path, npz: Path, tmp_path: Path) -> None:
    for network, like in ((file, file), (npz, npz)):
        output = tmp_path / network.stem / network.suffix
        answer = json.loads(sweep("measure", network, "--epsilon", "0.5", "--output", output, "--json").stdout)
        (entry,) = answer["measurements"]
        values = json.loads(sweep("bound", entry["bitstream"], "--like", like, "--json").stdout)
        assert values.pop("bitstream") == entry["bitstream"]
        assert values.pop("stream_bytes") == entry["complexity_bytes"]
        assert values.pop("delta") == answer["delta"] == DELTA
        assert values == {column.name: entry[column.name] for column in BOUNDS}
    small = tmp_path / "network.grok"
    sweep("compress", npz, "--epsilon", "0.5", "--output", small)
    of_small = json.loads(sweep("bound", small, "--like", npz, "--delta", "0.5", "--json").stdout)
    assert of_small["code_bits"] == values["code_bits"]
    assert of_small["delta"] == 0.5
    sentence = sweep("bound", small, "--like", npz).stdout
    assert sentence.startswith(f"{small}: {of_small['stream_bytes']:,} bytes. With probability 0.95 ")
    assert "which says nothing" in sentence
    assert "Chance is 0.8571" in sentence


def test_decompress_like_a_safetensors_file(file: Path, tmp_path: Path) -> None:
    sweep("measure", file, "--epsilon", "0.5", "--output", tmp_path)
    output = tmp_path / "decoded.safetensors"
    answer = sweep("decompress", tmp_path / "epsilon-0.5.bitstream", "--like", file, "--output", output)
    assert answer.exit_code == 0, answer.stderr
    assert load_file(output).keys() == trained("softmax").parameters.keys()


def test_a_compressed_file_needs_nothing_else(npz: Path, tmp_path: Path) -> None:
    small = tmp_path / "network.grok"
    answer = json.loads(sweep("compress", npz, "--epsilon", "0.5", "--output", small, "--json").stdout)
    assert answer["file_bytes"] == small.stat().st_size > answer["complexity_bytes"]
    assert answer["loss_increase"] <= 0.5
    alone, beside = tmp_path / "alone.safetensors", tmp_path / "beside.safetensors"
    assert sweep("decompress", small, "--output", alone).exit_code == 0
    assert sweep("decompress", small, "--like", npz, "--output", beside).exit_code == 0
    assert same(load_file(alone), load_file(beside))
    assert sorted(load_file(alone)) == sorted(names_in(npz))
    with safe_open(alone, framework="pt") as opened:
        assert json.loads(opened.metadata()["model"])["attention"] == "sum"
        assert TaskConfig(**json.loads(opened.metadata()["task"])) == TaskConfig(modulus=7)
    sentence = sweep("compress", npz, "--epsilon", "0.5", "--output", small).stdout
    assert sentence.startswith(f"{small}: {answer['file_bytes']:,} bytes, ")


def undamaged(npz: Path) -> Path:
    sweep("measure", npz, "--epsilon", "0.5", "--output", npz.parent / "streams")
    return npz.parent / "streams" / "epsilon-0.5.bitstream"


def damaged(npz: Path) -> Path:
    content = bytearray(undamaged(npz).read_bytes())
    content[9] ^= 1
    path = npz.parent / "damaged.bitstream"
    path.write_bytes(content)
    return path


def test_what_cannot_be_used_is_one_line(npz: Path, file: Path, tmp_path: Path) -> None:
    not_a_network = tmp_path / "a.safetensors"
    not_a_network.write_bytes(b"nothing")
    diverged = tmp_path / "diverged.safetensors"
    save_network(
        replace(
            trained("sum"),
            parameters={name: weight * float("nan") for name, weight in trained("sum").parameters.items()},
            task=None,
        ),
        diverged,
    )
    output = ("--output", tmp_path / "x.safetensors")
    for arguments, message in (
        (("measure", tmp_path / "none.npz"), "none.npz: No such file or directory"),
        (("measure", tmp_path), "is a folder; name the trial"),
        (("measure", not_a_network), "must be the bytes of a safetensors file"),
        (("measure", diverged), "all weights must be finite"),
        (("measure", npz, "--epsilon", "0"), "epsilon must be finite and at least 1e-09 nats, got 0.0"),
        (("measure", npz, "--epsilon", "nan"), "epsilon must be finite"),
        (("measure", npz, "--budget", "endless"), "budget must be one of fast"),
        (("measure", npz, "--output", npz), "File exists"),
        (("compress", npz, "--output", tmp_path / "no" / "folder"), "No such file or directory"),
        (("decompress", damaged(npz), "--like", npz, *output), "the checksum does not match"),
        (("decompress", npz, "--like", npz, *output), "the checksum does not match"),
        (("decompress", damaged(npz), *output), "name one like it with --like"),
        (("decompress", damaged(npz), "--like", not_a_network, *output), "must be the bytes of a safetensors"),
        (("decompress", tmp_path / "none", "--like", npz, *output), "No such file or directory"),
        (("bound", damaged(npz), "--like", npz), "the checksum does not match"),
        (("bound", undamaged(npz), "--like", npz, "--delta", "1"), "delta is a probability"),
    ):
        answer = sweep(*arguments)
        assert answer.exit_code == 2, (arguments, answer)
        assert answer.stderr.startswith("error: ")
        assert message in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
        assert answer.stdout == ""
