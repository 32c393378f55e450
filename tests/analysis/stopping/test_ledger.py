from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import AnalysisError, NewerResults
from analysis.stopping.calibration import Calibration
from analysis.stopping.ledger import (
    EVIDENCE,
    SHIPPED,
    GivenUp,
    RecordedSweep,
    RecordedTrial,
    Settings,
    counted_once,
    read_ledger,
    write_ledger,
)
from tests.analysis.stopping.made import failure, grokker, recorded

SHARES = st.floats(0, 1) | st.just(math.inf)


@st.composite
def trials(draw: st.DrawFn) -> RecordedTrial:
    chosen = Settings(draw(st.floats(0, 10)), draw(st.floats(0, 1)), draw(st.floats(0, 10)))
    name = draw(st.text(max_size=8))
    if draw(st.booleans()):
        patiences = draw(st.tuples(SHARES, SHARES, SHARES))
        return RecordedTrial(name, chosen, 1000, draw(st.floats(0, 99)), draw(st.floats(100, 1000)), patiences)
    return RecordedTrial(name, chosen, 1000, draw(st.just(math.nan) | st.floats(0, 99)), math.nan)


@settings(max_examples=20)  # each is synced to the disk
@given(st.lists(st.tuples(st.text(), st.lists(trials(), max_size=3)), max_size=3))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, named: list[tuple[str, list]]) -> None:  # type: ignore[type-arg]
    sweeps = [RecordedSweep(name, tuple(each), 0.3, {EVIDENCE[0]: GivenUp(3, 1)}) for name, each in named]
    file = tmp_path_factory.mktemp("ledger") / "mine.json"
    write_ledger(file, sweeps)
    assert repr(read_ledger(file)) == repr(tuple(sweeps))  # NaN is not equal to itself


def test_a_trial_counts_once_in_the_largest_sweep() -> None:
    one, other = [failure(name) for name in "abcd"], [failure(name) for name in "cdxyz"]
    assert [[trial.trial_id for trial in own] for own in counted_once([one, other])] == [list("ab"), list("cdxyz")]
    assert counted_once([one, one]) == [one, []]
    assert counted_once([]) == []


def test_sweeps_that_share_some_trials_are_not_the_same() -> None:
    """Half of a study's trials may be in a later and larger sweep, which does not replace it."""
    study = RecordedSweep("study", tuple(failure(f"s{n}") for n in range(10)))
    large = RecordedSweep("large", tuple(failure(f"s{n}") for n in range(5, 45)))
    assert not study.is_same_as(large)
    assert study.is_same_as(RecordedSweep("grown", (*study.trials, *(failure(f"n{n}") for n in range(40)))))
    both = Calibration((study,)).with_sweeps([large])
    assert [len(one.trials) for one in both.sweeps] == [5, 40]
    assert both.with_sweeps([study, large]) == both


def test_a_fingerprint_is_of_the_trials_only() -> None:
    one = recorded("a", [0.1, 0.2])
    assert dataclasses.replace(one, name="b", trials=one.trials[::-1]).fingerprint == one.fingerprint
    assert recorded("a", [0.1, 0.2, 0.3]).fingerprint != one.fingerprint


def written(tmp_path: Path, **changes: object) -> Path:
    file = tmp_path / "mine.json"
    write_ledger(file, [RecordedSweep("a", (grokker("g", 0.2), failure("f")))])
    plain = json.loads(file.read_text())
    trial = plain["sweeps"][0]["trials"][0]
    for name, value in changes.items():
        target = plain if name in plain else trial if name in trial else plain["sweeps"][0]
        if value is ...:
            del target[name]
        else:
            target[name] = value
    file.write_text(json.dumps(plain))
    return file


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sweeps": 3}, "not iterable"),
        ({"sweeps": ...}, "'sweeps' is missing"),
        ({"format": "new"}, "its format is 'new'"),
        ({"grok_step": "soon"}, "could not convert"),
        ({"grok_step": None}, "trial g must have 3 patiences exactly if it grokked"),
        ({"budget_steps": ...}, "'budget_steps' is missing"),
        ({"trial_id": "h"}, "do not match its fingerprint"),
        ({"given_up": {"nothing": [1, 2]}}, "given_up of a is no count"),
    ],
)
def test_a_damaged_ledger_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    file = written(tmp_path, **changes)
    with pytest.raises(AnalysisError, match="is damaged") as caught:
        read_ledger(file)
    assert reason in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    with pytest.raises(AnalysisError, match="cannot be read: No such file"):
        read_ledger(file)
    for data in (b"", b"[]", b"\xff\xfe", SHIPPED.read_bytes()[:5000]):
        file.write_bytes(data)
        with pytest.raises(AnalysisError, match=r"mine.json must be a ledger .* is damaged"):
            read_ledger(file)


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NewerResults, match="format 9, which a newer version of grokking-sweep wrote"):
        read_ledger(written(tmp_path, format=9))


def test_a_ledger_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.json").mkdir()
    with pytest.raises(AnalysisError, match=r"mine.json cannot be written"):
        write_ledger(tmp_path / "mine.json", [])
