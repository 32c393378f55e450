from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from analysis.errors import AnalysisError
from analysis.replay.lanes import LANES, parking, unstopped
from analysis.replay.recorded_sweeps import critical_patiences, given_up, grown, recorded_sweep
from analysis.replay.recordings import recordings_of
from analysis.replay.score import score
from analysis.stopping.calibration import Calibration
from analysis.stopping.ledger import GivenUp
from analysis.stopping.parking import ParkingParameters
from tests.analysis.folder import Folder, end, row
from tests.analysis.replay.made import recording
from trainables.config import TrialConfig

DATA = Path(__file__).parents[3] / "docs" / "data"


@pytest.mark.parametrize("name", ["tasks/mnist", "tasks/permutations"])
def test_the_shipped_ledger_is_what_the_recordings_say(name: str) -> None:
    (shipped,) = (one for one in Calibration.load().sweeps if one.name == name)
    trials = recordings_of(str(DATA / name)).trials
    again = recorded_sweep(name, trials)
    assert repr(again.trials) == repr(shipped.trials)
    assert given_up(trials, shipped.given_up_at) == shipped.given_up
    assert shipped.given_up_at == Calibration.load().patience()


def test_the_shipped_ledger_has_every_recorded_sweep() -> None:
    shipped = Calibration.load()
    folders = {mark.parent.relative_to(DATA).as_posix() for mark in DATA.rglob("cohorts")}
    assert {one.name for one in shipped.sweeps} == {*folders, "held_out"}
    assert (len(shipped.sweeps), len(shipped.grokkers), len(shipped.trials)) == (12, 295, 742)


def test_a_critical_patience_keeps_its_grokker_with_all_more_patient_numbers() -> None:
    # Stalls at 300 to 450, since its loss falls until 250 only and again from 450 on; groks at 500.
    late = recording("late", grok=500, last_fall=250, seed=1)
    trials = [recording("quick", grok=100, cell="b"), late, recording("f", cell="c")]
    critical = critical_patiences(trials, "loss and complexity")
    assert set(critical) == {"quick", "late"}
    assert critical["quick"] == 0.1

    def lost(patience: float) -> tuple[str, ...]:
        fates = parking(ParkingParameters(patience=patience))(trials, LANES)
        return score(trials, fates, unstopped(trials, LANES)).lost

    at = critical["late"]
    assert 0.3 < at < 0.6
    assert lost(at) == ()
    assert lost(round(at - 0.01, 2)) == ("late",)


def test_a_grokker_that_no_patience_keeps_has_an_infinite_one() -> None:
    # Two hard failures that end soon leave a tenth of every patience.
    late = recording("late", grok=900, last_fall=0, seed=9)
    trials = [recording("f0", budget=100), recording("f1", budget=100, seed=1), late]
    rule = critical_patiences(trials, "loss and complexity")
    assert rule == {"late": math.inf}


def test_trials_are_given_up_by_what_is_known_then() -> None:
    trials = [recording("a", cell="a"), *(recording(f"b{seed}", cell="b", seed=seed) for seed in range(9))]
    counts = given_up(trials, 0.5)
    # The eight that began first were given up together, so each of them knows of seven failures or more.
    assert counts == {"nothing": GivenUp(1, 0), "two or more hard failures": GivenUp(9, 0)}


def test_a_sweep_is_added_once_whatever_its_name(tmp_path: Path) -> None:
    shutil.copytree(DATA / "tasks" / "mnist", tmp_path / "mine")
    shipped = Calibration.load()
    calibration, (added,), notes = grown(shipped, [tmp_path / "mine"])
    assert (added.name, len(added.trials), notes) == ("mine", 8, [])
    assert len(calibration.trials) == len(shipped.trials)
    assert calibration.patience() == shipped.patience()


@pytest.mark.parametrize("because", ["stopped", "failed", None])
def test_a_sweep_of_which_late_grokkers_may_be_missing_is_left_out(tmp_path: Path, because: str | None) -> None:
    """Early grokkers alone would look as if little patience were enough."""
    folder = Folder(tmp_path / "mine")
    early, late = TrialConfig(seed=0), TrialConfig(seed=1)
    cohort = folder.cohort(0, [early, late])
    ends = [end(early, cohort), *([end(late, cohort, because)] if because else [])]
    folder.report(cohort, 0, 0, rows=[row(one, step) for one in (early, late) for step in (0, 64)], trials=ends)
    with pytest.raises(AnalysisError, match=r"a calibration needs a sweep .* late groks are missing: 1 "):
        grown(Calibration.load(), [tmp_path])
