"""The trials of a specification."""

from __future__ import annotations

from collections.abc import Callable

from sweep.errors import Problem, SpecificationError
from sweep.specification.cases import products
from sweep.specification.config import SweepConfig
from trainables.config import TrialConfig
from trainables.config.registry import held_sources
from trainables.errors import ConfigError


@held_sources()
def trials(config: SweepConfig, progress: Callable[[str], None] = lambda _: None) -> list[TrialConfig]:
    """List all trials of a specification, each once, in an order that depends on the specification only.

    The seed changes slowest, so a sweep that is cut short has seen every setting before it repeats one; then the
    mappings of the cases; then the axes in the order of `TrialConfig`, the last one fastest.

    Args:
        config: the specification.
        progress: called with what is being done, in words, now and then.

    Raises:
        SpecificationError: a combination cannot be trained.
    """
    trial_of: dict[str, TrialConfig] = {}
    try:
        combinations = [settings for product in products(config) for settings in product.settings()]
        total = len(config.seed_list) * len(combinations)
        for done, seed in enumerate(config.seed_list):
            progress(f"listed {done * len(combinations):,} of {total:,} trials")
            for settings in combinations:
                # Two settings may describe the same network, e.g. `layers` left out and `layers: 1`.
                trial = TrialConfig(**settings, seed=seed)
                trial_of.setdefault(trial.trial_id, trial)
    except ConfigError as error:
        path = tuple(str(error).split(maxsplit=1)[0].split("."))
        raise SpecificationError([Problem(path, str(error))]) from None
    return list(trial_of.values())
