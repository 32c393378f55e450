"""The pictures: what is in them, that they survive every kind of sweep, and that they are the same each time."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from analysis.cells import sweep_map
from analysis.events import events
from analysis.fates import representative_trials
from analysis.load import load, status
from analysis.maps import grok_map
from analysis.pictures import (
    cell_titles,
    curves_figure,
    map_figure,
    palette,
    png,
    settings_figure,
    svg,
    trajectory_figure,
)
from analysis.pictures.curves import CURVES_SHOWN
from analysis.pictures.trial_curves import mean_curve
from tests.analysis.made_up import Fate, grid, trial, usual_fate, write_sweep


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    fates = [(one, usual_fate(one)) for one in grid(data_fraction=(0.2, 0.3, 0.5), seeds=3)]
    return load(write_sweep(tmp_path_factory.mktemp("plots") / "sweep", fates))


def words(document: str) -> str:
    """The text of an SVG, in the order of drawing."""
    return " ".join(
        "".join(node.itertext()) for node in ElementTree.fromstring(document).iter() if node.tag.endswith("text")
    )


def test_one_trial_of_each_fate_is_shown(rows: pd.DataFrame) -> None:
    per_trial = events(rows)
    chosen = per_trial.set_index(per_trial["trial_id"].astype(str)).loc[representative_trials(per_trial)]
    assert list(chosen["ended_because"]) == ["grokked", "budget", "budget", "stopped"]
    assert list(chosen["memorisation_step"].notna()) == [True, True, False, True]
    grokked = per_trial[per_trial["grok_step"].notna()]
    assert sorted(grokked["delay"])[(len(grokked) - 1) // 2] == chosen["delay"].iloc[0]


def test_trajectories_name_what_is_drawn_with_units(rows: pd.DataFrame) -> None:
    text = words(svg(trajectory_figure(rows)))
    for expected in (
        "accuracy (%)", "complexity (kB)", "training step", "Grokked", "Memorised only", "Never learned",
        "Memorised, then stopped", "grok step", "memorisation step", "complexity peak", "stopped by the rule",
    ):  # fmt: skip
        assert expected in text


def test_step_zero_has_a_place_on_the_logarithmic_axis(rows: pd.DataFrame) -> None:
    axes = trajectory_figure(rows).axes[0]
    places = axes.transData.transform([(0, 0), (1, 0), (10, 0)])[:, 0]
    assert places[0] < places[1] < places[2]
    assert axes.get_xlim()[0] < 0


def test_an_unknown_trial_is_named(rows: pd.DataFrame) -> None:
    with pytest.raises(KeyError, match="no rows of trial nothing"):
        trajectory_figure(rows, ["nothing"])


def test_many_curves_are_sampled_and_the_picture_says_so(rows: pd.DataFrame) -> None:
    text = words(svg(curves_figure(rows, shown=2)))
    assert re.search(r"showing 2 of \d+ trials", text)
    assert "showing" not in words(svg(curves_figure(rows, shown=CURVES_SHOWN)))


def test_trials_whose_setting_is_empty_are_the_other_seeds_of_one_another(rows: pd.DataFrame) -> None:
    batch = rows["data_fraction"].where(rows["data_fraction"] == rows["data_fraction"].max())
    figure = trajectory_figure(rows.assign(batch_size=batch, data_fraction=0.5))
    assert "other seeds of the same setting" in words(svg(figure))


def test_every_setting_has_a_column_with_its_seeds_and_their_mean(rows: pd.DataFrame) -> None:
    figure = settings_figure(rows[rows["data_fraction"] == 0.5])
    text = words(svg(figure))
    for expected in ("weight decay 0.1", "of 3 seeds grokked", "mean of the seeds", "single seeds", "memorised at"):
        assert expected in text
    assert len(figure.axes) == 2 * 3
    assert [len(axes.lines) for axes in figure.axes] == [8, 4] * 3  # training and validation, and complexity
    settings_figure(rows[rows["trial_id"] == rows["trial_id"].iloc[0]])


def test_the_mean_curve_is_interpolated_and_ends_with_the_first_seed() -> None:
    long = pd.DataFrame({"step": [0, 3, 9], "x": [0.0, 2.0, 4.0]})
    short = pd.DataFrame({"step": [0, 1, 3], "x": [2.0, None, 4.0]})
    steps, mean = mean_curve([long, short], "x")
    assert steps.tolist() == [0, 3]
    assert mean.tolist() == [1, 3]
    dense = pd.DataFrame({"step": [0, 1, 3], "x": [2.0, 2.0, 2.0]})
    assert mean_curve([long, dense], "x")[1].tolist() == [1, 1.5, 2]  # step 1 is half way between 0 and 3
    assert len(mean_curve([], "x")[0]) == 0


def test_a_few_huge_complexities_do_not_flatten_the_others(rows: pd.DataFrame) -> None:
    spoiled = rows.copy()
    spoiled.loc[spoiled["complexity_bytes"].last_valid_index(), "complexity_bytes"] = 1e9
    assert trajectory_figure(spoiled).axes[1].get_ylim()[1] < 100


def test_the_map_marks_censored_cells_by_words_and_hatches(rows: pd.DataFrame) -> None:
    figure = map_figure(grok_map(events(rows), "weight_decay", "data_fraction"))
    text = words(svg(figure))
    assert "not in" in text
    assert re.search(r">\d", text)
    assert "When: median grok step" in text
    assert "Whether: share that grokked" in text
    hatched = {patch.get_hatch() for patch in figure.axes[0].findobj(lambda artist: hasattr(artist, "get_hatch"))}
    assert len(hatched - {None}) == 2


def test_words_stay_inside_their_cells_and_the_picture(rows: pd.DataFrame) -> None:
    figure = map_figure(grok_map(events(rows), "weight_decay", "data_fraction"))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    panel = figure.axes[0]
    width = panel.transData.transform((1, 0))[0] - panel.transData.transform((0, 0))[0]
    assert all(text.get_window_extent(renderer).width < width for text in panel.texts)
    for text in figure.texts:
        extent = text.get_window_extent(renderer)
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.width


@pytest.mark.parametrize(
    "fates",
    [
        [(trial(), Fate(outcome="grokked"))],
        [(trial(), Fate(outcome="running", last_step=0))],
        [(one, Fate(outcome="never")) for one in grid(seeds=1)],
        [(one, Fate(outcome="diverged")) for one in grid(weight_decay=(1.0,), seeds=2)],
        [(one, usual_fate(one)) for one in grid(spectral_entropy_weight=(0.0, 0.03, 0.1, 0.3), seeds=1)],
        [
            (one, usual_fate(one))
            for one in grid([0.1 * i for i in range(20)], [0.2 + 0.02 * i for i in range(4)], seeds=1)
        ],
    ],
    ids=["one", "just begun", "all never", "all diverged", "four facets", "many cells"],
)
def test_every_kind_of_sweep_can_be_drawn(tmp_path: Path, fates: list[tuple[object, Fate]]) -> None:
    path = write_sweep(tmp_path / "sweep", fates)  # type: ignore[arg-type]
    rows = load(path)
    per_trial = events(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        map_frame = sweep_map(per_trial, status(path))
        drawn = svg(map_figure(map_frame), titles=cell_titles(map_frame))
        svg(trajectory_figure(rows, events=per_trial))
        svg(curves_figure(rows, events=per_trial))
    ElementTree.fromstring(drawn)
    assert drawn.count("<title>") == 2 * len(map_frame)


def test_an_empty_map_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one cell"):
        map_figure(pd.DataFrame())


def test_pictures_are_the_same_each_time_whatever_the_users_style(rows: pd.DataFrame) -> None:
    import matplotlib as mpl

    map_frame = grok_map(events(rows), "weight_decay", "data_fraction")
    first = svg(map_figure(map_frame)), png(map_figure(map_frame)), svg(trajectory_figure(rows))
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        second = svg(map_figure(map_frame)), png(map_figure(map_frame)), svg(trajectory_figure(rows))
    assert first == second


def test_hover_text_tells_how_the_trials_of_a_cell_ended(rows: pd.DataFrame) -> None:
    titles = cell_titles(grok_map(events(rows), "weight_decay", "data_fraction"))
    assert titles["cell-0-0-0-0"] == "weight decay 0, data fraction 0.2: not in 20,000 (0/3) (3 budget ended)"


def test_a_dollar_in_a_name_is_a_character() -> None:
    with palette.style():
        figure = palette.new_figure(3, 2)
        figure.text(0.1, 0.5, r"$\frac$ of $x$")
    assert png(figure)
    assert words(svg(figure)) == r"$\frac$ of $x$"
