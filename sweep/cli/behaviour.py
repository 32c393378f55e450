"""The commands `sweep behaviour` and `sweep export-network`: what compression does to networks of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sweep.cli.networks import bound_option, load_named, refusing, step_option
from sweep.cli.output import Waiting, echo, existing, import_option, json_option, print_json, results_argument

if TYPE_CHECKING:
    from sweep.specification.prices import Prices
    from trainables.networks.measure import Bound

epsilon_option = click.option(
    "--epsilon", type=float, metavar="NATS", help="Distortion bound; by default that of the sweep."
)
budget_option = click.option("--budget", metavar="NAME", help="Search budget: fast (default) or a longer one.")
prices_option = click.option(
    "--prices", metavar="FILE", help="YAML file of prices for storage and transfer, see docs/behaviour.md."
)


@click.command()
@results_argument
@epsilon_option
@bound_option
@prices_option
@budget_option
@import_option
@json_option
@refusing
def behaviour(
    results: str,
    epsilon: float | None,
    bound: Bound,
    prices: str | None,
    budget: str | None,
    imports: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compress each network worth keeping and compare it with itself.

    The networks are those that `sweep decide` says to compress. The answer is recorded in RESULTS, where
    `sweep report` and `sweep decide` read it.
    """
    from analysis.compression.record import write_record
    from sweep.imports import import_modules
    from sweep.results.compressions import compressions, worth_keeping

    place, paid = existing(results), _prices(prices)
    import_modules(imports)
    networks = worth_keeping(place)
    with Waiting() as waiting:
        entries = list(
            compressions(place, networks, epsilon=epsilon, budget=budget, bound=bound, prices=paid, doing=waiting)
        )
    recorded = None
    try:
        recorded = write_record(place, entries)
    except OSError as error:  # the answer has taken a while, and is printed all the same
        echo(f"note: this is not recorded in {results}: {error.strerror or error}", err=True)
    missing = [one.trial_id for one in networks if not one.kept]
    if as_json:
        print_json({"results": results, "recorded": recorded, "not_kept": missing, "networks": entries})
        return
    for entry in entries:
        _print(entry)
        echo("")
    echo(_total(results, entries))
    if missing:
        echo(f"{len(missing):,} more are worth keeping, but the sweep has not kept them (keep_networks)")


@click.command("export-network")
@results_argument
@click.option("--trial", metavar="ID", required=True, help="Which trial's network.")
@step_option
@epsilon_option
@bound_option
@prices_option
@click.option("--output", metavar="DIR", help="The folder to write; by default TRIAL-step-N-epsilon-NATS here.")
@budget_option
@import_option
@json_option
@refusing
def export_network(
    results: str,
    trial: str,
    step: int | None,
    epsilon: float | None,
    bound: Bound,
    prices: str | None,
    output: str | None,
    budget: str | None,
    imports: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a network of a sweep compressed, decoded, and compared.

    Into a new folder: network.grok, network.safetensors, and behaviour.json and .txt. Nothing is overwritten.
    """
    from sweep.results import export
    from sweep.results.compressions import own_epsilon
    from trainables.config.address import checked_address

    place, paid = existing(results), _prices(prices)
    network = load_named(place, trial, step, imports=imports)
    nats = own_epsilon(place, network) if epsilon is None else epsilon
    folder = checked_address("--output", output or export.export_folder(network, nats), buckets=False)
    entry = export.export_network(network, folder, epsilon=nats, budget=budget, bound=bound, prices=paid)
    if as_json:
        print_json({"folder": folder, **entry})
        return
    _print(entry)
    echo(f"written to {folder}")


def _prices(file: str | None) -> Prices | None:
    from sweep.specification.prices import load_prices

    return None if file is None else load_prices(file)


def _print(entry: dict[str, Any]) -> None:
    from sweep.results.compression_words import paragraphs

    lines, wrong = paragraphs(entry)
    for line in lines:
        echo(line)
    if wrong is not None:
        echo(wrong, red=True)


def _total(results: str, entries: list[dict[str, Any]]) -> str:
    from analysis.words import counted

    if not entries:
        return f"{results}: no network is worth keeping yet, as `sweep decide` says"
    before, after = (sum(entry[name] for entry in entries) for name in ("raw_bytes", "file_bytes"))
    changed = sum(bool(entry["exceeded"]) for entry in entries)
    return (
        f"{results}: {counted(len(entries), 'network')}, {before:,} bytes as float32, {after:,} compressed; "
        f"{f'{changed:,} should be compressed less' if changed else 'all behave as the originals do'}"
    )
