"""Random search in which trials are stopped once their complexity will not decline: an ordinary Ray Tune script.

    python examples/tune_decline.py

`DeclineStopper` looks at each trial by itself, unlike ASHA, so a late grokker is not stopped for being late. A
tenth of the trials, chosen by a hash of their ids, is only marked: those show how often the rule is wrong.
"""

from __future__ import annotations

from pathlib import Path

from ray import tune

from analysis.stopping.decline import DeclineParameters
from sweep import DeclineStopper, TrialTrainable


def main(
    steps: int = 4000, samples: int = 8, modulus: int = 23, width: int = 32, results: Path = Path("results")
) -> tuple[tune.ResultGrid, DeclineStopper]:
    """Run the search and print why each trial ended.

    Args:
        steps: budget of a trial, optimiser updates.
        samples: trials to draw.
        modulus: the modulus of the addition to learn.
        width: the width of the transformer.
        results: folder for Tune's own files.
    """
    stopper = DeclineStopper(budget_steps=steps, parameters=DeclineParameters(patience=20))
    tuner = tune.Tuner(
        TrialTrainable,
        param_space={
            "weight_decay": tune.loguniform(0.01, 3),
            "data_fraction": tune.choice([0.2, 0.4, 0.8]),
            "learning_rate": 3e-3,
            "modulus": modulus,
            "width": width,
            "steps": steps,
        },
        tune_config=tune.TuneConfig(num_samples=samples, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune_decline", storage_path=str(results.resolve()), stop=stopper, verbose=1
        ),
    )
    grid = tuner.fit()
    for result in grid:
        stop = stopper.stops.get(result.metrics["trial_id"])
        why = stop.reason if stop and not stop.audited else result.metrics["ended_reason"]
        marked = f" (audited: would have been stopped at step {stop.step})" if stop and stop.audited else ""
        print(
            f"weight decay {result.config['weight_decay']:.2g}, data fraction {result.config['data_fraction']}, "
            f"step {result.metrics['step']}: accuracy {result.metrics['val_accuracy']:.2f}; {why}{marked}"
        )
    return grid, stopper


if __name__ == "__main__":
    main()
