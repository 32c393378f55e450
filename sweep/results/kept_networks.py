"""Networks that a sweep has kept, with the examples that their trials were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.errors import UnusableNetwork
from sweep.imports import planned_with
from sweep.results.store import Store
from trainables.config.registry import IMPORT_IT
from trainables.errors import ConfigError

if TYPE_CHECKING:
    from trainables.networks import LoadedNetwork


def kept_network(results: str, trial_id: str, step: int | None = None) -> LoadedNetwork:
    """Load a network that was kept of a trial.

    Args:
        results: the results folder, local or `s3://...`.
        trial_id: the trial's id, or a prefix that no other trial shares.
        step: the step at which it was kept, such as the one that `sweep decide` names; None for the last.

    Raises:
        UnusableNetwork: there is no such trial, it has kept no network (`keep_networks: none`, or it has not
            ended) or none at that step, or its task or network is registered by a module that is not imported.
    """
    from analysis.load import networks
    from trainables.architectures import architecture_of
    from trainables.networks import from_safetensors, trained_network

    trials = {trial.trial_id: trial for cohort in Store(results).cohorts() for trial in cohort.trials}
    meant = [name for name in trials if name.startswith(trial_id)]
    if len(meant) != 1:
        count = f"{len(meant)} trials" if meant else "no trial"
        raise UnusableNetwork(
            f"--trial {trial_id} must name one trial of {results}, and {count} there has an id beginning so; "
            "`sweep status RESULTS --json` lists them"
        )
    kept = networks(results, meant)
    if kept.empty:
        raise UnusableNetwork(
            f"trial {meant[0]} must have kept a network, but has none that can be read: it has not ended, "
            f"keep_networks was none, or its file is damaged, which `sweep check {results}` would say"
        )
    steps = kept["step"].astype(int).tolist()
    if step is not None and step not in steps:
        there = ", ".join(f"{one:,}" for one in steps)
        raise UnusableNetwork(f"--step must be one at which trial {meant[0]} kept a network, got {step}: {there}")
    chosen = kept.iloc[-1 if step is None else steps.index(step)]
    try:
        weights = from_safetensors(bytes(chosen["safetensors"]))
        network = trained_network(trials[meant[0]], weights, int(chosen["step"]))
        # Built once to see that it can be: its network may be registered by a module that is not imported.
        architecture_of(network.table, network.model)
    except ConfigError as error:
        hint = planned_with(results) if IMPORT_IT in str(error) else ""
        raise UnusableNetwork(f"trial {meant[0]} of {results}: {error}{hint}") from None
    return network
