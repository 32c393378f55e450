from __future__ import annotations

import re
from pathlib import Path

from analysis.replay.forecasts import SHARES, forecasts_frame
from analysis.replay.recordings import Recordings, recordings
from tests.analysis.replay.made import recording

DATA = Path(__file__).parents[3] / "docs" / "data"


def test_the_shipped_recordings_give_the_same_table_as_the_documentation() -> None:
    page = (DATA.parent / "stopping.md").read_text(encoding="utf-8")
    table = page.split("<!-- forecasts -->")[1].split("<!--")[0]
    stated = [
        re.split(r" *\| *", line.strip("| ")) for line in table.splitlines() if re.match(r"\| \w+ sweeps? \|", line)
    ]
    frame = forecasts_frame(recordings([DATA]))
    computed = [
        [row["from"], f"{row['share']:.0%}", f"{row['trials']}"]
        + [
            "-" if row[name] != row[name] else f"{row[name]:.0%}"
            for name in ("grokked", "chance", "earliest_held", "latest_stated", "latest_held", "half_stated")
        ]
        + ["-" if row["grokked_by_half"] != row["grokked_by_half"] else f"{row['grokked_by_half']:.0%}"]
        for row in frame.to_dict("records")
    ]
    assert stated == computed


def test_each_sweep_is_forecast_from_the_others() -> None:
    """Two sweeps whose groks come at different ages: each is forecast to grok when the other does."""
    early = [recording(f"e{seed}", grok=200, seed=seed, sweep="early") for seed in range(25)]
    late = [recording(f"l{seed}", grok=800, seed=seed, sweep="late") for seed in range(25)]
    frame = forecasts_frame(Recordings([*early, *late], {})).set_index(["from", "share"])
    other = frame.loc[("other sweeps", 0.05)]
    assert other["trials"] == 50
    # The early ones are said to grok at 800 at the earliest, the late ones at 200.
    assert other["earliest_held"] == 0.5
    assert frame.loc[("ended sweep", 0.05), "earliest_held"] == 1.0
    assert frame.loc[("ended sweep", 0.05), "grokked_by_half"] == 1.0
    assert frame.loc[("ended sweep", 0.5), "trials"] == 25  # the early ones have grokked by then


def test_a_small_sweep_is_not_forecast_from_itself() -> None:
    frame = forecasts_frame(Recordings([recording("a", grok=500), recording("b", seed=1)], {}))
    own = frame["from"].isin(["running sweep", "ended sweep"])
    assert frame.loc[own, "trials"].tolist() == [0] * 2 * len(SHARES)
    assert frame["chance"].isna().sum() == 2 * len(SHARES)


def test_a_running_sweep_tells_nothing_of_what_comes_after_it() -> None:
    """Its trials are all as old, and none has grokked: that is no reason to expect that none will."""
    same = [recording(f"s{seed}", grok=800, seed=seed, sweep="same") for seed in range(25)]
    other = [recording(f"o{seed}", grok=900, seed=seed, sweep="other") for seed in range(25)]
    frame = forecasts_frame(Recordings([*same, *other], {})).set_index(["from", "share"])
    assert frame.loc["running sweep", "trials"].tolist() == [0] * len(SHARES)
    assert frame.loc["ended sweep", "trials"].tolist() == [50] * len(SHARES)
