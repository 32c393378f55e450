"""Cohorts that follow stopped trials to their end, until the certificate that was asked for is met."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from analysis.stopping.certified import stopped_trials
from sweep.plan.plan import can_continue, group
from sweep.plan.sharing import Sharing
from sweep.results.cohort import Cohort
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from trainables.config import TrialConfig


def next_cohorts(
    config: SweepConfig, store: Store, trials: Sequence[TrialConfig], sharing: Sharing
) -> list[Cohort]:
    """Return the cohorts that follow the stopped trials drawn next; they are not recorded yet.

    A drawn trial continues where it was parked, without a rule.

    Args:
        config: the request.
        store: the results, in which every requested trial has ended.
        trials: the requested trials.
        sharing: how cohorts share the machines.
    """
    if config.stop != "park" or config.certify is None:
        return []
    stopped = stopped_trials(store.path)
    drawn = set(stopped.next_draws()) if stopped is not None else set()
    if not drawn:
        return []
    outcomes, recorded = store.outcomes(), {cohort.cohort_id: cohort for cohort in store.cohorts()}
    parked_in = {name: outcomes[name].cohort_id for name in drawn}
    adopts = {
        name: home for name, home in parked_in.items() if can_continue(outcomes[name], recorded[home], config)
    }
    wanted = [trial for trial in trials if trial.trial_id in drawn]
    cohorts = group(wanted, config, sharing=sharing, first_index=store.next_index(), adopts=adopts)
    return [
        dataclasses.replace(
            cohort,
            parking=None,
            certifies={name: outcomes[name].ended_at_step or 0 for name in cohort.trial_ids},
        )
        for cohort in cohorts
    ]
