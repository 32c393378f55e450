"""Networks that a sweep has kept are measured by the name of their trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sweep.cli import main
from sweep.errors import UnusableNetwork
from sweep.results.kept_networks import kept_network
from sweep.results.rows import RunContext
from sweep.results.store import Store
from sweep.specification.config import load_specification
from tests.sweep.made_up import new_sweep
from trainables import Measurement, train


@pytest.fixture
def trained(tmp_path: Path) -> tuple[str, Measurement]:
    """The results of a tiny sweep of which one trial was trained and kept its network; and its last measurement."""
    config = load_specification("tiny", ["steps=40"], results=str(tmp_path / "results"))
    store, (cohort,) = new_sweep(config)
    *_, last = train([cohort.trials[1]])
    attempt = store.claim_attempt(cohort.cohort_id)
    context = RunContext(cohort=cohort, device="cpu", threads=1, reproducible="here")
    store.add_report(cohort.cohort_id, attempt.number, attempt.next_report, [last], context)
    return config.results_path, last


def test_the_network_of_a_trial_has_the_losses_of_its_row(trained: tuple[str, Measurement]) -> None:
    results, last = trained
    network = kept_network(results, last.trial_id[:9])
    for sequences, expected in ((network.train, last.train_loss), (network.validation, last.val_loss)):
        losses = network.outcomes(network.parameters, sequences)[0]
        assert float(losses.double().mean()) == pytest.approx(expected, rel=1e-5)


def test_it_is_measured_by_the_name_of_its_trial(trained: tuple[str, Measurement]) -> None:
    results, last = trained
    arguments = ["measure", results, "--trial", last.trial_id, "--json"]
    answer = CliRunner().invoke(main, arguments, prog_name="sweep")
    assert answer.exit_code == 0, answer.stderr
    (entry,) = json.loads(answer.stdout)["measurements"]
    assert entry["complexity_bytes"] == pytest.approx(last.complexity_bytes, rel=0.05)


def test_an_altered_network_is_not_measured(trained: tuple[str, Measurement]) -> None:
    """One byte of the weights, so the file's size is what it was."""
    results, last = trained
    (file,) = Path(results).glob("tables/networks/*.parquet")
    altered = bytearray(file.read_bytes())
    altered[len(altered) // 2] ^= 1
    file.write_bytes(altered)
    answer = CliRunner().invoke(main, ["measure", results, "--trial", last.trial_id], prog_name="sweep")
    assert answer.exit_code == 2
    assert f"note: {results}: tables/networks/{file.name}: its content does not match its checksum" in answer.stderr
    assert "has none that can be read" in answer.stderr


def test_trials_that_are_not_meant_or_have_no_network(trained: tuple[str, Measurement]) -> None:
    results, last = trained
    others = [trial.trial_id for trial in Store(results).cohorts()[0].trials if trial.trial_id != last.trial_id]
    for trial_id, message in (
        ("xyz", "no trial there"),
        ("", "4 trials there"),
        (others[0], "must have kept a network"),
    ):
        with pytest.raises(UnusableNetwork, match=message):
            kept_network(results, trial_id)
