"""The parking rule's numbers and variations of them, chosen without the sweep that they are judged by.

    python benchmarks/parking_choice.py docs/data [RESULTS...] [--alpha 0.01] [--lanes 8] [--json]

Each variation of the rule is replayed over recorded sweeps, with its patience calibrated on all sweeps but the one
that it is replayed on. The last line is nested: for each sweep the variation that saves most on the others is taken
there. It says what choosing among the variations is worth, which the best line of the table does not, because that
one is chosen on the trials that judge it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.replay.calibration import Replayed
from analysis.replay.lanes import LANES, Rule, parking
from analysis.replay.recordings import recordings
from analysis.replay.score import Score, Scoring, total
from analysis.replay.table import Line, lines_frame
from analysis.stopping.calibration import ALPHA
from analysis.stopping.conformal import PATIENCES
from analysis.stopping.parking import ParkingParameters
from analysis.stopping.stall import StallParameters

#: The numbers from which the variations start, chosen on nine recorded sweeps.
BEFORE: dict[str, Any] = {"hard_accuracy": 0.5}
STALL_BEFORE = StallParameters(loss_fall=0.05)

#: Differences from `BEFORE`; those of the stall are under `stall`.
VARIATIONS: dict[str, dict[str, Any]] = {
    "as before": {},
    "without cells": {"cells": False},
    "first look at .04": {"first_look": 0.04},
    "first look at .12": {"first_look": 0.12},
    "after a grok 1": {"after_a_grok": 1.0},
    "after a grok 2": {"after_a_grok": 2.0},
    "after failures .5, .25": {"after_one_failure": 0.5, "after_two_failures": 0.25},
    "after failures .2, .05": {"after_one_failure": 0.2, "after_two_failures": 0.05},
    "hard below .3": {"hard_accuracy": 0.3},
    "hard below .9": {"hard_accuracy": 0.9},
    "loss alone": {"stall": {"signal": "loss"}},
    "complexity alone": {"stall": {"signal": "complexity"}},
    "loss over a factor 1.6": {"stall": {"loss_factor": 1.6}},
    "loss over a factor 2": {"stall": {"loss_factor": 2.0}},
    "loss by 2 %": {"stall": {"loss_fall": 0.02}},
    "loss by 10 %": {"stall": {"loss_fall": 0.1}},
    "complexity as -.1": {"stall": {"complexity_fall": 0.1}},
    "complexity as -.4": {"stall": {"complexity_fall": 0.4}},
    "a factor 1.5 apart": {"stall": {"apart": 1.5}},
    "loss by 15 %": {"stall": {"loss_fall": 0.15}},
    "loss by 20 %": {"stall": {"loss_fall": 0.2}},
    "10 %, hard below .9": {"hard_accuracy": 0.9, "stall": {"loss_fall": 0.1}},
    "10 %, as -.4": {"stall": {"loss_fall": 0.1, "complexity_fall": 0.4}},
    "10 %, as -.4, hard below .9": {"hard_accuracy": 0.9, "stall": {"loss_fall": 0.1, "complexity_fall": 0.4}},
    "15 %, hard below .9": {"hard_accuracy": 0.9, "stall": {"loss_fall": 0.15}},
    "15 %, as -.4, hard below .9": {"hard_accuracy": 0.9, "stall": {"loss_fall": 0.15, "complexity_fall": 0.4}},
}

COLUMNS = ["rule", "saved", "of_oracle", "of_hard_oracle", "makespan_saved", "lost", "grokkers"]


def family(differences: Mapping[str, Any], patience: float) -> Rule:
    """Return a variation of the parking rule with a patience."""
    of_stall = replace(STALL_BEFORE, **differences.get("stall", {}))
    own = BEFORE | {name: value for name, value in differences.items() if name != "stall"}
    return parking(ParkingParameters(patience=patience, stall=of_stall, **own))


def nested(
    families: Mapping[str, Replayed], sweeps: list[str], alpha: float
) -> tuple[dict[str, Score], dict[str, str]]:
    """Choose a variation and its patience for each sweep on the others; return its scores and names there."""
    scores, names = {}, {}
    for left_out in sweeps:
        best = max(families, key=lambda name: saved_elsewhere(families[name], left_out, alpha))
        calibrated = families[best].calibrate(alpha, without=left_out)
        scores[left_out] = families[best].at(calibrated.patience if calibrated else PATIENCES[-1])[left_out]
        names[left_out] = best
    return scores, names


def saved_elsewhere(one: Replayed, left_out: str, alpha: float) -> float:
    """Return the share of steps that a family saves on all sweeps but one, calibrated on them."""
    calibrated = one.calibrate(alpha, without=left_out)
    if calibrated is None:
        return 0.0
    return total(score for name, score in one.at(calibrated.patience).items() if name != left_out).saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+")
    parser.add_argument("--alpha", type=float, default=ALPHA)
    parser.add_argument("--lanes", type=int, default=LANES)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()

    sweeps = recordings(chosen.results).by_sweep()
    scoring = Scoring(sweeps, chosen.lanes)
    families = {
        name: Replayed(scoring, lambda patience, differences=differences: family(differences, patience))
        for name, differences in VARIATIONS.items()
    }
    lines = [Line(name, chosen.alpha, None, one.left_out(chosen.alpha)) for name, one in families.items()]
    scores, names = nested(families, list(sweeps), chosen.alpha)
    lines.append(Line("nested choice", chosen.alpha, None, scores))
    rows = lines_frame(lines)[COLUMNS].to_dict("records")
    if chosen.json:
        print(json.dumps({"lines": rows, "chosen": names}, indent=1))
        return
    print(f"{'':<26}{'saved':>8}{'oracle':>9}{'hard':>7}{'makespan':>10}{'lost':>12}")
    for one in rows:
        print(
            f"{one['rule']:<26}{one['saved']:>8.1%}{one['of_oracle']:>9.0%}{one['of_hard_oracle']:>7.0%}"
            f"{one['makespan_saved']:>10.1%}{one['lost']:>5} of {one['grokkers']}"
        )
    for sweep, name in names.items():
        print(f"{sweep}: {name}")


if __name__ == "__main__":
    main()
