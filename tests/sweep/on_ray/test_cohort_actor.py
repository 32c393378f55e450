"""A cohort's process: its reports, its checkpoints, and what is left when it dies anywhere."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

import analysis
from analysis.checks.reports import parse_report
from sweep.on_ray.cohort_actor import CohortTrainable
from sweep.plan.plan import plan, record
from sweep.results.cohort import KeepNetworks
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training.cohort_training import STEP_BLOCKS
from sweep.training.watch import TrialWatch, thresholds_of
from tests.sweep.tables import assert_same_tables, tables
from tests.trainables.little_room import Room, of_torch
from trainables.lanes import LaneRun, device, step, train
from trainables.lanes.checkpoint import FORMAT_VERSION
from trainables.measurement import Measurement
from trainables.schedule import whole_blocks
from trainables.seal import sealed

REPORT_BLOCKS = 2 * STEP_BLOCKS


def specification(results: Path) -> SweepConfig:
    return SweepConfig(
        name="tiny",
        task={"modulus": 7},
        model={"kind": "mlp", "width": 8, "layers": 1},
        weight_decay=[0.0, 1.0],
        data_fraction=[0.4, 0.8],
        batch_size=8,
        steps=320,
        measure_ratio=8.0,
        lanes=2,
        stop="decline",
        decline={"patience": 2, "memorise_within": 0.2, "minimum_measurements": 1},
        audit_share=0.5,
        results=str(results),
    )


def recorded(results: Path, cohorts: int = 1, lanes: int = 2) -> list[str]:
    """Make a results folder with cohorts of the four trials, nothing run; return the cohorts' ids."""
    config, store = specification(results), Store(results)
    decided = plan(config, store)
    new = [
        dataclasses.replace(
            decided.new[0],
            cohort_id=f"c{index:04d}-00000000",
            index=index,
            lanes=lanes,
            trials=tuple(decided.trials[index::cohorts]),
        )
        for index in range(cohorts)
    ]
    record(dataclasses.replace(decided, new=new), config, store)
    return [cohort.cohort_id for cohort in new]


def actor(results: Path, cohort_id: str, result_every_s: float = 0) -> CohortTrainable:
    """The trainable as Tune makes it, less Tune's own folders."""
    trainable = CohortTrainable.__new__(CohortTrainable)
    trainable.setup(
        {"cohort": cohort_id},
        results=str(results),
        report_blocks=REPORT_BLOCKS,
        result_every_s=result_every_s,
    )
    return trainable


def steps_of(trainable: CohortTrainable) -> Iterator[dict[str, Any]]:
    while True:
        result = trainable.step()
        yield result
        if result["done"]:
            return


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("undisturbed")
    [cohort_id] = recorded(results)
    list(steps_of(actor(results, cohort_id)))
    return results


def test_rows_are_those_of_the_trials_trained_by_themselves(undisturbed: Path) -> None:
    [cohort] = Store(undisturbed).cohorts()
    thresholds = thresholds_of(cohort.measuring, cohort.trials[0].task)
    watch = TrialWatch(cohort.decline, cohort.audit_share, thresholds)
    expected = [m for trial in cohort.trials for m in train([trial], watch, measuring=cohort.measuring)]
    expected.sort(key=lambda m: (m.trial_id, m.step))

    read_back = tables(undisturbed)
    assert len(read_back["rows"]) == len(expected)
    for name in ("trial_id", "step", "train_loss", "val_accuracy", "l2_norm", "zstd_bytes"):
        assert read_back["rows"][name].tolist() == [getattr(m, name) for m in expected]
    ends = {m.trial_id: m.end.ending.because for m in expected if m.end is not None}
    assert dict(zip(read_back["trials"]["trial_id"], read_back["trials"]["ended_because"], strict=True)) == ends
    assert "stopped" in ends.values()


def test_audited_trials_are_marked(undisturbed: Path) -> None:
    trials = tables(undisturbed)["trials"]
    audited = trials[trials["audited"]]
    assert (trials.loc[~trials["audited"], "marked_at_step"].isna()).all()
    assert (audited["ended_because"] != "stopped").all()
    assert audited["marked_at_step"].notna().any()


def test_results_for_the_driver_add_up(tmp_path: Path) -> None:
    [cohort_id] = recorded(tmp_path)
    cohort = Store(tmp_path).cohort(cohort_id)
    budgets = {trial.trial_id: trial.steps for trial in cohort.trials}

    results = list(steps_of(actor(tmp_path, cohort_id)))

    ended: dict[str, Any] = {}
    for result in results:
        ended |= result["ended"]
    assert ended.keys() == budgets.keys()
    assert sum(result["trained_steps"] for result in results) == sum(step for _, step in ended.values())
    remaining = [result["remaining_steps"] for result in results]
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[0] == sum(budgets.values()) - results[0]["trained_steps"] or results[0]["ended"]
    assert (remaining[-1], results[-1]["running"]) == (0, 0)
    assert max(result["running"] for result in results) == cohort.lanes
    assert {result["failure"] for result in results} == {None}


def test_results_may_be_rarer_than_reports(undisturbed: Path, tmp_path: Path) -> None:
    [cohort_id] = recorded(tmp_path)
    [result] = steps_of(actor(tmp_path, cohort_id, result_every_s=1000))

    ended = tables(undisturbed)["trials"]
    reasons = zip(ended["ended_because"], ended["ended_at_step"].tolist(), strict=True)
    assert result["ended"] == dict(zip(ended["trial_id"], reasons, strict=True))
    assert result["trained_steps"] == ended["ended_at_step"].sum()
    assert (result["running"], result["remaining_steps"]) == (0, 0)
    assert_same_tables(tmp_path, undisturbed)
    names = [{path.name for path in (results / "tables" / "rows").iterdir()} for results in (undisturbed, tmp_path)]
    assert names[0] == names[1]


def test_reports_are_counted_and_never_timed(undisturbed: Path, tmp_path: Path) -> None:
    [cohort_id] = recorded(tmp_path)
    list(steps_of(actor(tmp_path, cohort_id)))
    names = [
        sorted(path.name for path in (results / "tables" / "rows").iterdir()) for results in (undisturbed, tmp_path)
    ]
    assert names[0] == names[1]
    (report,) = map(parse_report, names[0])
    assert report is not None
    assert len(report.numbers) >= 3


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_stopped_in_good_order_nothing_is_trained_twice(undisturbed: Path, tmp_path: Path, steps: int) -> None:
    [cohort_id] = recorded(tmp_path)
    first = actor(tmp_path, cohort_id)
    results = [first.step() for _ in range(steps)]
    first.cleanup()
    results += steps_of(actor(tmp_path, cohort_id))

    assert_same_tables(tmp_path, undisturbed)
    trained = sum(result["trained_steps"] for result in results)
    assert trained == tables(undisturbed)["trials"]["ended_at_step"].sum()


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_process_that_dies_loses_nothing(undisturbed: Path, tmp_path: Path, steps: int) -> None:
    """Whether or not it has written a checkpoint; and if it only seemed dead, it may continue to write."""
    [cohort_id] = recorded(tmp_path)
    first = actor(tmp_path, cohort_id)
    for _ in range(steps):
        assert not first.step()["done"]

    second = actor(tmp_path, cohort_id)
    second_steps = steps_of(second)
    next(second_steps)
    for _ in range(3):
        if not first.step()["done"]:
            next(second_steps, None)
    list(second_steps)

    assert_same_tables(tmp_path, undisturbed)


def test_it_may_die_between_the_tables_and_the_checkpoint(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [cohort_id] = recorded(tmp_path)
    with monkeypatch.context() as fault:
        write_checkpoint = Store.write_checkpoint

        def fails_the_second_time(store: Store, cohort_id: str, attempt: int, report: int, data: bytes) -> None:
            if report == 1:
                raise OSError("the network is gone")
            write_checkpoint(store, cohort_id, attempt, report, data)

        fault.setattr(Store, "write_checkpoint", fails_the_second_time)
        with pytest.raises(OSError, match="the network is gone"):
            list(steps_of(actor(tmp_path, cohort_id)))
    assert len(list((tmp_path / "tables" / "rows").iterdir())) == 2

    list(steps_of(actor(tmp_path, cohort_id)))
    assert_same_tables(tmp_path, undisturbed)


def test_an_error_while_training_leaves_no_hole(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune lets a process tidy up after an error, too, and then the lanes are ahead of what was reported."""
    [cohort_id] = recorded(tmp_path)
    first = actor(tmp_path, cohort_id)
    first.step()
    advance = LaneRun.advance

    def fails_at_the_end(run: LaneRun, blocks: int) -> list[Measurement]:
        advance(run, blocks)
        raise RuntimeError("out of memory")

    with monkeypatch.context() as fault:
        fault.setattr(LaneRun, "advance", fails_at_the_end)
        with pytest.raises(RuntimeError, match="out of memory"):
            first.step()
    first.cleanup()

    list(steps_of(actor(tmp_path, cohort_id)))
    assert_same_tables(tmp_path, undisturbed)


@pytest.mark.parametrize(("calls", "before", "after"), [(0, 4, 2), (40, 4, 2), (200, 3, 1)])
def test_out_of_memory_it_goes_on_with_half_the_lanes(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, before: int, after: int
) -> None:
    """At once, before the first report, and after it, where one trial has ended."""
    [cohort_id] = recorded(tmp_path, lanes=4)
    monkeypatch.setattr(step, "loss_gradient", Room(step.loss_gradient, 2, 2, of_torch, calls))
    trainable = actor(tmp_path, cohort_id)
    results = list(steps_of(trainable))
    notes = [result["note"] for result in results if result["note"]]
    assert notes == [f"memory ran out with {before} lanes; it resumes from its last report with {after}"]
    assert {result["failure"] for result in results} == {None}
    assert_same_tables(tmp_path, undisturbed)


def test_out_of_memory_with_one_lane_the_cohort_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [cohort_id] = recorded(tmp_path, lanes=4)
    monkeypatch.setattr(step, "loss_gradient", Room(step.loss_gradient, 2, 0, of_torch, 0))
    results = list(steps_of(actor(tmp_path, cohort_id)))
    assert [result["done"] for result in results] == [False, False, True]
    assert results[-1]["failure"].startswith("OutOfMemory: memory ran out with a single lane; choose")


def test_out_of_memory_before_the_first_step(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [cohort_id] = recorded(tmp_path, lanes=4)
    monkeypatch.setattr(device, "LaneSettings", Room(device.LaneSettings, 0, 2, of_torch, 0))
    results = list(steps_of(actor(tmp_path, cohort_id)))
    assert "with 2" in results[0]["note"]
    assert results[0]["trained_steps"] > 0
    assert_same_tables(tmp_path, undisturbed)


def test_a_penalty_starts_where_the_analysis_sees_the_decline_whoever_dies(tmp_path: Path) -> None:
    config = SweepConfig(
        task={"modulus": 7},
        model={"kind": "mlp", "width": 8, "layers": 1},
        data_fraction=0.6,
        learning_rate=0.06,
        batch_size=8,
        spectral_entropy_weight=0.1,
        spectral_start=[100, "at_decline"],
        seeds=[0, 1, 4],
        steps=480,
        measure_ratio=1.3,
        memorised_at=0.5,
        stop="none",
        lanes=3,
    )
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for results in (undisturbed, killed):
        decided = plan(config, Store(results), parallel=1)
        [cohort] = [dataclasses.replace(decided.new[0], trials=tuple(decided.trials))]
        record(dataclasses.replace(decided, new=[cohort]), config, Store(results))
        while results == killed:
            dies = actor(results, cohort.cohort_id)
            if any(dies.step()["done"] for _ in range(3)):
                break
        list(steps_of(actor(results, cohort.cohort_id)))
    assert_same_tables(killed, undisturbed)

    onset = analysis.events(analysis.load(undisturbed)).set_index("trial_id")["decline_onset_step"]
    measured = analysis.complexity(undisturbed)
    trials = analysis.trials(undisturbed)
    began = trials.set_index("trial_id")["spectral_started_at_step"]
    waited = trials.loc[trials["spectral_start"] == "at_decline", "trial_id"]
    for trial_id in waited:
        steps = measured.loc[measured["trial_id"] == trial_id, "step"]
        second = steps[steps > onset[trial_id]].min()
        late = math.isnan(onset[trial_id]) or second == config.steps
        assert math.isnan(began[trial_id]) if late else began[trial_id] == whole_blocks(second)
    assert began[waited].notna().any()
    assert (began.drop(waited) == 128).all()


@pytest.mark.parametrize("keep", ["none", "final", "measured"])
def test_networks_nobody_keeps_do_not_wait_in_memory(tmp_path: Path, keep: KeepNetworks) -> None:
    config, store = specification(tmp_path).model_copy(update={"keep_networks": keep}), Store(tmp_path)
    record(plan(config, store, parallel=1), config, store)
    trainable = actor(tmp_path, store.cohorts()[0].cohort_id)
    trainable.step()
    waiting = [m for m in trainable._training._unreported if m.network is not None]
    assert all(m.end is not None or keep == "measured" for m in waiting)
    assert bool(waiting) is (keep == "measured")


def test_a_finished_cohort_is_finished(undisturbed: Path, tmp_path: Path) -> None:
    results = tmp_path / "copy"
    shutil.copytree(undisturbed, results)
    [cohort] = Store(results).cohorts()
    outcome = list(steps_of(actor(results, cohort.cohort_id)))
    assert len(outcome) == 1
    assert (outcome[0]["ended"], outcome[0]["trained_steps"], outcome[0]["failure"]) == ({}, 0, None)
    assert_same_tables(results, undisturbed)


def test_one_process_takes_one_cohort_after_the_other(undisturbed: Path, tmp_path: Path) -> None:
    first, second = recorded(tmp_path, cohorts=2)
    trainable = actor(tmp_path, first)
    list(steps_of(trainable))
    assert trainable.reset_config({"cohort": second})
    list(steps_of(trainable))
    assert_same_tables(tmp_path, undisturbed)


def test_what_a_retry_cannot_cure_is_said_and_not_raised(tmp_path: Path) -> None:
    [cohort_id] = recorded(tmp_path)
    result = actor(tmp_path, "c0009-00000000").step()
    assert result["done"]
    assert "StoreError" in result["failure"]
    assert "c0009-00000000" in result["failure"]

    trainable = actor(tmp_path, cohort_id)
    for _ in range(REPORT_BLOCKS // STEP_BLOCKS):
        trainable.step()
    [checkpoint] = (tmp_path / "checkpoints").glob("*.safetensors")
    sound = checkpoint.read_bytes()
    tensors = load(sound)
    state = (
        tensors["state"]
        .numpy()
        .tobytes()
        .replace(f'"format_version":{FORMAT_VERSION}'.encode(), b'"format_version":99')
    )
    checkpoint.write_bytes(sealed({**tensors, "state": torch.frombuffer(bytearray(state), dtype=torch.uint8)}))
    result = actor(tmp_path, cohort_id).step()
    assert result["done"]
    assert result["failure"].startswith(
        f"CheckpointTooNew: a checkpoint must have format version {FORMAT_VERSION} at most, got 99"
    )
    assert checkpoint.exists()


def altered(data: bytes) -> bytes:
    """Eight other bytes among the weights."""
    place = len(data) - 100
    return data[:place] + bytes(byte ^ 0x11 for byte in data[place : place + 8]) + data[place + 8 :]


@pytest.mark.parametrize(
    ("damage", "count"),
    [(altered, 1), (lambda data: data[:-9], 1), (lambda data: b"", 2)],
    ids=["altered", "cut", "both empty"],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken(
    undisturbed: Path, tmp_path: Path, damage: Callable[[bytes], bytes], count: int
) -> None:
    [cohort_id] = recorded(tmp_path)
    trainable = actor(tmp_path, cohort_id)
    for _ in range(2 * REPORT_BLOCKS // STEP_BLOCKS):
        trainable.step()
    names = [f"{cohort_id}-001-0000{report}.safetensors" for report in (1, 0)]
    for name in names[:count]:
        file = tmp_path / "checkpoints" / name
        file.write_bytes(damage(file.read_bytes()))

    again = actor(tmp_path, cohort_id)
    results = list(steps_of(again))
    notes = [result["note"] for result in results if result["note"] is not None]
    assert len(notes) == 1
    assert f"its checkpoint after report 1 was moved to set-aside/{names[0]}: a checkpoint" in notes[0]
    assert notes[0].endswith("it continues after report 0" if count == 1 else "it continues at step 0")
    assert "\n" not in notes[0]
    assert sorted(file.name for file in (tmp_path / "set-aside").iterdir()) == sorted(names[:count])
    assert_same_tables(tmp_path, undisturbed)


def test_a_checkpoint_of_other_trials_is_set_aside(undisturbed: Path, tmp_path: Path) -> None:
    first, second = recorded(tmp_path, cohorts=2)
    for cohort_id in (first, second):
        trainable = actor(tmp_path, cohort_id)
        for _ in range(REPORT_BLOCKS // STEP_BLOCKS):
            trainable.step()
    one, other = (tmp_path / "checkpoints" / f"{cohort_id}-001-00000.safetensors" for cohort_id in (first, second))
    shutil.copy(other, one)
    (note,) = (result["note"] for result in steps_of(actor(tmp_path, first)) if result["note"] is not None)
    assert "can only continue with the trials it was saved with" in note
    list(steps_of(actor(tmp_path, second)))
    assert_same_tables(tmp_path, undisturbed)
