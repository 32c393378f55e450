"""The command `sweep calibrate`: what recorded sweeps say about the stopping rule's patience."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.cli.output import Waiting, echo, import_option, json_option, print_json

if TYPE_CHECKING:
    from analysis.stopping.calibration import Calibration, Weights


@click.command()
@click.argument("results", nargs=-1, metavar="[RESULTS]...")
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Keep the sweeps in FILE, which begins with the shipped ones and grows.",
)
@click.option(
    "--for", "spec", metavar="SPEC", help="Weigh the recorded trials by the settings of this specification."
)
@import_option
@json_option
def calibrate(
    results: tuple[str, ...], ledger: str | None, spec: str | None, imports: tuple[str, ...], as_json: bool
) -> None:
    """Print the patience that keeps the grokkers, by recorded sweeps.

    RESULTS are sweeps that were run with stop: none, or folders that hold several; they count beside the shipped
    recordings, once each. Without RESULTS, print what is known already.
    """
    from analysis.replay.recorded_sweeps import grown
    from analysis.stopping.calibration import Calibration
    from analysis.stopping.ledger import write_ledger

    calibration = Calibration.load(ledger if ledger and Path(ledger).expanduser().exists() else None)
    weights = None
    notes: list[str] = []
    if results:
        with Waiting() as waiting:
            calibration, added, notes = grown(calibration, results, waiting)
        notes += [f"{one.name}: {len(one.trials)} trials, {len(one.grokkers)} grokkers" for one in added]
    if ledger:
        write_ledger(ledger, calibration.sweeps)
    if spec is not None:
        weights = calibration.weights_for(_settings(spec, imports))
        notes.append(weights.sentence)
    table = levels(calibration, weights)
    if as_json:
        print_json({"calibration": table, **_numbers(calibration, weights), "notes": notes})
        return
    echo(_text(table))
    echo(f"\nfrom {calibration.sentence}")
    for note in notes:
        echo(f"note: {note}")


def _settings(spec: str, imports: tuple[str, ...]) -> list[Any]:
    from analysis.stopping.ledger import Settings
    from sweep.imports import import_modules
    from sweep.specification.config import load_specification
    from sweep.specification.trials import trials

    import_modules(imports)
    config = load_specification(spec)
    return [Settings(*(float(getattr(trial, name)) for name in Settings._fields)) for trial in trials(config)]


def levels(calibration: Calibration, weights: Weights | None) -> list[dict[str, Any]]:
    """Return one row for each of `LEVELS`: the patience for each signal, None where it cannot be promised."""
    from analysis.errors import AnalysisError
    from analysis.stopping.calibration import LEVELS
    from analysis.stopping.ledger import SIGNALS

    rows = []
    for alpha in LEVELS:
        row: dict[str, Any] = {"alpha": alpha}
        for signal in SIGNALS:
            try:
                row[signal] = calibration.patience(alpha, signal, weights)
            except AnalysisError:
                row[signal] = None
        rows.append(row)
    return rows


def _numbers(calibration: Calibration, weights: Weights | None) -> dict[str, Any]:
    return {
        "grokkers": len(calibration.grokkers),
        "trials": len(calibration.trials),
        "sweeps": [
            {
                "name": one.name,
                "fingerprint": one.fingerprint,
                "trials": len(one.trials),
                "grokkers": len(one.grokkers),
            }
            for one in calibration.sweeps
        ],
        "given_up": {kind: one._asdict() for kind, one in calibration.given_up.items()},
        "weights": None
        if weights is None
        else {"effective": weights.effective, "covered": weights.covered, "largest": weights.largest},
    }


def _text(table: list[dict[str, Any]]) -> str:
    """Return the table with columns as wide as their names."""
    names = list(table[0])
    rows = [names, *(["-" if row[name] is None else f"{row[name]:g}" for name in names] for row in table)]
    return "\n".join(
        "  ".join(f"{cell:>{len(name)}}" for cell, name in zip(row, names, strict=True)) for row in rows
    )
