"""The report: complete, offline, escaped, the same each time, in every state a sweep can be in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.checks.reports import parse_report
from analysis.checks.tables import sealed
from analysis.errors import ResultsNotFound
from analysis.pictures import palette
from analysis.report import ReportFiles, ahead, pictures, tables, write_report
from analysis.report.output import Output
from tests.analysis.made_up import Fate, grid, trial, usual_fate, write_sweep

CHROMIUM = Path("/usr/bin/chromium")
SECTIONS = ("map", "trajectories", "bounds", "trials", "cells", "ahead", "audit", "settings", "reading")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fates = [(one, usual_fate(one)) for one in grid(data_fraction=(0.2, 0.5), spectral_entropy_weight=(0.0, 0.1))]
    return write_sweep(tmp_path_factory.mktemp("report") / "my-sweep", fates)


@pytest.fixture(scope="module")
def files(usual: Path) -> ReportFiles:
    return write_report(usual)


def test_everything_is_written_into_the_results_folder(usual: Path, files: ReportFiles) -> None:
    assert files.report == str(usual / "report" / "report.html")
    names = {path.name for path in (usual / "report").iterdir()}
    assert names == {
        "report.html", "cells.csv", "map.png", "map.svg", "trajectories.png", "trajectories.svg",
    }  # fmt: skip
    cells = pd.read_csv(files.cells_csv)
    assert len(cells) == 12
    assert list(cells.columns[:3]) == ["spectral_entropy_weight", "data_fraction", "weight_decay"]


def test_the_page_says_what_is_proved(usual: Path, files: ReportFiles, tmp_path: Path) -> None:
    assert "No bound on the errors on unseen examples is below chance" in Path(files.report).read_text()
    short = tmp_path / "short"
    shutil.copytree(usual, short)
    (table,) = (short / "tables" / "complexity").iterdir()
    measured = pq.read_table(table)
    place = measured.schema.get_field_index("complexity_bytes")
    bytes_then = pc.divide(measured["complexity_bytes"], 25)
    smaller = measured.set_column(place, measured.schema.field(place), bytes_then)
    report = parse_report(table.name)
    assert report is not None
    table.write_bytes(sealed(smaller, report, "0.1.0", {}))
    page = Path(write_report(short).report).read_text()
    assert "over the draw of 6 training sets, trial " in page
    assert "wrong unseen answers (%)" in page


def test_the_page_is_one_file_without_outside_references(files: ReportFiles) -> None:
    page = Path(files.report).read_text()
    assert "http" not in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert not re.search(r"url\((?!#)", page)
    assert len(page) < 3_000_000
    assert '<html lang="en">' in page


def test_ids_are_unique_and_every_reference_has_its_target(files: ReportFiles) -> None:
    page = Path(files.report).read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_the_page_answers_the_questions(files: ReportFiles) -> None:
    page = Path(files.report).read_text()
    for section in SECTIONS:
        assert f'id="{section}"' in page
    for expected in (
        "trials grokked (", "budget ended", "comprehension", "too few to say", "lane-seconds", "2.13.0",
        "feedback-1", "spectral entropy weight", "of 36 trials", "<svg",
    ):  # fmt: skip
        assert expected in page


def test_the_same_results_give_the_same_page(usual: Path, files: ReportFiles, tmp_path: Path) -> None:
    again = write_report(usual, tmp_path / "elsewhere")
    assert again.report == str(tmp_path / "elsewhere" / "report.html")
    assert Path(again.report).read_bytes() == Path(files.report).read_bytes()
    assert "Written 2026-11-24" in Path(write_report(usual, tmp_path, written_at="2026-11-24").report).read_text()


def test_a_sweep_that_has_not_reported_gives_a_page_that_says_why(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "begun", [(one, Fate(outcome="planned")) for one in grid()])
    files = write_report(path)
    page = Path(files.report).read_text()
    assert files.map_png is None
    assert page.count("No trial has reported yet") >= 4
    assert "18 of 18 trials have not ended" in page


@pytest.mark.parametrize("outcome", ["grokked", "never", "running", "diverged", "failed", "stopped"])
def test_a_sweep_of_one_trial(tmp_path: Path, outcome: str) -> None:
    path = write_sweep(tmp_path / "one", [(trial(), Fate(outcome=outcome))])
    page = Path(write_report(path).report).read_text()
    assert "he only trial" in page
    assert ("has not ended" in page) == (outcome == "running")
    assert ("out of memory" in page) == (outcome == "failed")
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def test_the_page_says_when_the_others_will_grok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = [Fate(outcome="grokked", grok_step=1_000 + 100 * n) for n in range(25)]
    running = [Fate(outcome="running", grok_step=9_000, last_step=600 + n) for n in range(5)]
    fates = [
        *running,
        Fate(outcome="running", memorisation_step=5_000),
        Fate(outcome="stopped", last_step=1_500),
        *ended,
    ]
    path = write_sweep(tmp_path / "sweep", [(trial(seed), fate) for seed, fate in enumerate(fates)])
    section = Path(write_report(path).report).read_text().split('<section id="ahead">')[1].split("</section>")[0]
    assert section.count("<tr>") == 1 + 6  # what has not memorised has no forecast
    assert "6 running trials have not grokked: 5 are likely to grok within the budget" in section
    assert "1 of them has not memorised and has no forecast." in section
    assert "1 trial was stopped by the rule before a grok." in section
    assert "nan" not in section
    assert "<th scope=" in section
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", line) for line in re.findall(r"<tr><td.*?</tr>", section)]
    soonest = [float(one[7].replace(",", "")) for one in cells if one[7] != "–"]
    assert len(soonest) >= 5
    assert soonest == sorted(soonest)
    assert ">cost<" not in section
    monkeypatch.setattr(ahead, "TRIALS_SHOWN", 2)
    stated = json.loads((path / "sweep.json").read_text())
    (path / "sweep.json").write_text(json.dumps(stated | {"specification": {"price_per_hour": 3.6}}))
    section = Path(write_report(path).report).read_text().split('<section id="ahead">')[1].split("</section>")[0]
    assert "Showing 2 of 6 trials" in section
    assert ">cost<" in section


def test_names_are_escaped(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "<b>&sweep", [(trial(), Fate(outcome="failed"))])
    page = Path(write_report(path).report).read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;sweep" in page


def test_long_tables_are_cut_and_say_so(usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_SHOWN", 5)
    monkeypatch.setattr(pictures, "PANELS_SHOWN", 1)
    page = Path(write_report(usual, tmp_path).report).read_text()
    assert "Showing 5 of 12 cells; all are in cells.csv." in page
    assert "Showing 1 of 2 panels, spread evenly; all cells are in cells.csv." in page


@pytest.mark.parametrize(("points", "as_pixels"), [(10, False), (30_000, True)])
def test_the_shorter_of_svg_and_pixels_is_in_the_page(points: int, as_pixels: bool, tmp_path: Path) -> None:
    with palette.style():
        figure = palette.new_figure(3, 2)
        height = np.random.default_rng(0).random(points)
        figure.add_axes((0, 0, 1, 1)).plot(np.arange(points), height, linewidth=0.1)
    out = Output(str(tmp_path))
    picture = pictures._draw("curve", figure, f"Two words. {pictures.HOVER} More.", out)
    shorter = min(len((tmp_path / "curve.svg").read_text()), 4 / 3 * (tmp_path / "curve.png").stat().st_size)
    assert len(picture.svg) == pytest.approx(shorter, rel=0.2)
    assert ("data:image/png;base64," in picture.svg) == as_pixels
    # Nothing appears where pixels are pointed at.
    assert (pictures.HOVER in picture.caption) != as_pixels


def test_no_results_no_report(tmp_path: Path) -> None:
    with pytest.raises(ResultsNotFound):
        write_report(tmp_path)


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium: apt-get install chromium")
def test_a_browser_shows_the_page_from_disk(files: ReportFiles, tmp_path: Path) -> None:
    copy = tmp_path / "report.html"
    shutil.copy(files.report, copy)  # alone, without the pictures beside it
    browser = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]  # fmt: skip
    dumped = subprocess.run(
        [*browser, "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert dumped.count("<svg") == 3
    for section in SECTIONS:
        assert f'<section id="{section}">' in dumped
    assert "http" not in dumped
    picture = tmp_path / "page.png"
    subprocess.run(
        [*browser, f"--screenshot={picture}", "--window-size=1200,3000", copy.as_uri()],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    from matplotlib.image import imread

    pixels = imread(picture)[..., :3]
    assert pixels.shape[:2] == (3000, 1200)
    assert pixels.std() > 0.05, "the page looks empty"
