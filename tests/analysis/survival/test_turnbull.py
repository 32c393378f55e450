from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.survival.life_table import life_table
from analysis.survival.turnbull import Distribution, innermost_intervals, turnbull

DATA = Path(__file__).parents[2] / "data" / "survival"
INTERVALS = pd.read_csv(DATA / "intervals.csv")
SETS = tuple(INTERVALS["set"].unique())

Floats = NDArray[np.float64]


def records(name: str) -> tuple[Floats, Floats, Floats]:
    """The intervals of a data set, and their weights."""
    own = INTERVALS[INTERVALS["set"] == name]
    return own["after"].to_numpy(float), own["at"].fillna(np.inf).to_numpy(float), own["weight"].to_numpy(float)


def survival(curve: Distribution, steps: Floats) -> Floats:
    return 1 - curve.known_by(steps)


@pytest.mark.parametrize("name", SETS)
def test_it_is_what_surpyval_finds(name: str) -> None:
    theirs = pd.read_csv(DATA / "surpyval.csv").query("set == @name and step < inf")
    curve = turnbull(*records(name))
    ours = survival(curve, theirs["step"].to_numpy())
    assert ours == pytest.approx(theirs["survival"].to_numpy(), abs=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_it_is_what_r_finds_and_at_least_as_likely(name: str) -> None:
    # R puts mass in the middle of an interval, and stops early where intervals overlap.
    theirs = pd.read_csv(DATA / "turnbull.csv").query("set == @name")
    curve = turnbull(*records(name))
    has_mass = curve.mass > 1e-3
    middles = ((curve.after + curve.at) / 2)[has_mass & np.isfinite(curve.at)]
    past = survival(curve, curve.at[has_mass & np.isfinite(curve.at)])
    place = np.searchsorted(theirs["step"].to_numpy(), middles - 0.01)
    assert theirs["step"].to_numpy()[place] == pytest.approx(middles)
    tolerance = 1e-9 if name == "grid" else 0.007
    assert theirs["survival"].to_numpy()[place] == pytest.approx(past, abs=tolerance)


@st.composite
def interval_sets(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Any intervals with whole ends, and weights."""
    n = draw(st.integers(1, 12))
    after = np.array(draw(st.lists(st.integers(0, 12), min_size=n, max_size=n)), dtype=float)
    long = draw(st.lists(st.sampled_from([1, 2, 3, 5, np.inf]), min_size=n, max_size=n))
    weight = draw(st.lists(st.sampled_from([0.25, 1.0, 3.0]), min_size=n, max_size=n))
    return after, after + np.array(long), np.array(weight)


def by_em(after: Floats, at: Floats, weight: Floats, steps: int) -> tuple[Floats, Floats, Floats]:
    """Turnbull's own algorithm, written as in the paper."""
    ends = sorted([(value, 1, "left") for value in after] + [(value, 0, "right") for value in at])
    inner = [(one[0], other[0]) for one, other in pairwise(ends) if one[2] == "left" and other[2] == "right"]
    mass = [1 / len(inner)] * len(inner)
    for _ in range(steps):
        counts = [0.0] * len(inner)
        for left, right, times in zip(after, at, weight, strict=True):
            inside = [left <= q and p <= right for q, p in inner]
            total = sum(m for m, held in zip(mass, inside, strict=True) if held)
            for j, held in enumerate(inside):
                counts[j] += times * mass[j] * held / total
        mass = [one / sum(counts) for one in counts]
    return np.array([q for q, _ in inner]), np.array([p for _, p in inner]), np.array(mass)


def log_likelihood(curve: Distribution, after: Floats, at: Floats, weight: Floats) -> float:
    held = (after[:, None] <= curve.after) & (curve.at <= at[:, None])
    return float(weight @ np.log(held @ curve.mass))


@given(interval_sets())
def test_it_is_as_likely_as_many_steps_of_em(sets: tuple[Floats, Floats, Floats]) -> None:
    curve = turnbull(*sets)
    begin, end, mass = by_em(*sets, 200)
    assert curve.after.tolist() == begin.tolist()
    assert curve.at.tolist() == end.tolist()
    assert curve.mass.sum() == pytest.approx(1)
    slow = log_likelihood(Distribution(begin, end, mass), *sets)
    assert log_likelihood(curve, *sets) >= slow - 1e-8
    # No mass moved to another interval makes it likelier: the estimate is the largest of a concave function.
    held = (sets[0][:, None] <= begin) & (end <= sets[1][:, None])
    assert (sets[2] @ (held / (held @ curve.mass)[:, None]) / sets[2].sum()).max() <= 1 + 1e-8


@given(st.data())
def test_on_a_shared_grid_it_is_the_life_table(data: st.DataObject) -> None:
    grid = np.array([0.0, 32, 64, 96, 160, 256])
    n = data.draw(st.integers(1, 20))
    place = np.array(data.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n)))
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    weight = np.array(data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=n, max_size=n)))
    after, at = np.where(seen, grid[place - 1], grid[place]), np.where(seen, grid[place], np.inf)
    table = life_table(at, after, weight)
    curve = turnbull(after, at, weight)
    followed = table.at_risk > 0
    assert survival(curve, table.step)[followed] == pytest.approx(table.survival[followed], abs=1e-9)


def test_innermost_intervals_touch_and_do_not_overlap() -> None:
    begin, end = innermost_intervals(np.array([0.0, 1, 1, 4]), np.array([1.0, 3, 2, np.inf]))
    assert list(zip(begin, end, strict=True)) == [(0, 1), (1, 2), (4, np.inf)]


def test_quantiles_are_intervals_and_the_median_of_an_even_number_is_the_lower_one() -> None:
    curve = turnbull([0, 32, 64, 128], [32, 64, np.inf, np.inf])
    assert curve.quantile(0.5) == (32, 64)
    assert curve.quantile(0.51) == (128, np.inf)
    assert curve.known_by([31, 32, 64]).tolist() == pytest.approx([0, 0.25, 0.5])


def test_what_is_no_interval_is_refused() -> None:
    with pytest.raises(AnalysisError, match="after < at"):
        turnbull([1], [1])
    with pytest.raises(AnalysisError, match="weights"):
        turnbull([1], [2], [0])
