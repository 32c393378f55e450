"""The command `sweep replay`: stopping rules on recorded sweeps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.cli.output import echo, json_option, print_json

if TYPE_CHECKING:
    import pandas as pd

    from analysis.replay.rules import NamedRule
    from analysis.replay.table import Replay

DEFAULT_RULES = (
    "decline",
    "decline(patience=10)",
    "stall",
    "stall(signal='complexity')",
    "park",
    "asha",
    "asha(metric='val_loss')",
    "asha(reduction_factor=2, grace=10)",
    "hyperband",
    "median",
    "median(grace=50)",
)


@click.command()
@click.argument("results", nargs=-1, required=True, metavar="RESULTS...")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="RULE",
    help="decline, stall, park, asha, hyperband or median, with parameters as in stall(patience=0.3), or "
    "MODULE:FUNCTION; by default a table of them.",
)
@click.option(
    "--alpha",
    "alphas",
    multiple=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of grokkers that a calibrated rule may lose; by default 0.01, 0.025, 0.05 and 0.1.",
)
@click.option("--lanes", type=click.IntRange(1, 10_000), help="Lanes of each sweep; 8 by default.")
@click.option("--by-sweep", is_flag=True, help="Print a line for each sweep, too.")
@click.option("--signals", is_flag=True, help="Print how well single signals tell grokkers from failures, too.")
@click.option("--forecast", is_flag=True, help="Print how well groks are forecast, too.")
@click.option(
    "--picture", type=click.Path(dir_okay=False), metavar="FILE", help="Draw saved against lost, .png or .svg."
)
@json_option
def replay(
    results: tuple[str, ...],
    rules: tuple[str, ...],
    alphas: tuple[float, ...],
    lanes: int | None,
    by_sweep: bool,
    signals: bool,
    forecast: bool,
    picture: str | None,
    as_json: bool,
) -> None:
    """Replay stopping rules on recorded sweeps.

    RESULTS are sweeps that were run with stop: none, or folders that hold several. A rule without its patience is
    calibrated: for each sweep on all the others.
    """
    from analysis.replay import table
    from analysis.replay.forecasts import forecasts_frame
    from analysis.replay.lanes import LANES
    from analysis.replay.recordings import recordings
    from analysis.stopping.calibration import LEVELS

    named = [_rule(rule) for rule in rules or DEFAULT_RULES]
    done = table.replay(recordings(results), named, alphas or LEVELS, lanes or LANES)
    if picture is not None:
        _draw(done, Path(picture))
    if as_json:
        print_json(_plain(done, signals, forecast))
        return
    echo(_sweeps_text(done))
    echo(_rules_text(table.lines_frame(done.lines)))
    if by_sweep:
        for sweep, lines in table.cells_frame(done.lines).groupby("sweep", sort=False):
            echo(f"\n{sweep}")
            echo(_rules_text(lines))
    if signals:
        echo("\nAUROC for 'groks within the budget' among trials that have memorised and not grokked")
        echo(table.signals_frame(done.recordings).round(2).to_string(index=False, na_rep="-"))
    if forecast:
        echo("\nForecasts of trials that have memorised and not grokked, each sweep from the others; shares")
        echo(forecasts_frame(done.recordings).round(2).to_string(index=False, na_rep="-"))
    for note in done.notes:
        echo(f"note: {note}")


def _rule(text: str) -> NamedRule:
    """Make a rule of this package, one of Ray Tune's, or a user-supplied one."""
    from analysis.replay.rules import named_rule, rule_of_function

    if ":" in text and "(" not in text:
        from sweep.imports import import_function

        return rule_of_function(text, import_function(text))
    if text.partition("(")[0].strip() in ("asha", "hyperband", "median"):
        from sweep.on_ray.rivals import RIVALS

        return named_rule(text, RIVALS)
    return named_rule(text)


def _draw(done: Replay, file: Path) -> None:
    from analysis.pictures import png, svg
    from analysis.replay.picture import saved_against_lost

    if file.suffix not in (".png", ".svg"):
        raise click.BadParameter(f"must end in .png or .svg, got {file}", param_hint="--picture")
    figure = saved_against_lost(done.lines)
    file.write_bytes(png(figure) if file.suffix == ".png" else svg(figure).encode())


def _sweeps_text(done: Replay) -> str:
    sweeps = done.recordings.by_sweep()
    lines = []
    for name, trials in sweeps.items():
        cells = len({trial.cell for trial in trials})
        grokked = sum(trial.grokked for trial in trials)
        hard = sum(trial.is_hard_failure for trial in trials)
        near = sum(trial.is_near_miss for trial in trials)
        lines.append(
            f"{name}: {len(trials)} trials in {cells} cells, {grokked} grokked, {len(trials) - grokked} did not "
            f"({hard} never came near, {near} touched the threshold)"
        )
    return "\n".join([*lines, ""])


def _rules_text(frame: pd.DataFrame) -> str:
    columns = {
        "rule": frame["rule"],
        "alpha": frame["alpha"].map(lambda value: "" if value is None or math.isnan(value) else f"{value:g}"),
        "patience": frame["patience"].map(lambda value: "" if value is None or math.isnan(value) else f"{value:g}"),
        "saved": frame["saved"].map("{:.1%}".format),
        "of oracle": frame["of_oracle"].map(_percent),
        "of hard oracle": frame["of_hard_oracle"].map(_percent),
        "makespan": frame["makespan_saved"].map("{:.1%}".format),
        "lost": [f"{lost} of {n}" for lost, n in zip(frame["lost"], frame["grokkers"], strict=True)],
        "95 % interval": [
            f"{low:.1%} - {high:.1%}" for low, high in zip(frame["lost_low"], frame["lost_high"], strict=True)
        ],
    }
    import pandas as pd

    return str(pd.DataFrame(columns).to_string(index=False))


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _plain(done: Replay, signals: bool, forecast: bool) -> dict[str, Any]:
    from analysis.replay import table
    from analysis.replay.forecasts import forecasts_frame

    frames = {"rules": table.lines_frame(done.lines), "by_sweep": table.cells_frame(done.lines)}
    if signals:
        frames["signals"] = table.signals_frame(done.recordings)
    if forecast:
        frames["forecasts"] = forecasts_frame(done.recordings)
    plain = {
        name: frame.astype(object).where(frame.notna(), None).to_dict("records") for name, frame in frames.items()
    }
    return {**plain, "notes": done.notes}
