"""The command `sweep status`: how the trials of a sweep stand, and which will grok next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sweep.cli.output import echo, existing, json_option, print_json, results_argument

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stopping.outlook import Outlook

#: Additions to the name of an ending that alone would mislead.
WAYS_TO_END = {
    "grokked": ", and followed through the tail",
    "budget": " ended",
    "stopped": " by the rule",
}

_COLUMNS = (
    *("train_accuracy", "val_accuracy", "train_wall_s", "measure_wall_s", "phase_start_step", "phase_end_step"),
    *("budget_steps", "ended_because", "memorised_at", "grokked_at", "stop_rule", "stop_probability", "parked"),
    *("cell_grokked", "cell_failed", "lanes"),
)

_OF_A_FORECAST = (
    *("state", "earliest_step", "latest_step", "chance", "half_step", "further_steps", "further_s", "wait_s"),
    "further_cost",
)


@click.command()
@results_argument
@json_option
def status(results: str, as_json: bool) -> None:
    """Show the status of a sweep's trials, and when they will grok."""
    from analysis.fates import kept_words
    from analysis.load import status_and_rows
    from analysis.stopping.forecasts import forecasts, phase_events
    from analysis.stopping.outlook import outlook
    from analysis.words import counted

    frame, rows, price = status_and_rows(existing(results), _COLUMNS, mix_methods=True)
    counts = {str(name): int(count) for name, count in frame["status"].value_counts(sort=False).items() if count}
    asked = rows[rows["trial_id"].isin(frame["trial_id"])]
    phases = phase_events(rows)
    grokked = phases[~phases["censored"] & phases["trial_id"].isin(frame["trial_id"])]
    grokked = grokked.drop_duplicates("trial_id", keep="last")
    forecast = forecasts(rows, price_per_hour=price, phases=phases)
    forecast = forecast[forecast["trial_id"].isin(asked["trial_id"])]
    ahead = outlook(forecast)
    if as_json:
        _print_json(results, frame, counts, grokked, forecast, ahead)
        return
    echo(f"{results}: {counted(len(frame), 'trial')}")
    for name, count in counts.items():
        echo(f"{count:8,d}  {name}{WAYS_TO_END.get(name, '')}")
    kept = kept_words(grokked)
    echo(
        f"{len(grokked):,} of {len(frame):,} trials have grokked, whichever way they ended"
        f"{f'; {kept}' if kept else ''}."
    )
    for line in _ahead(ahead, frame):
        echo(line)
    failures = frame[frame["status"] == "failed"].groupby("ended_reason")["trial_id"].count()
    for reason, count in failures.items():
        echo(f"{counted(count, 'trial')} failed: {reason}")
    if "failed" in counts:
        echo("`sweep run SPEC --retry-failed` tries them again.")


def _ahead(ahead: Outlook, frame: pd.DataFrame) -> list[str]:
    """Say which trials grok next and how long that takes, as lines."""
    from analysis.maps import varying_settings
    from analysis.words import settings_text
    from sweep.training.progress import duration

    if not ahead.sentence:
        return []
    lines = [ahead.sentence]
    settings = frame.set_index("trial_id")
    names = [*varying_settings(frame), "seed"]
    for row in ahead.next.to_dict("records"):
        of_trial = settings.loc[row["trial_id"]]
        wait = "" if row["wait_s"] != row["wait_s"] else f", {duration(row['wait_s'])} at most"
        lines.append(
            f"  {row['trial_id']}  {settings_text(names, of_trial)}: chance "
            f"{row['chance']:.0%}, half of such trials grok within {row['further_steps']:,.0f} more steps{wait}"
        )
    return lines


def _print_json(
    results: str,
    frame: pd.DataFrame,
    counts: dict[str, int],
    grokked: pd.DataFrame,
    forecast: pd.DataFrame,
    ahead: Outlook,
) -> None:
    trials: list[dict[str, Any]] = json.loads(
        frame[["trial_id", "status", "last_step", "ended_reason"]].to_json(orient="records")
    )
    forecasts = forecast.set_index("trial_id")[list(_OF_A_FORECAST)].to_dict("index")
    for trial in trials:
        if trial["trial_id"] in forecasts:
            trial["forecast"] = forecasts[trial["trial_id"]]
    lost = grokked[grokked["grok_lost"].astype(bool)]
    print_json(
        {
            "results": results,
            "trials": len(frame),
            "status": counts,
            "grokked": len(grokked),
            "grok_lost": dict(zip(lost["trial_id"].astype(str), lost["final_val_accuracy"].tolist(), strict=True)),
            "forecast": {
                "running": ahead.running,
                "parked": ahead.parked,
                "memorised": ahead.memorised,
                "likely": ahead.likely,
                "expected_groks": ahead.expected_groks,
                "next": ahead.next["trial_id"].astype(str).tolist(),
            },
            "by_trial": trials,
        }
    )
