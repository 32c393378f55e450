"""What `sweep check` says of a compressed network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cli.networks import load_named, refusing
from sweep.cli.output import echo, print_json
from sweep.errors import UnusableNetwork

if TYPE_CHECKING:
    from trainables.networks import LoadedNetwork


@refusing
def check_file(
    file: str, like: str | None, trial: str | None, step: int | None, imports: tuple[str, ...], as_json: bool
) -> bool:
    """Print what is known of a compressed or decompressed network; return whether nothing is wrong with it.

    Args:
        file: the network file.
        like: the file of the original, or the results folder of its sweep; None to look at the file alone.
        trial: which trial's network, if `like` is a results folder; by default the one that the file names.
        step: the step at which it was kept; by default the one that the file names.
        imports: modules to import before.
        as_json: print JSON.
    """
    from sweep.imports import import_modules
    from trainables.errors import BitstreamError
    from trainables.networks import read_parameters

    import_modules(imports)
    facts: dict[str, Any] = {"file": file, "file_bytes": Path(file).stat().st_size, "damage": None}
    try:
        weights = read_parameters(file)
    except BitstreamError as error:
        facts["damage"] = str(error)
    else:
        facts |= {"tensors": len(weights), "parameters": sum(weight.numel() for weight in weights.values())}
        facts |= _scores(file) if like is None else _compared(file, *_original(file, like, trial, step))
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    return facts["damage"] is None and not facts.get("exceeded")


def _original(file: str, like: str, trial: str | None, step: int | None) -> tuple[LoadedNetwork, str]:
    """Load the original, and return it with its name."""
    from trainables.networks import load_network

    if Path(like).is_file():
        return load_named(like, trial, step), like
    if trial is None:
        own = load_network(file)
        if own.trial is None:
            raise UnusableNetwork(f"{file} does not say which trial it is of; name it with --trial ID")
        trial, step = own.trial.trial_id, own.step if step is None else step
    return load_named(like, trial, step), f"trial {trial} of {like}"


def _scores(file: str) -> dict[str, Any]:
    from trainables.errors import ConfigError
    from trainables.networks import load_network

    try:
        network = load_network(file)
    except ConfigError as error:
        return {"unknown": " ".join(str(error).split())}
    return _accuracies(network)


def _compared(file: str, original: LoadedNetwork, name: str) -> dict[str, Any]:
    from trainables.networks import load_network
    from trainables.networks.behaviour import Limits, behaviour

    network = load_network(file, original)
    seen = behaviour(original, network.parameters)
    facts = {"like": name, "behaviour": seen.as_dict(), "exceeded": Limits().exceeded(seen)}
    return {**_accuracies(network), **facts}


def _accuracies(network: LoadedNetwork) -> dict[str, Any]:
    from trainables.networks.measure import scores

    own = scores(network, network.parameters)
    return {"train_accuracy": own.train_accuracy, "val_accuracy": own.val_accuracy}


def _print(facts: dict[str, Any]) -> None:
    from sweep.results.compression_words import behaviour_lines

    if facts["damage"] is not None:
        echo(f"{facts['file']}: damaged: {facts['damage']}", red=True)
        return
    echo(
        f"{facts['file']}: {facts['file_bytes']:,} bytes, whole; {facts['parameters']:,} weights in "
        f"{facts['tensors']} tensors"
    )
    if "unknown" in facts:
        echo(f"its accuracy is not known: {facts['unknown']}")
        return
    echo(f"accuracy {facts['train_accuracy']:.4f} in training, {facts['val_accuracy']:.4f} in validation")
    if "behaviour" not in facts:
        return
    echo(f"compared with {facts['like']}")
    for line in behaviour_lines(facts["behaviour"]):
        echo(line)
    for words in facts["exceeded"]:
        echo(f"beyond its limit: {words}", red=True)
    if not facts["exceeded"]:
        echo("All changes are within their limits.")
