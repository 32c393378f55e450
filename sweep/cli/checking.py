"""The command `sweep check`: what is wrong with a results folder, and setting it aside."""

from __future__ import annotations

import dataclasses
import warnings

import click

from sweep.cli.output import echo, existing, json_option, print_json, results_argument


@click.command()
@results_argument
@click.option(
    "--repair", is_flag=True, help="Move damaged files to set-aside/ in RESULTS, and delete what was compacted."
)
@json_option
@click.pass_context
def check(ctx: click.Context, results: str, repair: bool, as_json: bool) -> None:
    """Check every table and record of a sweep.

    Exit code 1 if rows are damaged or missing. The same `sweep run` as before trains them again.
    """
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
    ctx.exit(1 if faults else 0)
