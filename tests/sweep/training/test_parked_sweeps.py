"""Sweeps that park trials: what is in their tables, and how they are continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
import sweep
from analysis import decisions
from analysis.stopping.certified import stopped_trials
from analysis.stopping.parking import Evidence, ParkingParameters, parks
from analysis.stopping.stall import StallParameters
from sweep.results.evidence import EvidenceBook
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training
from sweep.training.cohort_training import CohortTraining
from sweep.training.progress import NoProgress
from trainables.config import TrialConfig
from trainables.lanes.checkpoint import decode

RULE = {"patience": 0.4, "first_look": 0.15, "stall": {"minimum_measurements": 1}}
PARAMETERS = ParkingParameters(patience=0.4, first_look=0.15, stall=StallParameters(minimum_measurements=1))
SETTINGS = ["trial_id", "step"]


def specification(results: Path, **changes: Any) -> SweepConfig:
    settings: dict[str, Any] = {
        "task": {"modulus": 5},
        "model": {"kind": "mlp", "width": 4, "hidden_width": 4},
        "weight_decay": [0.0, 1.0],
        "seeds": 3,
        "steps": 512,
        "batch_size": 5,
        # So slow that nothing falls: all trials stall, and hardly any is measured between the scheduled steps.
        "learning_rate": 1e-5,
        "measure_ratio": 4,
        "lanes": 2,
        "stop": "park",
        "parking": RULE,
        "audit_share": 0,
        "results": str(results),
    }
    return SweepConfig(**{**settings, **changes})


def run(results: Path, **changes: Any) -> sweep.RunSummary:
    return sweep.run_here(specification(results, **changes), progress=NoProgress())


def rows(results: Path) -> pd.DataFrame:
    """The table `rows` without what depends on the clock."""
    table = analysis.load(results, ["train_loss", "val_loss", "l2_norm", "complexity_bytes"])
    return table.sort_values(SETTINGS, ignore_index=True)


def assert_rows_of(part: pd.DataFrame, whole: pd.DataFrame) -> None:
    """Each row of a sweep is that of another, bit for bit."""
    assert not part.duplicated(SETTINGS).any()
    both = part.merge(whole, on=SETTINGS, suffixes=("", "_other"))
    assert len(both) == len(part)
    for name in ("train_loss", "val_loss", "l2_norm", "complexity_bytes"):
        pd.testing.assert_series_equal(both[name], both[f"{name}_other"], check_names=False)


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    results = tmp_path_factory.mktemp("unstopped")
    run(results, stop="none")
    return rows(results)


@pytest.fixture(scope="module")
def parked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("parked")
    summary = run(results)
    assert summary.done == 6
    assert summary.ended["stopped"] >= 3
    return results


def test_rows_are_those_of_trials_that_were_never_parked(parked: Path, unstopped: pd.DataFrame) -> None:
    assert_rows_of(rows(parked), unstopped)


def test_each_stopped_trial_has_its_last_row_once_its_reason_and_its_network(parked: Path) -> None:
    trials = analysis.trials(parked)
    stopped = trials[trials["ended_because"] == "stopped"]
    assert stopped["ended_reason"].str.startswith("No progress since step").all()
    assert (stopped["stop_rule"] == PARAMETERS.name).all()
    last = rows(parked).groupby("trial_id", observed=True)["step"].max()
    assert (stopped.set_index("trial_id")["ended_at_step"] == last.reindex(stopped["trial_id"])).all()
    kept = analysis.networks(parked)
    assert set(zip(stopped["trial_id"], stopped["ended_at_step"], strict=True)) <= set(
        zip(kept["trial_id"], kept["step"], strict=True)
    )


def test_decisions_can_be_made_again_from_the_table(parked: Path) -> None:
    table = decisions(parked)
    assert {"parked", "given up", "resumed"} <= set(table["decision"])
    before: set[str] = set()
    for row in table.to_dict("records"):
        evidence, share = Evidence(row["cell_grokked"], row["cell_failed"]), row["step"] / 512
        if row["decision"] != "resumed":
            assert parks(share, evidence, parked_before=row["trial_id"] in before, parameters=PARAMETERS)
            before.add(row["trial_id"])
        else:
            assert share <= row["patience"]
    last = table.groupby("trial_id", observed=True).tail(1).set_index("trial_id")
    stopped = analysis.trials(parked).query("ended_because == 'stopped'")
    assert set(last.loc[stopped["trial_id"], "decision"]) <= {"parked", "given up"}


def test_the_same_command_has_nothing_left_to_do(parked: Path) -> None:
    before = len(Store(parked).cohorts())
    assert run(parked).ended_here == 0
    assert len(Store(parked).cohorts()) == before


@pytest.mark.parametrize("change", [{"parking": {**RULE, "patience": 0.9}}, {"steps": 1024}, {"stop": "none"}])
def test_a_larger_allowance_continues_where_trials_were_parked(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "one")
    ended = analysis.trials(tmp_path / "one").set_index("trial_id")["ended_at_step"]
    asked = specification(tmp_path / "one", **change)
    trained: list[int] = []
    step = CohortTraining.step

    def counted(self: CohortTraining) -> dict[str, Any]:
        result = step(self)
        trained.append(result["trained_steps"])
        return result

    monkeypatch.setattr(CohortTraining, "step", counted)
    sweep.run_here(asked, progress=NoProgress())
    newest = Store(tmp_path / "one").cohorts()[-1]
    assert newest.adopts
    now = analysis.trials(tmp_path / "one").set_index("trial_id")["ended_at_step"]
    assert sum(trained) < now.sum()
    run(tmp_path / "whole", stop="none", steps=asked.steps)
    assert_rows_of(rows(tmp_path / "one"), rows(tmp_path / "whole"))
    assert (now >= ended).all()
    # Seeds that were given up before are no evidence against themselves, nor against each other.
    assert (now > ended).sum() >= 3


def test_trials_begin_anew_where_the_checkpoint_is_damaged(tmp_path: Path, unstopped: pd.DataFrame) -> None:
    run(tmp_path)
    for file in (tmp_path / "checkpoints").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-7])
    run(tmp_path, stop="none")
    assert_rows_of(rows(tmp_path), unstopped)
    assert len(rows(tmp_path)) == len(unstopped)


def test_a_cohort_that_died_while_trials_were_parked_is_continued(
    tmp_path: Path, unstopped: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_training, "REPORT_BLOCKS", 2)
    monkeypatch.setattr(cohort_training, "RESULT_EVERY_S", 0.0)
    step = CohortTraining.step
    states = []

    def dies(self: CohortTraining) -> dict[str, Any]:
        result = step(self)
        states.append(decode(self._run.save()))
        if states[-1].parked and len(states) % 3 == 0 and not result["done"]:
            raise MemoryError("not one of torch's")
        return result

    monkeypatch.setattr(CohortTraining, "close", lambda _: None)
    monkeypatch.setattr(CohortTraining, "step", dies)
    deaths = 0
    for _ in range(20):
        try:
            run(tmp_path)
            break
        except MemoryError:
            deaths += 1
    assert deaths >= 2
    assert_rows_of(rows(tmp_path), unstopped)
    assert set(analysis.trials(tmp_path)["ended_because"]) <= {"stopped", "budget", "grokked"}


def test_evidence_comes_from_cohorts_that_share_cells(tmp_path: Path) -> None:
    run(tmp_path, seeds=[0, 1])
    first = Store(tmp_path).cohorts()
    run(tmp_path, seeds=[0, 1, 2])
    new = [one.cohort_id for one in Store(tmp_path).cohorts() if one not in first]
    book = EvidenceBook(str(tmp_path))
    (cohort_id,) = new
    assert book.shared_with(cohort_id) == sorted(one.cohort_id for one in first)
    known = book.read(book.shared_with(cohort_id))
    ids = {trial.trial_id for one in first for trial in one.trials}
    assert {trial_id for cell in known.values() for trial_id in cell} <= ids
    table = decisions(tmp_path)
    late = table[~table["trial_id"].isin(ids)]
    cells = {trial.trial_id: trial.cell_id for one in Store(tmp_path).cohorts() for trial in one.trials}
    for row in late.to_dict("records"):
        assert row["cell_failed"] >= list(known.get(cells[row["trial_id"]], {}).values()).count("failed")


def test_seeds_of_a_setting_are_in_one_cohort_first_seeds_first(parked: Path) -> None:
    cohorts = Store(parked).cohorts()
    homes = {trial.cell_id: one.cohort_id for one in cohorts for trial in one.trials}
    assert all(homes[trial.cell_id] == one.cohort_id for one in cohorts for trial in one.trials)
    for one in cohorts:
        seeds = [trial.seed for trial in one.trials]
        assert seeds == sorted(seeds)


def test_trials_are_parked_only_where_they_are_evaluated_between_blocks() -> None:
    with pytest.raises(sweep.SpecificationError, match="stop: park, the usual rule, needs schedule: default"):
        SweepConfig(schedule="paper")
    assert SweepConfig(stop="decline", schedule="paper").schedule == "paper"


def test_the_cell_is_the_settings_without_seed_and_budget() -> None:
    assert TrialConfig(seed=1).cell_id == TrialConfig(seed=2, steps=77).cell_id
    assert TrialConfig(seed=1).cell_id != TrialConfig(seed=1, weight_decay=0.5).cell_id


def test_stopped_trials_are_followed_until_the_certificate_is_met(tmp_path: Path, unstopped: pd.DataFrame) -> None:
    summary = run(tmp_path, certify={"lost": 0.05, "allowance": 1.0})
    # Without a grokker nothing is certain until every stopped trial was followed.
    assert summary.parked is not None
    assert "Certified: at most 0 % of the trials that would have grokked were stopped (6 audited)" in summary.parked
    assert_rows_of(rows(tmp_path), unstopped)
    assert len(rows(tmp_path)) == len(unstopped)
    trials = analysis.trials(tmp_path)
    assert trials["audited"].all()
    assert set(trials["ended_because"]) == {"budget"}
    assert (trials["marked_at_step"] < 512).all()
    assert set(trials["stop_rule"]) == {PARAMETERS.name}
    assert run(tmp_path, certify={"lost": 0.05, "allowance": 1.0}).ended_here == 0


def test_none_is_followed_where_that_would_cost_more_than_allowed(parked: Path) -> None:
    before = len(Store(parked).cohorts())
    summary = run(parked, certify={"lost": 0.05, "allowance": 0.5})
    assert summary.parked is not None
    assert "Not certified: needs 6 more" in summary.parked
    assert len(Store(parked).cohorts()) == before


def test_a_certificate_asked_for_later_is_made_from_what_is_there(tmp_path: Path) -> None:
    run(tmp_path)
    assert "Not certified" in str(run(tmp_path))
    summary = run(tmp_path, certify={"lost": 0.5, "confidence": 0.5, "allowance": 1.0})
    assert summary.parked is not None
    assert "Certified" in summary.parked
    assert (analysis.trials(tmp_path)["audited"]).any()


def test_a_certificate_counts_nothing_that_is_not_known_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_training, "REPORT_BLOCKS", 2)
    monkeypatch.setattr(cohort_training, "RESULT_EVERY_S", 0.0)
    run(tmp_path)
    before = len(decisions(tmp_path))
    step, steps = CohortTraining.step, list[int]()

    def dies(self: CohortTraining) -> dict[str, Any]:
        steps.append(1)
        if len(steps) in (1, 8):  # before anything was followed, and in the middle of it
            raise MemoryError("not one of torch's")
        return step(self)

    monkeypatch.setattr(CohortTraining, "step", dies)
    monkeypatch.setattr(CohortTraining, "close", lambda _: None)
    asked = {"lost": 0.05, "allowance": 1.0}
    for _ in range(2):
        with pytest.raises(MemoryError):
            run(tmp_path, certify=asked)
        stopped = stopped_trials(tmp_path)
        assert stopped is not None
        assert len(stopped.order) == 6
        assert not stopped.certificate.met
    summary = run(tmp_path, certify=asked)
    assert summary.parked is not None
    assert "Certified: at most 0 %" in summary.parked
    # What was decided before is still told of trials that continued elsewhere.
    assert len(decisions(tmp_path)) >= before
    # A larger budget is another sweep: what was drawn for the smaller one is no draw of it.
    run(tmp_path, steps=1024)
    again = stopped_trials(tmp_path)
    assert again is None or not again.drawn
