"""The commands for one network: `sweep measure`, `bound`, `compress` and `decompress`.

Nothing heavy is imported until a command runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from sweep.cli.output import echo, import_option, json_option, print_json
from sweep.errors import UnusableNetwork

if TYPE_CHECKING:
    from trainables.networks import LoadedNetwork
    from trainables.networks.measure import Bound, DecodedNetwork

P = ParamSpec("P")
T = TypeVar("T")

trial_option = click.option(
    "--trial", metavar="ID", help="Which trial's network, if NETWORK is the RESULTS of a sweep."
)
step_option = click.option(
    "--step", type=int, metavar="N", help="With --trial: the step at which it was kept; the last one by default."
)

bound_option = click.option(
    "--bound",
    type=click.Choice(["loss", "answers"]),
    default="loss",
    help="What epsilon bounds: the rise of the training loss (default), or the divergence of the answers.",
)


def refusing(command: Callable[P, T]) -> Callable[P, T]:
    """Report unreadable input as a fault of the command line: one line, exit code 2."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        from analysis.errors import AnalysisError
        from trainables.errors import TrainablesError

        try:
            return command(*arguments, **options)
        except (TrainablesError, AnalysisError) as error:
            raise UnusableNetwork(" ".join(str(error).split())) from error
        except OSError as error:
            raise UnusableNetwork(f"{error.filename or 'a file'}: {error.strerror or error}") from error

    return run


def _network(command: Callable[..., None]) -> Callable[..., None]:
    """Add NETWORK, the options that say which one is meant, and --budget NAME to a command."""

    @functools.wraps(command)
    def run(
        network: str,
        trial: str | None,
        step: int | None,
        like: str | None,
        attention: str | None,
        imports: tuple[str, ...],
        **options: Any,
    ) -> None:
        load = functools.partial(load_named, network, trial, step, like=like, attention=attention, imports=imports)
        command(network, load, **options)

    for decorate in (
        import_option,
        click.option("--budget", metavar="NAME", help="Search budget: fast (default) or a longer one."),
        click.option(
            "--attention",
            type=click.Choice(["sum", "softmax"]),
            help="Kind of attention; an .npz does not say it and gets the kind that fits its training sequences.",
        ),
        click.option(
            "--like", metavar="NETWORK", help="A network file whose examples are meant, if NETWORK has none."
        ),
        step_option,
        trial_option,
        click.argument("network", metavar="NETWORK"),
    ):
        run = decorate(run)
    return run


@click.command()
@_network
@click.option(
    "--epsilon",
    "epsilons",
    type=float,
    multiple=True,
    metavar="NATS",
    help="Distortion bound, may be given several times; 1 by default.",
)
@click.option("--output", metavar="DIR", help="Folder for the bitstreams; without it they are not kept.")
@json_option
@refusing
def measure(
    network: str,
    load: Callable[[], LoadedNetwork],
    budget: str | None,
    epsilons: tuple[float, ...],
    output: str | None,
    as_json: bool,
) -> None:
    """Measure the complexity of a network.

    NETWORK is an .npz of the paper's public code, a .safetensors with its specification, a file of `sweep compress`
    or `sweep decompress`, or RESULTS with --trial.
    """
    from sweep.cli.measurement_answer import answer, doubt, table
    from trainables.config.address import checked_address
    from trainables.networks.measure import measure_network
    from trainables.schedule import MeasuringConfig

    bounds = tuple(dict.fromkeys(epsilons)) or (MeasuringConfig().epsilon,)
    output = None if output is None else checked_address("--output", output, buckets=False)
    loaded = load()
    decoded = measure_network(loaded, bounds, budget)
    files = [None if output is None else _write(output, entry) for entry in decoded]
    measured = answer(network, loaded, decoded, files)
    note = doubt(loaded, measured["train_loss"])
    if note is not None:
        echo(f"note: {note}", err=True)
    if as_json:
        print_json(measured)
    else:
        echo(table(measured))


@click.command()
@_network
@click.option("--epsilon", type=float, metavar="NATS", help="Distortion bound; 1 by default.")
@bound_option
@click.option(
    "--keep-accuracy",
    type=float,
    metavar="SHARE",
    help="Instead of --epsilon: the largest bound found that keeps this accuracy, e.g. .99.",
)
@click.option("--output", metavar="FILE", required=True, help="The file to write.")
@json_option
@refusing
def compress(
    network: str,
    load: Callable[[], LoadedNetwork],
    budget: str | None,
    epsilon: float | None,
    bound: Bound,
    keep_accuracy: float | None,
    output: str,
    as_json: bool,
) -> None:
    """Write a network as one small file.

    The file says what it holds: `sweep decompress` needs nothing else. Accuracies are printed before and after.
    """
    from sweep.cli import compression_answer
    from trainables.config.address import checked_address
    from trainables.networks import keeping, to_compressed
    from trainables.networks.measure import NetworkMeasuring, scores
    from trainables.schedule import MeasuringConfig

    if epsilon is not None and keep_accuracy is not None:
        raise UnusableNetwork("--keep-accuracy finds the epsilon, so leave out --epsilon, or --keep-accuracy")
    output = checked_address("--output", output, buckets=False)
    loaded = load()
    kept = None
    if keep_accuracy is not None:
        kept = keeping.keep_accuracy(loaded, keep_accuracy, budget)
        decoded = kept.decoded
    else:
        nats = MeasuringConfig().epsilon if epsilon is None else epsilon
        decoded = NetworkMeasuring(loaded, budget, bound).at(nats)
    data = to_compressed(loaded, decoded.result)
    Path(output).write_bytes(data)
    answer = compression_answer.answer(output, len(data), scores(loaded, loaded.parameters), decoded, kept)
    warning = None if keep_accuracy is not None else compression_answer.warning(network, answer)
    if as_json:
        print_json(answer)
    else:
        echo(compression_answer.text(answer, keep_accuracy))
    if warning is not None:
        echo(f"warning: {warning}", err=True, red=True)


@click.command()
@click.argument("bitstream", metavar="BITSTREAM")
@click.option(
    "--like", metavar="NETWORK", help="The network it was made from, or one with the same names, shapes and dtypes."
)
@click.option("--output", metavar="FILE", required=True, help="The .safetensors file to write.")
@json_option
@refusing
def decompress(bitstream: str, like: str | None, output: str, as_json: bool) -> None:
    """Turn a bitstream back into a network.

    BITSTREAM is a file of `sweep measure`, together with --like, or a file of `sweep compress`, without it.
    Parameters have the names in NETWORK.
    """
    from trainables.complexity import decode, is_self_contained, unpack
    from trainables.config.address import checked_address
    from trainables.networks import read_parameters, to_safetensors

    output = checked_address("--output", output, buckets=False)
    data = Path(bitstream).read_bytes()
    about: dict[str, str] = {}
    if is_self_contained(data):
        file = unpack(data)
        about = file.about
        decoded = file.decode() if like is None else decode(file.bitstream, read_parameters(like))
    elif like is None:
        raise UnusableNetwork(f"{bitstream} does not say which network it is; name one like it with --like NETWORK")
    else:
        decoded = decode(data, read_parameters(like))
    Path(output).write_bytes(to_safetensors(decoded, about))
    answer = {
        "file": output,
        "tensors": len(decoded),
        "parameters": sum(weight.numel() for weight in decoded.values()),
    }
    if as_json:
        print_json(answer)
    else:
        echo(f"{output}: {answer['parameters']:,} weights in {answer['tensors']} tensors")


@click.command()
@click.argument("bitstream", metavar="BITSTREAM")
@click.option("--like", metavar="NETWORK", required=True, help="The network it was made from, with its sequences.")
@trial_option
@step_option
@click.option("--attention", type=click.Choice(["sum", "softmax"]), help="Kind of attention, see `sweep measure`.")
@import_option
@click.option(
    "--delta", type=float, metavar="SHARE", help="Probability that the bound does not hold; 0.05 by default."
)
@json_option
@refusing
def bound(
    bitstream: str,
    like: str,
    trial: str | None,
    step: int | None,
    attention: str | None,
    imports: tuple[str, ...],
    delta: float | None,
    as_json: bool,
) -> None:
    """Bound the error of a bitstream's network on unseen examples.

    BITSTREAM is decoded and its network is run on the training sequences of NETWORK. The length of the code and the
    errors there bound how many of the other answers can be wrong. The weights of NETWORK are not used.
    """
    from analysis.bounds import DELTA
    from sweep.cli.error_bounds import error_bounds, sentence
    from trainables.complexity import is_self_contained, unpack
    from trainables.networks.measure import decoded_network, scores

    loaded = load_named(like, trial, step, attention=attention, imports=imports)
    data = Path(bitstream).read_bytes()
    stream = unpack(data).bitstream if is_self_contained(data) else data
    chosen = DELTA if delta is None else delta
    bounds = error_bounds(loaded, len(stream), scores(loaded, decoded_network(loaded, stream)), chosen)
    if as_json:
        print_json({"bitstream": bitstream, "stream_bytes": len(stream), "delta": chosen, **bounds})
    else:
        echo(f"{bitstream}: {len(stream):,} bytes. {sentence(bounds, chosen)}")


COMMANDS = (measure, bound, compress, decompress)


def load_named(
    network: str,
    trial: str | None,
    step: int | None = None,
    *,
    like: str | None = None,
    attention: str | None = None,
    imports: tuple[str, ...] = (),
) -> LoadedNetwork:
    """Load the network that a command line names, see the options of `sweep measure`.

    Raises:
        UnusableNetwork: the options do not name a network.
    """
    from sweep.imports import import_modules
    from trainables.networks import load_network, with_attention

    import_modules(imports)
    if trial is None:
        if Path(network).is_dir():
            raise UnusableNetwork(f"{network} is a folder; name the trial whose network is meant with --trial ID")
        if step is not None:
            raise UnusableNetwork(f"--step {step} needs --trial ID, whose networks were kept at several steps")
        loaded = load_network(network, None if like is None else load_network(like))
    else:
        from sweep.results.kept_networks import kept_network

        if like is not None:
            raise UnusableNetwork("a trial knows its examples, so leave out --like, or --trial")
        loaded = kept_network(network, trial, step)
    return loaded if attention is None else with_attention(loaded, attention)  # type: ignore[arg-type]


def _write(folder: str, entry: DecodedNetwork) -> str:
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"epsilon-{entry.result.epsilon:.17g}.bitstream"
    file.write_bytes(entry.result.bitstream)
    return str(file)
