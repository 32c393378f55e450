"""The command `sweep`. Each command parses, calls one function of the library and prints its result.

Nothing heavy is imported here: `sweep --help` and completion take a fraction of a second.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import CompletionItem

from sweep import __version__
from sweep.cli.behaviour import behaviour as behaviour_command
from sweep.cli.behaviour import export_network as export_network_command
from sweep.cli.calibrate import calibrate as calibrate_command
from sweep.cli.checking import check as check_command
from sweep.cli.decide import decide as decide_command
from sweep.cli.networks import COMMANDS as NETWORK_COMMANDS
from sweep.cli.output import Waiting, existing, results_notes
from sweep.cli.output import echo as _echo
from sweep.cli.output import import_option as _import
from sweep.cli.output import json_option as _json
from sweep.cli.output import print_json as _print_json
from sweep.cli.output import results_argument as _results
from sweep.cli.replay import replay as replay_command
from sweep.cli.status import status as status_command
from sweep.errors import ImportFailed, SpecificationError, SweepError, UnusableNetwork

if TYPE_CHECKING:
    from sweep.plan.estimate import Estimate
    from sweep.specification.config import SweepConfig

EXIT_FAILED = 1
EXIT_SPECIFICATION = 2
"""The exit code that click itself uses for a wrong command line; a command line that names a useless file is wrong,
too."""
EXIT_INTERRUPTED = 130

NEXT_COMMANDS = """\
Sweeps of small networks, watched while they grok. Start with one of these:

  sweep plan quickstart            what it would run, how long it takes; nothing is run
  sweep run quickstart             run it on this machine and draw the map
  sweep report results/quickstart  one HTML page of what there is so far

All commands: sweep --help"""

EPILOG = """\b
SPEC is the name of a preset (quickstart, tiny, paper, ...) or a YAML file;
if it has cases, --set case=NAME runs only these.
RESULTS is a local folder or an s3:// address.
NETWORK is an .npz, .safetensors or compressed file.

\b
Exit codes: 0 done, 1 failed or incomplete, 2 wrong command line or
specification, 130 interrupted (the same command resumes from there).

\b
Completion, for bash (zsh and fish alike):
  eval "$(_SWEEP_COMPLETE=bash_source sweep)"
"""

#: Base classes of errors that say what to do; the modules are looked up, not imported, to keep the command light.
_KNOWN_ERRORS = (("trainables.errors", "TrainablesError"), ("analysis.errors", "AnalysisError"))


class _Commands(click.Group):
    """Turns errors made for users into messages and exit codes; other errors keep their traces, to be reported."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with results_notes():
                return super().invoke(ctx)
        except (SpecificationError, ImportFailed, UnusableNetwork) as error:
            _fail(str(error), EXIT_SPECIFICATION)
        except KeyboardInterrupt:
            _fail("interrupted", EXIT_INTERRUPTED)
        except Exception as error:
            loaded = [getattr(sys.modules[module], name) for module, name in _KNOWN_ERRORS if module in sys.modules]
            if not isinstance(error, (SweepError, *loaded)):
                raise
            _fail(str(error), EXIT_FAILED)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.split("\n"):
        _echo(f"error: {line}", err=True)
    sys.exit(code)


def _complete_specification(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a preset's name or a file."""
    presets = sorted(path.stem for path in (Path(__file__).parents[1] / "presets").glob("*.yaml"))
    matching = [CompletionItem(name) for name in presets if name.startswith(incomplete)]
    return [*matching, CompletionItem(incomplete, type="file")]


def _specification(command: Callable[..., None]) -> Callable[..., None]:
    """Add SPEC [--set KEY=VALUE]... [--import MODULE]... [--results PATH] to a command."""
    for decorate in (
        _import,
        click.option("--results", metavar="PATH", help="Folder or s3:// address for the results."),
        click.option(
            "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change SPEC, e.g. --set model.width=64."
        ),
        click.argument("spec", shell_complete=_complete_specification),
    ):
        command = decorate(command)
    return command


_job = click.argument("job", metavar="RESULTS|JOB")
_address = click.option(
    "--address", metavar="URL", help="Address of the cluster's job server; by default on this machine."
)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="sweep")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Run sweeps of small networks, and watch them grok."""
    if ctx.invoked_subcommand is None:
        _echo(NEXT_COMMANDS)


@main.command()
@_specification
@_json
def plan(
    spec: str, overrides: tuple[str, ...], results: str | None, imports: tuple[str, ...], as_json: bool
) -> None:
    """Print trials, cohorts, estimated time and cost.

    Nothing is run and nothing is written.
    """
    config = _load(spec, overrides, results, imports)
    from sweep.plan.estimate import estimate
    from sweep.plan.plan import plan as plan_of
    from sweep.results.store import Store

    store = Store(config.results_path)
    with Waiting() as waiting:
        planned = plan_of(config, store, progress=waiting)
        waiting("estimating the time")
        estimated = estimate(planned, store, price_per_hour=config.price_per_hour)
    if as_json:
        _print_json({"name": config.name, "results": config.results_path, **dataclasses.asdict(estimated)})
    else:
        _echo(_plan_text(config, estimated))


@main.command()
@_specification
@click.option("--retry-failed", is_flag=True, help="Run only trials that have failed before.")
@_json
@click.pass_context
def run(
    ctx: click.Context,
    spec: str,
    overrides: tuple[str, ...],
    results: str | None,
    imports: tuple[str, ...],
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Run the missing trials of a sweep.

    Runs on Ray; ends with the map, the result in a sentence, and the report.
    """
    config = _load(spec, overrides, results, imports)
    from sweep.on_ray.runner import run as run_sweep

    summary = run_sweep(config, retry_failed=retry_failed)
    if not as_json:
        _echo(f"\n{summary}\n")
    findings: dict[str, Any] = {}
    exit_code = summary.exit_code
    try:
        # Without the results there is nothing to show.
        findings = _findings(config.results_path) if summary.saved else {}
    except OSError as error:
        from sweep.training.storage import cause_of

        exit_code = exit_code or EXIT_FAILED
        _echo(f"error: the report was not written, {cause_of(error)}", err=True)
    if as_json:
        _print_json({**dataclasses.asdict(summary), **findings, "exit_code": exit_code})
    elif findings:
        _echo(_findings_text(findings))
    ctx.exit(exit_code)


@main.command()
@_results
@click.option("--output", metavar="PATH", help="Folder or s3:// address for the report; by default RESULTS/report.")
@_json
def report(results: str, output: str | None, as_json: bool) -> None:
    """Write the report of a sweep: pictures and one HTML page.

    The page opens offline.
    """
    findings = _findings(existing(results), output)
    if as_json:
        _print_json(findings)
    else:
        _echo(_findings_text(findings))


@main.command()
@_specification
@_address
@_json
def submit(
    spec: str,
    overrides: tuple[str, ...],
    results: str | None,
    imports: tuple[str, ...],
    address: str | None,
    as_json: bool,
) -> None:
    """Send a sweep to a cluster.

    Returns as soon as the job server has it.
    """
    config = _load(spec, overrides, None, imports)
    from sweep.on_ray import jobs

    job = jobs.submit(config, address=address or jobs.DEFAULT_ADDRESS, results=results)
    if as_json:
        _print_json(dataclasses.asdict(job))
        return
    _echo(f"{job.id} was sent to {job.address}; its results go to {job.results}")
    for command, meaning in (
        (f"sweep status {job.results}", "the status of its trials"),
        (f"sweep logs {job.id}", "what it prints"),
        (f"sweep stop {job.id}", "save and end; the same submit resumes from there"),
    ):
        _echo(f"  {command}   {meaning}")
    for note in job.notes:
        _echo(f"note: {note}")


@main.command()
@_job
@_address
def logs(job: str, address: str | None) -> None:
    """Print what a submitted sweep has printed."""
    from sweep.on_ray import jobs

    click.echo(jobs.logs(jobs.find(job, address=address or jobs.DEFAULT_ADDRESS)), nl=False)


@main.command()
@_job
@_address
@_json
def stop(job: str, address: str | None, as_json: bool) -> None:
    """Make a submitted sweep save and end.

    Sent again, it resumes from there.
    """
    from sweep.on_ray import jobs

    sent = jobs.find(job, address=address or jobs.DEFAULT_ADDRESS)
    state = jobs.stop(sent)
    if as_json:
        _print_json({**dataclasses.asdict(sent), "status": state})
    else:
        _echo(f"{sent.id}: {state}")


def _load(spec: str, overrides: tuple[str, ...], results: str | None, imports: tuple[str, ...]) -> SweepConfig:
    """Load the specification, after importing the modules that register its names."""
    from sweep.imports import import_modules
    from sweep.specification.config import load_specification

    import_modules(imports)
    return load_specification(spec, overrides, results=results)


def _findings(results: str, output: str | None = None) -> dict[str, Any]:
    """Write the report; return the map, the sentence, and the places of all files."""
    from analysis.cells import sweep_map
    from analysis.report import report_of
    from analysis.report.summary import result_sentence, text_map

    report = report_of(results, output)
    return {
        "results": results,
        "map": text_map(sweep_map(report.events, report.planned, report.audits)),
        "sentence": result_sentence(report.events, planned=len(report.planned)),
        "files": {name: place for name, place in dataclasses.asdict(report.files).items() if place is not None},
    }


def _findings_text(findings: dict[str, Any]) -> str:
    files = findings["files"]
    pictures = [place for name, place in files.items() if name.endswith("_png")]
    lines = [findings["map"], "", findings["sentence"], "", f"results   {findings['results']}"]
    lines += [f"{'pictures' if place == pictures[0] else '':10}{place}" for place in pictures]
    return "\n".join([*lines, f"report    {files['report']}"])


def _plan_text(config: SweepConfig, need: Estimate) -> str:
    from sweep.training.progress import duration

    lines = [
        f"{config.name} -> {config.results_path}",
        f"trials    {need.trials:,} asked for, {need.satisfied:,} there already, {need.to_run:,} to run"
        + (f" ({need.failed:,} of them failed before)" if need.failed else ""),
    ]
    if need.cohorts:
        lanes = " or ".join(str(count) for count in need.lanes)
        resumed = (
            f", {need.resumed_cohorts:,} of them resuming from their last report" if need.resumed_cohorts else ""
        )
        lines += [
            f"cohorts   {need.cohorts:,} of {lanes} lanes, {need.sharing}{resumed}",
            f"time      at most {duration(need.wall_s)} here, {duration(need.process_s)} of all processes "
            f"together; by {need.basis}",
        ]
        if need.cost is not None:
            lines.append(f"cost      at most {need.cost:,.2f}, at {config.price_per_hour:g} an hour and process")
    return "\n".join([*lines, *(f"note      {note}" for note in need.notes)])


for command in (
    status_command,
    decide_command,
    check_command,
    behaviour_command,
    export_network_command,
    *NETWORK_COMMANDS,
    replay_command,
    calibrate_command,
):
    main.add_command(command)
