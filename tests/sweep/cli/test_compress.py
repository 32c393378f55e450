"""`sweep compress`: accuracies before and after, an accuracy that is kept, and its files in other commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from sweep.cli import main
from sweep.cli.output import echo
from sweep.results.rows import RunContext
from sweep.specification.config import load_specification
from tests.public_form import in_public_form
from tests.sweep.made_up import new_sweep
from tests.trainables.networks.small import memorised
from trainables import load_network, save_network, train
from trainables.networks.measure import scores


def sweep(*arguments: str | Path, color: bool = False) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="sweep", color=color)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_network(memorised(), tmp_path / "network.safetensors")
    return tmp_path / "network.safetensors"


def test_accuracies_are_printed_before_and_after_and_a_fall_is_warned_of(file: Path, tmp_path: Path) -> None:
    small = tmp_path / "network.grok"
    answer = sweep("compress", file, "--output", small, "--json")
    assert answer.exit_code == 0, answer.stderr
    facts = json.loads(answer.stdout)
    own = scores(memorised(), memorised().parameters)
    decoded = load_network(small)
    after = scores(decoded, decoded.parameters)
    assert (facts["original_train_accuracy"], facts["original_val_accuracy"]) == (1.0, own.val_accuracy)
    assert (facts["train_accuracy"], facts["val_accuracy"]) == (after.train_accuracy, after.val_accuracy)
    assert after.train_accuracy < 0.9  # what the warning is for
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"warning: {file}: training accuracy falls from 1.0000 to {after.train_accuracy:.4f}")
    assert "--keep-accuracy .99" in line
    lines = sweep("compress", file, "--output", small).stdout.splitlines()
    assert lines[1] == (
        f"accuracy 1.0000 -> {after.train_accuracy:.4f} in training, "
        f"{own.val_accuracy:.4f} -> {after.val_accuracy:.4f} in validation"
    )


def test_an_accuracy_is_kept(file: Path, tmp_path: Path) -> None:
    small = tmp_path / "network.grok"
    answer = sweep("compress", file, "--keep-accuracy", ".99", "--output", small, "--json")
    assert answer.exit_code == 0, answer.stderr
    assert answer.stderr == ""
    facts = json.loads(answer.stdout)
    assert facts["kept"] == ["training"]
    decoded = load_network(small)
    assert scores(decoded, decoded.parameters).train_accuracy == facts["train_accuracy"] >= 0.99
    # It is printed with all its digits: the same epsilon gives the same file.
    again = tmp_path / "again.grok"
    text = sweep("compress", file, "--keep-accuracy", ".99", "--output", again).stdout
    assert f"epsilon {facts['epsilon']:g} is the largest found that keeps training accuracy at 0.99" in text
    sweep("compress", file, "--epsilon", f"{facts['epsilon']:g}", "--output", again)
    assert again.read_bytes() == small.read_bytes()


def test_a_compressed_and_a_decompressed_network_are_measured(file: Path, tmp_path: Path) -> None:
    small, large = tmp_path / "network.grok", tmp_path / "decoded.safetensors"
    sweep("compress", file, "--epsilon", ".5", "--output", small)
    sweep("decompress", small, "--output", large)
    answers = [json.loads(sweep("measure", path, "--epsilon", ".1", "--json").stdout) for path in (small, large)]
    first, second = ({**answer, "network": "", "measurements": []} for answer in answers)
    assert first == second
    (one,), (other,) = (answer["measurements"] for answer in answers)
    assert one["complexity_bytes"] == other["complexity_bytes"]
    decoded = load_network(small)
    assert first["train_loss"] == scores(decoded, decoded.parameters).train_loss
    bound = sweep("bound", small, "--like", small, "--json")
    assert bound.exit_code == 0, bound.stderr


def test_a_file_of_the_public_code_is_measured_with_the_examples_of_another(tmp_path: Path) -> None:
    path, small = in_public_form(memorised(), tmp_path / "network.npz"), tmp_path / "network.grok"
    sweep("compress", path, "--epsilon", ".5", "--output", small)
    refused = sweep("measure", small)
    assert refused.exit_code == 2
    assert "does not say which trial it is of" in refused.stderr
    answer = sweep("measure", small, "--like", path, "--json")
    assert answer.exit_code == 0, answer.stderr
    decoded = load_network(small, like=load_network(path))
    assert json.loads(answer.stdout)["train_loss"] == scores(decoded, decoded.parameters).train_loss


def test_the_network_of_a_step_is_compressed(tmp_path: Path) -> None:
    config = load_specification("tiny", ["steps=40", "keep_networks=measured"], results=str(tmp_path / "results"))
    store, (cohort,) = new_sweep(config)
    kept = {one.step: one for one in train([cohort.trials[1]]) if one.network is not None}
    attempt = store.claim_attempt(cohort.cohort_id)
    context = RunContext(cohort=cohort, device="cpu", threads=1, reproducible="here")
    store.add_report(cohort.cohort_id, attempt.number, attempt.next_report, list(kept.values()), context)
    trial = ("--trial", cohort.trials[1].trial_id)
    first, last = min(kept), max(kept)
    assert first < last
    for arguments, step in (((), last), (("--step", str(first)), first)):
        answer = sweep(
            "compress", config.results_path, *trial, *arguments, "--output", tmp_path / "a.grok", "--json"
        )
        assert answer.exit_code == 0, answer.stderr
        loss = json.loads(answer.stdout)["original_val_accuracy"]
        assert loss == kept[step].val_accuracy
        network = load_network(tmp_path / "a.grok")
        assert network.step == step
        assert network.trial == cohort.trials[1]
    refused = sweep("compress", config.results_path, *trial, "--step", "3", "--output", tmp_path / "b.grok")
    assert refused.exit_code == 2
    steps = ", ".join(str(step) for step in sorted(kept))
    assert f"must be one at which trial {trial[1]} kept a network, got 3: {steps}\n" in refused.stderr
    assert not (tmp_path / "b.grok").exists()


def test_options_that_do_not_go_together(file: Path, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "network.grok")
    for arguments, message in (
        (("compress", file, "--epsilon", "1", "--keep-accuracy", ".9", *output), "leave out --epsilon"),
        (("compress", file, "--step", "3", *output), "--step 3 needs --trial ID"),
        (("measure", tmp_path, "--trial", "a", "--like", file), "leave out --like"),
        (("compress", file, "--keep-accuracy", "2", *output), "a share above 0 and at most 1, got 2"),
    ):
        answer = sweep(*arguments)
        assert answer.exit_code == 2
        assert answer.stderr.startswith("error: ")
        assert message in answer.stderr
        assert not (tmp_path / "network.grok").exists()


def test_red_is_for_terminals_and_names_cannot_colour(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    echo("beyond \x1b[32m", red=True)
    assert capsys.readouterr().out == "beyond \\x1b[32m\n"
    answer = sweep("compress", file, "--output", file.with_suffix(".grok"), color=True)
    assert answer.stderr.startswith("\x1b[31mwarning: ")
    assert len(load_file(file)) > 0
