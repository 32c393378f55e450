from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import logistic, norm

from analysis.survival.cure import model as cure
from analysis.survival.cure.laws import LAWS, Law, log_likelihoods
from analysis.survival.cure.model import CureData, fit_cure, maximise
from analysis.survival.cure.profiles import profile_interval

DATA = Path(__file__).parents[3] / "data" / "survival"
INTERVALS = pd.read_csv(DATA / "intervals.csv")
PLAIN = {"normal": norm, "logistic": logistic}

Floats = NDArray[np.float64]


def plainly(law: Law, after: float, at: float, logit: float, middle: float, log_scale: float) -> float:
    """The likelihood of a record, written down from its definition."""
    share, scale = 1 / (1 + math.exp(-logit)), math.exp(log_scale)

    def by(step: float) -> float:
        return float(PLAIN[law].cdf((math.log(step) - middle) / scale)) if step > 0 else 0.0

    return share * (by(at) - by(after)) if math.isfinite(at) else 1 - share * by(after)


numbers = st.floats(-2, 2)


@pytest.mark.parametrize("law", LAWS)
@given(
    st.sampled_from([0.0, 3.0, 40.0]),
    st.sampled_from([5.0, 60.0, math.inf]),
    numbers,
    st.floats(1, 6),
    st.floats(-1, 1),
)
def test_the_likelihood_is_its_definition_and_its_derivatives_are_differences(
    law: Law, after: float, length: float, logit: float, middle: float, log_scale: float
) -> None:
    log_after = np.array([math.log(after) if after else -math.inf])
    log_at = np.array([math.log(after + length)])
    local = np.array([[logit, middle, log_scale]])
    value, gradient, hessian = log_likelihoods(law, log_after, log_at, local)
    plain = plainly(law, after, after + length, logit, middle, log_scale)
    assume(plain > 1e-4)  # below that differences lose their digits, not the derivatives
    assert value[0] == pytest.approx(math.log(plain), rel=1e-6, abs=1e-8)
    for number in range(3):
        step = np.zeros((1, 3))
        step[0, number] = 1e-5
        above = log_likelihoods(law, log_after, log_at, local + step)
        below = log_likelihoods(law, log_after, log_at, local - step)
        assert (above[0] - below[0]) / 2e-5 == pytest.approx(gradient[:, number], rel=1e-4, abs=1e-5)
        assert ((above[1] - below[1]) / 2e-5).ravel() == pytest.approx(hessian[0, number], rel=1e-3, abs=1e-4)


def data_of(name: str, by_decay: bool) -> CureData:
    own = INTERVALS[INTERVALS["set"] == name]
    cell = own["decay"].to_numpy(np.intp) * by_decay
    design = np.array([[1.0, 0.0], [1.0, 1.0]])[: 1 + by_decay, : 1 + by_decay]
    ends = own["after"].to_numpy(float), own["at"].fillna(np.inf).to_numpy(float)
    return CureData.of(*ends, own["weight"].to_numpy(float), cell, design)


@pytest.fixture
def _without_priors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_COMMON_SD", "_CONSTANT_SD", "_SCALE_SD"):
        monkeypatch.setattr(cure, name, 1e4)


@pytest.mark.usefixtures("_without_priors")
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ["grid", "free", "weighted"])
def test_without_settings_it_is_what_surpyval_finds(name: str, law: Law) -> None:
    data = data_of(name, by_decay=False)
    (theirs,) = pd.read_csv(DATA / "cure.csv").query("set == @name and law == @law").to_dict("records")
    common, _, _ = maximise(data, law, (1e-4, 1e-4), cure._start(data), np.zeros((1, 2)))
    assert 1 / (1 + math.exp(-common[0])) == pytest.approx(theirs["share"], rel=1e-4)
    assert math.exp(common[1]) == pytest.approx(theirs["median"], rel=1e-4)
    # A log-logistic's shape is one over the logistic's scale.
    scale = theirs["shape"] if law == "normal" else 1 / theirs["shape"]
    assert math.exp(common[2]) == pytest.approx(scale, rel=1e-4)


@pytest.mark.usefixtures("_without_priors")
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ["grid", "free", "weighted"])
def test_where_all_grok_it_is_what_survreg_finds(name: str, law: Law) -> None:
    data = data_of(name, by_decay=True)
    fits = pd.read_csv(DATA / "survreg.csv").set_index(["set", "law"])
    theirs = fits.loc[(name, f"log{law}")]
    no_share = cure.replace(data, share_design=np.zeros((2, 0)))
    offset = (np.full(2, 40.0), 0.0)  # certain to grok some day
    start = np.array([6.0, 0.0, 0.0])
    common, _, _ = maximise(no_share, law, (1e-5, 1e-5), start, np.zeros((2, 2)), offset)
    assert common[:2] == pytest.approx([theirs["constant"], theirs["decay"]], rel=2e-4)
    assert math.exp(common[2]) == pytest.approx(theirs["scale"], rel=2e-4)


def planted(
    seed: int, cells: int, seeds: int, sizes: tuple[float, float] = (0.5, 0.3)
) -> tuple[CureData, Floats, Floats]:
    """Cells whose logit and log time depend on one setting, and the true local parameters."""
    generator = np.random.default_rng(seed)
    setting = np.linspace(-1, 1, cells)
    logit = 0.3 + 1.0 * setting + sizes[0] * generator.normal(size=cells)
    middle = 6.5 - 0.7 * setting + sizes[1] * generator.normal(size=cells)
    cell = np.repeat(np.arange(cells), seeds)
    steps = np.exp(middle[cell] + 0.8 * generator.normal(size=len(cell)))
    steps[generator.random(len(cell)) > 1 / (1 + np.exp(-logit[cell]))] = np.inf
    grid = np.array([0.0, *32 * 1.2 ** np.arange(34)])
    place = np.searchsorted(grid, np.minimum(steps, grid[-1]))
    seen = steps <= grid[-1]
    after = np.where(seen, grid[place - 1], grid[-1])
    at = np.where(seen, grid[place], np.inf)
    design = np.stack([np.ones(cells), setting], axis=1)
    return CureData.of(after, at, np.ones(len(cell)), cell, design), logit, middle


def test_the_maximum_is_what_a_general_optimiser_finds() -> None:
    data, _, _ = planted(1, 5, 8)
    sizes, law = (0.5, 0.3), "logistic"
    precision, penalty = 1 / np.array(sizes) ** 2, cure._penalty(data)

    def loss(point: Floats) -> float:
        common, cells = point[:5], point[5:].reshape(5, 2)
        total = 0.0
        for after, at, weight, cell in zip(data.log_after, data.log_at, data.weight, data.cell, strict=True):
            logit = data.share_design[cell] @ common[:2] + cells[cell, 0]
            middle = data.time_design[cell] @ common[2:4] + cells[cell, 1]
            total += weight * math.log(plainly(law, math.exp(after), math.exp(at), logit, middle, common[4]))
        return -total + float(penalty @ common**2 + (cells**2 @ precision).sum()) / 2

    common, cells, _ = maximise(data, law, sizes, cure._start(data), np.zeros((5, 2)))
    start = np.concatenate([cure._start(data), np.zeros(10)])
    slow = minimize(loss, start, method="BFGS", options={"gtol": 1e-4, "maxiter": 500})
    assert loss(np.concatenate([common, cells.ravel()])) <= slow.fun + 1e-6
    assert common == pytest.approx(slow.x[:5], abs=5e-3)


def test_cells_of_few_seeds_borrow_and_cells_of_many_do_not() -> None:
    """The fitted shares of cells are nearer to the truth than each cell's own count, most so for three seeds."""
    gains = []
    for seeds in (3, 60):
        own, fitted = [], []
        for seed in range(8):
            data, logit, _ = planted(seed, 12, seeds)
            truth = 1 / (1 + np.exp(-logit))
            groks = np.bincount(data.cell, data.weight * np.isfinite(data.log_at), 12)
            fit = fit_cure(data, "normal")
            own.append(np.abs(groks / seeds - truth).mean())
            fitted.append(np.abs(1 / (1 + np.exp(-fit.local[:, 0])) - truth).mean())
        gains.append(np.mean(own) / np.mean(fitted))
    assert gains[0] > 1.5
    assert 0.9 < gains[1] < gains[0]


def test_sizes_of_cells_effects_are_estimated() -> None:
    small = fit_cure(planted(3, 40, 30, (0.1, 0.05))[0], "normal").sizes
    large = fit_cure(planted(3, 40, 30, (1.2, 0.6))[0], "normal").sizes
    assert small[0] < 0.5 < large[0]
    assert small[1] < 0.2 < large[1]
    assert large == pytest.approx((1.2, 0.6), rel=0.4)


def test_local_intervals_cover() -> None:
    """The curvature's intervals of each cell's log time, which is far from any edge."""
    covered = []
    for seed in range(10):
        data, _, middle = planted(seed, 12, 10)
        fit = fit_cure(data, "normal")
        error = np.abs(fit.local[:, 1] - middle) / np.sqrt(fit.local_covariance[:, 1, 1])
        covered.append(error < 1.96)
    assert 0.9 < np.mean(covered) <= 0.99


def test_a_profile_interval_is_a_standard_error_where_there_is_much_to_see_and_open_where_there_is_not() -> None:
    fit = fit_cure(planted(1, 12, 40)[0], "normal")
    low, high = profile_interval(fit, 3)
    error = math.sqrt(fit.covariance[3, 3])
    assert (low, high) == pytest.approx(
        (fit.common[3] - 1.96 * error, fit.common[3] + 1.96 * error), abs=0.25 * error
    )
    never = np.array([np.inf] * 6)
    after = np.array([100.0, 150, 200, 250, 300, 350])
    data = CureData.of(
        np.concatenate([after, np.full(6, 4_000.0)]), np.concatenate([after * 1.2, never]), np.ones(12),
        np.repeat([0, 1], 6), np.array([[1.0, 0.0], [1.0, 1.0]]),
    )  # fmt: skip
    low, high = profile_interval(fit_cure(data, "normal"), 1)
    assert low == -math.inf
    assert high < 0
