from __future__ import annotations

from pathlib import Path

import pytest

from analysis.replay.lanes import Fates
from analysis.replay.recordings import Recordings, recordings
from analysis.replay.rules import named_rule, rule_of_function
from analysis.replay.table import cells_frame, lines_frame, replay, signals_frame
from tests.analysis.replay.made import recording

DATA = Path(__file__).parents[3] / "docs" / "data"


def made() -> Recordings:
    trials = [
        recording(f"{sweep}{seed}", grok=200 if seed % 2 else None, seed=seed, sweep=sweep)
        for sweep in ("one", "two")
        for seed in range(24)
    ]
    return Recordings(trials, {"were stopped": 2})


def test_a_line_for_each_rule_and_for_each_level_of_a_family() -> None:
    rules = [named_rule("stall"), named_rule("stall(patience=0.5)"), rule_of_function("none", lambda _: None)]
    done = replay(made(), rules, alphas=(0.1, 0.01), lanes=4)
    assert [(line.rule, line.alpha) for line in done.lines] == [
        ("stall", 0.1),
        ("stall", 0.01),
        ("stall(patience=0.5)", None),
        ("none", None),
    ]
    assert done.lines[0].patience == 0.1  # no grokker ever stalls, so the boldest is admitted
    assert done.lines[1].patience is None  # 24 grokkers are too few for 1 %
    assert done.notes == [
        "2 trials are left out: they were stopped",
        "alpha 0.01 needs 99 grokkers to calibrate on, there are 24",
    ]


def test_frames_hold_the_scores() -> None:
    done = replay(made(), [named_rule("stall(patience=0.5)")], lanes=4)
    row = lines_frame(done.lines).iloc[0]
    # 24 failures of 1,000 steps stop at 550, 24 grokkers run 400 steps.
    assert row["saved"] == pytest.approx(24 * 450 / (24 * 1000 + 24 * 400))
    assert row["of_oracle"] == pytest.approx(0.45)
    assert (row["lost"], row["grokkers"], row["trials"]) == (0, 24, 48)
    assert row["lost_low"] == 0.0 < row["lost_high"] < 0.2
    by_sweep = cells_frame(done.lines)
    assert by_sweep["sweep"].tolist() == ["one", "two"]
    assert by_sweep["saved"].tolist() == [row["saved"]] * 2


def test_lost_trials_are_named() -> None:
    done = replay(made(), [rule_of_function("all at 100", lambda _: 100)])
    assert len(lines_frame(done.lines)["lost_trials"].iloc[0]) == 24


def test_signals_are_judged_on_recorded_sweeps() -> None:
    frame = signals_frame(recordings([DATA / "tasks" / "mnist", DATA / "tasks" / "sparse-parity"])).set_index(
        "signal"
    )
    assert frame.loc["validation loss", "hard_at_10%"] > 0.9
    assert ((frame >= 0) & (frame <= 1)).to_numpy().all()


def test_the_shipped_recordings_give_the_same_table_as_the_documentation() -> None:
    """Hold the rule of today to its numbers in docs/stopping.md."""
    page = (DATA.parent / "stopping.md").read_text(encoding="utf-8")
    done = replay(
        recordings([DATA]), [named_rule("decline"), named_rule("decline(patience=10)"), named_rule("park")]
    )
    for line in done.lines:
        one = line.score
        level = "" if line.alpha is None else f"{line.alpha:g}"
        stated = f"| `{line.rule}` | {level} | {one.saved:.1%} |"
        assert stated in page
        assert f"| {len(one.lost)} of {one.grokkers} |" in page
        if line.rule == "park" and line.alpha == 0.01:
            assert all(f"`{trial_id}`" in page for trial_id in one.lost)


def test_the_held_out_sweep_gives_the_same_table_as_the_documentation() -> None:
    page = (DATA.parent / "stopping.md").read_text(encoding="utf-8").split("<!-- held out -->")[1]
    rules = [named_rule("decline"), *(named_rule(f"park(patience={number})") for number in (0.48, 0.26, 0.2, 0.16))]
    done = replay(recordings([DATA.parent / "held_out"]), rules)
    assert [len(line.score.lost) for line in done.lines] == [0, 0, 2, 11, 12]
    for line in done.lines:
        one = line.score
        assert f"| `{line.rule}` |  | {one.saved:.1%} | {one.of_oracle:.0%} | {one.of_hard_oracle:.0%} |" in page
    (lost,) = (line.score.lost for line in done.lines if "0.26" in line.rule)
    assert all(f"`{trial_id}`" in page for trial_id in lost)


def test_a_rule_sees_each_sweep_by_itself() -> None:
    seen: list[set[str]] = []

    def spy(trials: object, lanes: int) -> Fates:
        seen.append({trial.sweep for trial in trials})  # type: ignore[attr-defined]
        rule = named_rule("stall(patience=0.5)").rule
        assert rule is not None
        return rule(trials, lanes)  # type: ignore[arg-type]

    from analysis.replay.rules import NamedRule

    replay(made(), [NamedRule("spy", spy, None)])
    assert seen == [{"one"}, {"two"}]
