"""How often the intervals of `analysis.estimates` hold the truth, and how biased its shares are, on planted laws.

    python benchmarks/estimate_coverage.py [--repetitions N] [--write]

A planted sweep has 3 x 4 cells. A trial memorises after a log-normal number of steps (median 200, sd of the log
0.4), and groks, unless it never does, after a log-normal multiple of these (nine tenths within 24 / 7 of the
median); the share that never does and the median multiple differ from cell to cell. Steps are evaluated on a grid
of ratio 1.2 up to a budget of 20,000. Trials are stopped not at all, or 30 % of them at random steps, or by a rule
at a multiple of their memorisation step, with an audit share of a tenth; one of these spares trials that grok soon
after. `--write` puts the table into docs/estimates.md.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

import analysis

BUDGET = 20_000
AUDIT_SHARE = 0.1
RANDOM_SHARE = 0.3
DECAYS, FRACTIONS = (0.0, 0.1, 1.0), (0.2, 0.3, 0.4, 0.5)
MEMORISED = math.log(200), 0.4
SD = math.log(24 / 7) / norm.ppf(0.9)
SEEDS = (3, 6, 12, 20, 100)
PAGE = Path(__file__).parents[1] / "docs" / "estimates.md"


class Stopping(NamedTuple):
    """How trials are stopped."""

    words: str
    random: bool = False
    patience: float = math.inf
    foresight: float = 1.0
    """The rule spares a trial that groks before this multiple of the step at which it would stop it."""


STOPPINGS = (
    Stopping("none"),
    Stopping("at random", random=True),
    Stopping("rule, patience 30", patience=30),
    Stopping("rule, patience 10", patience=10),
    Stopping("rule, patience 10, sees half", patience=10, foresight=1.7),
)


def laws() -> pd.DataFrame:
    """Return one row per cell: its law, its share that groks within the budget, and its median step."""
    rows = []
    for decay, often, late in zip(DECAYS, (0.75, 0.45, 0.2), (12.0, 7.0, 5.0), strict=True):
        for fraction, factor, slow in zip(FRACTIONS, (1.2, 0.8, 0.5, 0.1), (1.6, 1.2, 1.0, 0.8), strict=True):
            never, median = min(often * factor, 0.95), late * slow
            centre, sd = MEMORISED[0] + math.log(median), math.hypot(MEMORISED[1], SD)
            share = (1 - never) * norm.cdf((math.log(BUDGET) - centre) / sd)
            middle = math.exp(centre + sd * norm.ppf(0.5 / (1 - never))) if never < 0.5 else math.inf
            rows.append((decay, fraction, never, median, share, middle if middle <= BUDGET else math.inf))
    return pd.DataFrame(rows, columns=["weight_decay", "data_fraction", "never", "ratio", "truth", "middle"])


def grid(ratio: float = 1.2) -> np.ndarray:
    """Return the evaluated steps."""
    steps = [0.0, *(32 * math.ceil(ratio**k) for k in range(100)), float(BUDGET)]
    return np.unique([step for step in steps if step <= BUDGET])


def planted(seeds: int, stopping: Stopping, generator: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the events and the audits of a planted sweep.

    Args:
        seeds: trials in a cell.
        stopping: how trials are stopped.
        generator: draws everything.
    """
    trials = laws().loc[lambda frame: frame.index.repeat(seeds)].reset_index(drop=True)
    count, steps = len(trials), grid()
    memorised = np.exp(generator.normal(*MEMORISED, count))
    ratio = trials["ratio"].to_numpy() * np.exp(SD * generator.normal(size=count))
    grok = np.where(generator.random(count) < trials["never"], np.inf, memorised * ratio)
    audited = generator.random(count) < AUDIT_SHARE
    memorised = steps[np.searchsorted(steps, memorised)]
    acts = steps[
        np.minimum(np.searchsorted(steps, np.minimum(stopping.patience * memorised, BUDGET)), len(steps) - 1)
    ]
    stops = (acts < BUDGET) & (grok > acts * stopping.foresight)
    last = np.where(stops & ~audited, acts, float(BUDGET))
    if stopping.random:
        cut = generator.random(count) < RANDOM_SHARE
        last = np.where(cut, steps[generator.integers(3, len(steps) - 1, count)], last)
    at = np.searchsorted(steps, np.minimum(grok, BUDGET + 1.0))
    seen = grok <= last
    after, grok_step = (np.where(seen, np.append(steps, np.inf)[at - back], np.nan) for back in (1, 0))
    because = np.where(last == BUDGET, "budget", "stopped" if not stopping.random else "failed")
    events = trials[["weight_decay", "data_fraction"]].assign(
        trial_id=[f"trial-{number}" for number in range(count)], seed=np.arange(count) % seeds, phase=0,
        phase_start_step=0, budget_steps=BUDGET, memorisation_step=memorised, grok_after_step=after,
        grok_step=grok_step, last_step=last, ended_because=np.where(seen, "grokked", because),
    )  # fmt: skip
    audits = pd.DataFrame(
        {
            "trial_id": events["trial_id"],
            "audit_share": AUDIT_SHARE if math.isfinite(stopping.patience) else np.nan,
            "audited": audited,
            "drawn": False,
            "marked_at_step": np.where(stops & audited, acts, np.nan),
        }
    )
    return events, audits


def checked(seeds: int, stopping: Stopping, repetitions: int) -> pd.DataFrame:
    """Return one row per repetition and cell: estimate, interval, truth, and what the intervals held.

    Args:
        seeds: trials in a cell.
        stopping: how trials are stopped.
        repetitions: number of sweeps.
    """
    generator = np.random.default_rng([seeds, STOPPINGS.index(stopping)])
    frames = []
    for repetition in range(repetitions):
        events, audits = planted(seeds, stopping, generator)
        cells = analysis.estimates(events, "weight_decay", "data_fraction", audits=audits)
        frames.append(cells.assign(repetition=repetition))
    found = pd.concat(frames).merge(laws(), on=["weight_decay", "data_fraction"])
    found["error"] = found["share"] - found["truth"]
    found["covered"] = (found["share_low"] <= found["truth"]) & (found["truth"] <= found["share_high"])
    inside = (found["median_low"] < found["middle"]) & (found["middle"] <= found["median_high"])
    found["median_covered"] = inside
    found["width"] = found["share_high"] - found["share_low"]
    return found


def summary(found: pd.DataFrame) -> dict[str, float]:
    """Return bias, coverage and widths of a table from `checked`; the worst cell's, too."""
    by_cell = found.groupby(["weight_decay", "data_fraction"])[["error", "covered"]].mean()
    return {
        "stopped": float((found["stopped"] / found["n"]).mean()),
        "bias": float(found["error"].mean()),
        "worst_bias": float(by_cell["error"].abs().max()),
        "covered": float(found["covered"].mean()),
        "worst_covered": float(by_cell["covered"].min()),
        "width": float(found["width"].mean()),
        "median_covered": float(found["median_covered"].mean()),
    }


def table(repetitions: int) -> str:
    """Return the table of the page."""
    lines = [
        "| stopping | seeds | stopped | bias of the share | worst cell | its interval covers | worst cell | width "
        "| the median's covers |",
        "|" + "---|" * 9,
    ]
    for stopping in STOPPINGS:
        for seeds in SEEDS:
            started = time.process_time()
            one = summary(checked(seeds, stopping, repetitions))
            numbers = (
                f"{one['stopped']:.0%}",
                f"{one['bias']:+.3f}",
                f"{one['worst_bias']:.3f}",
                f"{one['covered']:.1%}",
                f"{one['worst_covered']:.1%}",
                f"{one['width']:.2f}",
                f"{one['median_covered']:.1%}",
            )
            lines.append(f"| {stopping.words} | {seeds} | {' | '.join(numbers)} |")
            print(lines[-1], f"{time.process_time() - started:.1f} s", flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200, help="sweeps for each line of the table")
    parser.add_argument("--write", action="store_true", help="put the table into docs/estimates.md")
    arguments = parser.parse_args()
    text = table(arguments.repetitions)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        new = f"<!-- coverage, {arguments.repetitions} sweeps a line -->\n\n{text}\n\n"
        PAGE.write_text(re.sub(r"<!-- coverage.*? -->\n\n(\|.*\n)+\n", new, page), encoding="utf-8")


if __name__ == "__main__":
    main()
