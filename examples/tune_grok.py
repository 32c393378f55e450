"""A grid in which stalled trials are paused, and continued by the fate of the other seeds of their setting.

    python examples/tune_grok.py

`GrokScheduler` works as `stop: park` does in a sweep, with the pausing of an ordinary Ray Tune script. With
`reuse_actors=True` every setting gets its first seed before any gets its second, whatever Tune's own order.
"""

from __future__ import annotations

from pathlib import Path

from ray import tune

from sweep import GrokScheduler, TrialTrainable


def main(
    steps: int = 4000, seeds: int = 3, modulus: int = 23, width: int = 32, results: Path = Path("results")
) -> tuple[tune.ResultGrid, GrokScheduler]:
    """Run the grid, and print how each trial ended and what was saved.

    Args:
        steps: budget of a trial, optimiser updates.
        seeds: trials of each setting.
        modulus: the modulus of the addition to learn.
        width: the width of the transformer.
        results: folder for Tune's own files.
    """
    scheduler = GrokScheduler(budget_steps=steps)
    tuner = tune.Tuner(
        TrialTrainable,
        param_space={
            "seed": tune.grid_search(list(range(seeds))),
            "weight_decay": tune.grid_search([0.0, 1.0]),
            "data_fraction": tune.grid_search([0.3, 0.6]),
            "learning_rate": 3e-3,
            "modulus": modulus,
            "width": width,
            "steps": steps,
        },
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune_grok",
            storage_path=str(results.resolve()),
            # What `Tuner.restore` resumes running trials from; paused ones have a checkpoint in any case.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=10),
            verbose=1,
        ),
    )
    grid = tuner.fit()
    for result in grid:
        of, last = result.config, result.metrics
        print(
            f"weight decay {of['weight_decay']}, data fraction {of['data_fraction']}, seed {of['seed']}, "
            f"step {last['step']}: accuracy {last['val_accuracy']:.2f}; {last['ended_reason']}"
        )
    trained = sum(result.metrics["step"] for result in grid)
    print(f"{1 - trained / (steps * len(grid)):.0%} of the steps were saved")
    print(scheduler.decisions.to_string(index=False))
    return grid, scheduler


if __name__ == "__main__":
    main()
