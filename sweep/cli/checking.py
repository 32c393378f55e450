"""The command `sweep check`: what is wrong with a results folder, or with a compressed network."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import click

from sweep.cli.network_check import check_file
from sweep.cli.networks import step_option, trial_option
from sweep.cli.output import echo, existing, import_option, json_option, print_json
from sweep.errors import UnusableNetwork


@click.command()
@click.argument("place", type=click.Path(), metavar="RESULTS|NETWORK")
@click.option(
    "--repair", is_flag=True, help="Move damaged files to set-aside/ in RESULTS, and delete what was compacted."
)
@click.option(
    "--like",
    metavar="NETWORK|RESULTS",
    help="The network that NETWORK was compressed from, or the sweep that kept it.",
)
@trial_option
@step_option
@import_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    place: str,
    repair: bool,
    like: str | None,
    trial: str | None,
    step: int | None,
    imports: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check a sweep, or a compressed network.

    RESULTS: every table and record. Exit code 1 if rows are damaged or missing. The same `sweep run` as before
    trains them again. NETWORK, a file of `sweep compress` or `sweep decompress`: whether it is whole and, with
    --like, whether it behaves as the original does. Exit code 1 if not.
    """
    if Path(place).is_file():
        if repair:
            raise UnusableNetwork(f"--repair is for the folder of a sweep, and {place} is a file")
        ctx.exit(0 if check_file(place, like, trial, step, imports, as_json) else 1)
    if like is not None or trial is not None or step is not None:
        raise UnusableNetwork(f"--like, --trial and --step are for a network file, and {place} is none")
    ctx.exit(0 if _check_results(place, repair, as_json) else 1)


def _check_results(results: str, repair: bool, as_json: bool) -> bool:
    """Print what is wrong with a results folder; return whether nothing is damaged or missing."""
    from analysis.checks.findings import FAULTS
    from analysis.errors import ResultsWarning
    from analysis.words import counted
    from sweep.results.store import Store

    store = Store(existing(results))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultsWarning)  # all of it is printed here
        findings = store.check()
        faults = [finding for finding in findings if finding.kind in FAULTS]
        replaced = [finding for finding in findings if finding.kind == "replaced"]
        moved = store.repair(faults) if repair and (faults or replaced) else []
    if as_json:
        shown = [dataclasses.asdict(finding) for finding in findings]
        print_json({"results": results, "faults": len(faults), "findings": shown, "set_aside": moved})
    else:
        for finding in findings:
            echo(f"{finding.kind:8}  {finding}")
        for name in moved:
            echo(f"moved     {name} to set-aside/")
        echo(f"{results}: {counted(len(faults), 'file') if faults else 'nothing is'} damaged or missing")
        if faults:
            how = "trains it again" if repair else "sets aside what is damaged and trains it again"
            echo(f"`sweep run` with the same specification {how}.")
    return not faults
