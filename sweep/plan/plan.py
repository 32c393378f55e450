"""Cohorts: which trials one process trains, decided once and never regrouped; and which trials are missing."""

from __future__ import annotations

import datetime
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from analysis.stopping.decline import rule_name
from analysis.stopping.parking import PREFIX
from analysis.words import counted
from sweep.imports import imports_of
from sweep.plan.other_specification import other_specification
from sweep.plan.stopping_notes import stopping_notes
from sweep.results.cohort import Cohort
from sweep.results.evidence import EvidenceBook
from sweep.specification.config import SweepConfig, check_feasible
from sweep.specification.trials import trials as trials_of
from trainables.config import AT_DECLINE, TrialConfig
from trainables.numerics.environment import ACROSS_MACHINES, HERE, Reproducible

if TYPE_CHECKING:
    from analysis.checks.findings import Finding
    from sweep.plan.sharing import Sharing
    from sweep.results.outcomes import Outcome
    from sweep.results.store import Store

NO_RULE = "none"
"""The value of `stop_rule` if we stop no trials."""

QUEUE_PER_LANE = 4
"""A cohort has at most this many trials a lane, which bounds what its end delays and what one fault costs ..."""

SHORT_COHORT_FLOPS = 12e12
"""... unless that is less work than this (see `sweep.plan.sizing`), about a minute of a core: each cohort costs
Ray a twentieth of a second of a core, and readers a file in each table."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The work of a request, given the existing results."""

    trials: list[TrialConfig]
    """All trials of the request."""
    resume: list[Cohort]
    """Recorded cohorts with requested trials that have not ended; a failed one resumes from its checkpoint."""
    new: list[Cohort]
    """Cohorts that are not recorded yet, see `record`."""
    satisfied: list[str]
    """Ids of trials that already have the requested results."""
    failed: list[str]
    """Ids of trials that failed before and are tried again."""
    outcomes: Mapping[str, Outcome]
    """Trial id -> outcome, of all trials in the results folder: what the plan was made from."""
    sharing: Sharing
    """How the cohorts share the machines."""
    damage: list[Finding] = field(default_factory=list)
    """What is wrong with the results folder, and is set aside before anything is trained."""
    notes: list[str] = field(default_factory=list)
    """Sentences for people about anything that may surprise them."""

    @property
    def cohorts(self) -> list[Cohort]:
        """Everything to run, the longest first."""
        return [*self.resume, *self.new]

    @property
    def to_run(self) -> list[str]:
        """Ids of the requested trials that will run, in the order of the request."""
        there = set(self.satisfied)
        running = {trial_id for cohort in self.cohorts for trial_id in cohort.trial_ids}
        ids = (trial.trial_id for trial in self.trials)
        return [trial_id for trial_id in ids if trial_id in running and trial_id not in there]


def stop_rule_of(config: SweepConfig) -> str:
    """Return name, version and parameters of a specification's stopping rule, or `none`."""
    if config.stop == "park":
        return config.parking.name
    return rule_name(config.decline) if config.stop == "decline" else NO_RULE


def plan(
    config: SweepConfig,
    store: Store,
    *,
    retry_failed: bool = False,
    parallel: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Compare the request with the existing results. Writes nothing.

    A trial satisfies the request if it grokked (which it has done past its tail), diverged (it would again),
    reached the requested budget, or was stopped under the same rule (if it was parked, with no smaller budget). If
    its penalty starts at the decline of complexity, it must also have been measured in the same way. If the same
    bits across machines are requested, it must have been trained so. A trial that has not ended resumes in its
    cohort, if that has the same budget, rule, way of measuring and device, and promises the same bits. One that
    was stopped while it was parked continues from there, under another rule or with another budget. All others run
    anew.

    Args:
        config: the request.
        store: the existing results.
        retry_failed: whether to plan only trials that have failed.
        parallel: cohorts that run at once; by default taken from the specification, see `sweep.plan.sharing`.
        progress: called with what is being done, in words, now and then.

    Raises:
        SpecificationError: the specification cannot be run.
        StoreError: the results folder cannot be read.
    """
    progress("trying the tasks and networks")
    check_feasible(config)
    requested = trials_of(config, progress)
    progress("reading the results that are there")
    outcomes, damage = store.checked_outcomes()
    recorded = store.cohorts()
    holder = {trial_id: cohort for cohort in recorded for trial_id in cohort.trial_ids}
    budgets = {(cohort.index, trial.trial_id): trial.steps for cohort in recorded for trial in cohort.trials}
    rule = stop_rule_of(config)

    by_id = {cohort.cohort_id: cohort for cohort in recorded}
    ways = {cohort.cohort_id: cohort.measuring for cohort in recorded}
    promised = {cohort.cohort_id: cohort.reproducible for cohort in recorded}

    def same_start(trial: TrialConfig, cohort_id: str) -> bool:
        """Check that a penalty waiting for a decline would start at the same step: it must be measured alike."""
        return trial.spectral_start != AT_DECLINE or ways[cohort_id] == config.measuring

    satisfied: list[str] = []
    failed: list[str] = []
    missing: list[TrialConfig] = []
    adopts: dict[str, str] = {}
    resume: dict[int, Cohort] = {}
    for trial in requested:
        outcome = outcomes.get(trial.trial_id)
        cohort = holder.get(trial.trial_id)
        if (
            outcome is not None
            and satisfies(outcome, trial.steps, rule)
            and same_start(trial, outcome.cohort_id)
            and promises(promised.get(outcome.cohort_id, HERE), config.reproducible)
            and (config.reproducible == HERE or outcome.reproducible in (None, config.reproducible))
        ):
            satisfied.append(trial.trial_id)
            continue
        has_failed = outcome is not None and outcome.ended_because == "failed"
        if retry_failed and not has_failed:
            continue
        if has_failed:
            failed.append(trial.trial_id)
        if (
            cohort is not None
            and budgets[cohort.index, trial.trial_id] == trial.steps
            and cohort.stop_rule == rule
            and cohort.measuring == config.measuring
            and cohort.device == config.device
            and promises(cohort.reproducible, config.reproducible)
        ):
            resume[cohort.index] = cohort
        else:
            missing.append(trial)
            if outcome is not None and can_continue(outcome, by_id[outcome.cohort_id], config):
                adopts[trial.trial_id] = outcome.cohort_id

    progress(f"putting {len(missing):,} trials into cohorts")
    sharing = _sharing(missing or requested, config, parallel or config.processes)
    return Plan(
        trials=requested,
        resume=[resume[index] for index in sorted(resume)],
        new=group(missing, config, sharing=sharing, first_index=store.next_index(), adopts=adopts),
        satisfied=satisfied,
        failed=failed,
        outcomes=outcomes,
        sharing=sharing,
        damage=damage,
        notes=[
            *_damage_notes(damage),
            *_notes(config, satisfied, outcomes),
            *stopping_notes(config, requested),
            *other_specification(config, requested, recorded, store.path),
        ],
    )


def _sharing(trials: Sequence[TrialConfig], config: SweepConfig, processes: int | Literal["auto"]) -> Sharing:
    from sweep.plan.sharing import share, this_node

    def kind(trial: TrialConfig) -> tuple[object, ...]:
        """Return a rough key for a shape that is quick to compute."""
        penalised, noisy = trial.spectral_entropy_weight > 0, trial.weight_noise > 0
        return trial.task, trial.model, trial.batch_size, trial.data_fraction, penalised, noisy

    one_of_each = list({kind(trial): trial for trial in trials}.values())
    return share(one_of_each, config.measuring, device=config.device, processes=processes, node=this_node())


def record(decided: Plan, config: SweepConfig, store: Store) -> None:
    """Record a plan: set damage aside, write the request and the new cohorts, and have failed ones tried again."""
    if decided.damage:
        store.repair(decided.damage)
    store.write_request(config, [trial.trial_id for trial in decided.trials], imports_of(decided.trials))
    store.add_cohorts(decided.new)
    if config.stop == "park":
        EvidenceBook(store.path).write_shared({cohort.cohort_id: cohort.comparable for cohort in store.cohorts()})
    for cohort in decided.resume:
        store.clear_failed(cohort.cohort_id)


def group(
    trials: Sequence[TrialConfig],
    config: SweepConfig,
    *,
    sharing: Sharing,
    first_index: int = 0,
    adopts: Mapping[str, str] | None = None,
) -> list[Cohort]:
    """Put trials into cohorts of one shape each, as many as keep all processes busy equally long.

    Which trials of a shape go together is decided by their ids, which are hashes. So every cohort gets its share of
    the settings that take long. Where trials are parked, all seeds of a setting go together, see `_deal_cells`.

    Args:
        trials: the trials to train, each once.
        config: the number of lanes, the way of measuring and the stopping rule.
        sharing: the number of cohorts at once, and the memory of each.
        first_index: index of the first cohort.
        adopts: ids of trials that continue where they were parked -> the cohort that parked them.

    Returns:
        The cohorts, the one with the most work first.
    """
    from sweep.plan.sizing import Costs, lanes_for, shape_settings
    from trainables.lanes import lanes_within, shape_key

    shapes: dict[Any, list[TrialConfig]] = defaultdict(list)
    key_of: dict[Any, Any] = {}
    for trial in trials:
        settings = shape_settings(trial)
        if settings not in key_of:
            key_of[settings] = shape_key(trial)
        shapes[key_of[settings]].append(trial)
    costs = Costs()
    work = {key: sum(costs.flops(trial, config.measuring) for trial in members) for key, members in shapes.items()}
    total = sum(work.values())

    queues: list[tuple[float, list[TrialConfig], int]] = []
    for key, members in shapes.items():
        lanes = lanes_for(members[0], config.lanes, config.device, sharing.memory_bytes)
        fitting = lanes_within(members[0], sharing.memory_bytes, config.device)
        short = int(SHORT_COHORT_FLOPS * len(members) / work[key])
        cores = sharing.at_once * work[key] / total
        count = _number_of_cohorts(len(members), lanes, cores, longest=max(QUEUE_PER_LANE * lanes, short))
        for queue in _deal_cells(members, count, cores) if config.stop == "park" else _deal(members, count):
            width = lanes if config.lanes != "auto" else min(_even_lanes(len(queue), lanes), fitting)
            queues.append((work[key] * len(queue) / len(members), queue, width))
    queues.sort(key=lambda entry: -entry[0])

    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    adopts = adopts or {}
    return [
        Cohort(
            cohort_id=f"c{index:04d}-{_digest(trial.trial_id for trial in queue)}",
            index=index,
            trials=tuple(sorted(queue, key=lambda trial: trial.trial_id not in adopts)),
            lanes=width,
            measuring=config.measuring,
            stop_rule=stop_rule_of(config),
            decline=config.decline if config.stop == "decline" else None,
            parking=config.parking if config.stop == "park" else None,
            adopts={trial.trial_id: adopts[trial.trial_id] for trial in queue if trial.trial_id in adopts},
            audit_share=config.audit_share,
            keep_networks=config.keep_networks,
            device=config.device,
            reproducible=config.reproducible,
            imports=imports_of(queue),
            created=created,
        )
        for index, (_, queue, width) in enumerate(queues, start=first_index)
    ]


def satisfies(outcome: Outcome, steps: int, rule: str) -> bool:
    """Check whether the outcome of a trial satisfies the request, see `plan`.

    Args:
        outcome: the trial's outcome.
        steps: the requested budget.
        rule: the requested stopping rule, see `stop_rule_of`.
    """
    if outcome.ended_because in ("grokked", "diverged"):
        return True
    if outcome.ended_because == "stopped" and outcome.stop_rule == rule:
        # Parked trials are given a share of their budget, so with a larger one they are to continue.
        return outcome.budget_steps >= steps or not rule.startswith(PREFIX)
    ended = outcome.ended_because in ("budget", "stopped")
    return ended and outcome.ended_at_step is not None and outcome.ended_at_step >= steps


def can_continue(outcome: Outcome, cohort: Cohort, config: SweepConfig) -> bool:
    """Check whether a trial can continue from where a cohort has parked it, in a cohort of this request.

    Args:
        outcome: the trial's outcome.
        cohort: the cohort that this outcome is of.
        config: the request.
    """
    return (
        outcome.ended_because == "stopped"
        and cohort.parking is not None
        and cohort.device == config.device
        and cohort.measuring == config.measuring
        and promises(cohort.reproducible, config.reproducible)
    )


def promises(trained: Reproducible, asked: Reproducible) -> bool:
    """Check that bits trained under one promise keep another: those that hold across machines hold here, too."""
    return trained in (asked, ACROSS_MACHINES)


def _notes(config: SweepConfig, satisfied: Iterable[str], outcomes: dict[str, Outcome]) -> list[str]:
    from sweep.plan.sharing import NO_GPU_HERE, there_is_a_gpu

    notes = [NO_GPU_HERE] if config.device == "cuda" and not there_is_a_gpu() else []
    other = {outcomes[trial_id].epsilon for trial_id in satisfied} - {config.epsilon}
    if not other:
        return notes
    measured = ", ".join(f"{epsilon:g}" for epsilon in sorted(epsilon for epsilon in other if epsilon is not None))
    return [
        *notes,
        f"some existing trials were measured at epsilon {measured}, not {config.epsilon:g}, and do not run "
        "again; use another results folder to have both",
    ]


def _damage_notes(damage: Sequence[Finding]) -> list[str]:
    if not damage:
        return []
    return [
        f"damaged or missing in the results folder: {counted(len(damage), 'file')}; a run moves what is left of it "
        "to set-aside/ and trains again what it held, `sweep check` has the list"
    ]


def _number_of_cohorts(members: int, lanes: int, cores: float, longest: int) -> int:
    """Return the number of cohorts for `members` trials of a shape whose fair share of the machines is `cores`.

    One for each of these cores, or two if the lanes are full even so, which evens out the ends; more if the
    queues would be longer than `longest`; at most one for two trials, because a lane never trains alone.
    """
    fewest = -(-members // longest)
    wanted = max(round(cores), min(round(2 * cores), members // lanes))
    return max(1, fewest, min(wanted, members // 2))


def _deal(members: Sequence[TrialConfig], count: int) -> list[list[TrialConfig]]:
    """Divide members into `count` queues of nearly equal length; a queue keeps their order."""
    by_hash = sorted(range(len(members)), key=lambda place: members[place].trial_id)
    return [[members[place] for place in sorted(by_hash[start::count])] for start in range(count)]


def _deal_cells(members: Sequence[TrialConfig], count: int, cores: float) -> list[list[TrialConfig]]:
    """Divide members into about `count` queues of about equal length that keep the seeds of a setting together.

    So what one seed tells is known where the others wait. A setting is divided only if it has more seeds than a
    queue is long. A queue begins with the first seed of each of its settings, then come the second ones, and so on.
    """
    cells: dict[str, list[TrialConfig]] = defaultdict(list)
    for trial in members:
        cells[trial.cell_id].append(trial)
    count = min(count, max(len(cells), round(cores)))
    longest = -(-len(members) // count)
    parts = [
        sorted(seeds, key=lambda trial: trial.seed)[first : first + longest]
        for _, seeds in sorted(cells.items())
        for first in range(0, len(seeds), longest)
    ]
    queues: list[list[list[TrialConfig]]] = [[] for _ in range(count)]
    for part in sorted(parts, key=len, reverse=True):
        min(queues, key=lambda queue: sum(map(len, queue))).append(part)
    return [
        [part[place] for place in range(max(map(len, queue))) for part in queue if place < len(part)]
        for queue in queues
        if queue
    ]


def _even_lanes(queue: int, lanes: int) -> int:
    """Return about `lanes`, such that the queue fills full rounds: 9 trials in 9 lanes, not in 8 and then 1."""
    rounds = max(1, round(queue / lanes))
    return -(-queue // rounds)


def _digest(trial_ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(trial_ids).encode()).hexdigest()[:8]
