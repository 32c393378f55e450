"""The command `sweep decide`: what to do with each trial now, and what that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sweep.cli.output import echo, existing, json_option, print_json, results_argument

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@results_argument
@json_option
def decide(results: str, as_json: bool) -> None:
    """Say what to do with each trial: continue, compress or abandon it.

    One line a trial, with the reason, and what continuing takes. After `sweep behaviour`, also which network to
    compress less.
    """
    from analysis.compression.advice import after_compression
    from analysis.compression.record import read_record
    from analysis.decide import decide as advice_on
    from analysis.events import events
    from analysis.load import kept_steps, load, price_per_hour
    from analysis.maps import varying_settings
    from analysis.results_folder import opened
    from analysis.words import counted, listed, settings_text

    place = opened(existing(results))
    rows = load(place)
    trials = events(rows).drop_duplicates("trial_id", keep="last").reset_index(drop=True)
    lost = set(trials.loc[trials["grok_lost"].astype(bool), "trial_id"].astype(str))
    price = price_per_hour(place)
    advice = advice_on(rows, kept=kept_steps(place, lost) if lost else None, price_per_hour=price)
    advice = after_compression(advice, read_record(results))
    settings = trials[[*(name for name in varying_settings(trials) if name != "phase"), "seed"]]
    actions = advice["action"].cat.categories
    counts = {str(name): int(advice["action"].eq(name).sum()) for name in actions}
    if as_json:
        print_json({"results": results, "advice": counts, "by_trial": _plain(advice, settings)})
        return
    said = [f"{count:,} to {name}" for name, count in counts.items() if count]
    echo(f"{results}: {counted(len(advice), 'trial')}{f', {listed(said)}' if said else ''}")
    total = advice[["more_steps", "more_s", "cost"]].sum()
    if counts["continue"]:
        money = "" if price is None else f", cost {total['cost']:,.2f}"
        echo(
            f"To continue all of these takes at most {total['more_steps']:,.0f} more steps "
            f"({total['more_s']:,.0f} lane-seconds{money})."
        )
    width = max(len(name) for name in actions)
    for name in actions:
        chosen = advice[advice["action"].eq(name)]
        for trial, setting in zip(
            chosen.to_dict("records"), settings.loc[chosen.index].to_dict("records"), strict=True
        ):
            words = settings_text(settings.columns, setting)
            echo(f"{name:{width}}  {trial['trial_id']}  {words}: {trial['reason']}")


def _plain(advice: pd.DataFrame, settings: pd.DataFrame) -> list[dict[str, object]]:
    records = advice.astype({"trial_id": "str", "action": "str"}).to_dict("records")
    of_trials = settings.astype("object").to_dict("records")
    return [
        {**{str(name): value for name, value in record.items()}, "settings": own}
        for record, own in zip(records, of_trials, strict=True)
    ]
