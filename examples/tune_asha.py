"""ASHA over weight decay, data fraction and learning rate, in an ordinary Ray Tune script.

    python examples/tune_asha.py

One evaluated step is one Tune result, so ASHA counts in optimiser updates: `time_attr="step"`. It keeps the trials
with the best validation accuracy so far, and late grokkers look like any other failure until they grok: give it a
long grace period, or use the decline rule (tune_decline.py).
"""

from __future__ import annotations

from pathlib import Path

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from sweep import TrialTrainable


def main(
    steps: int = 4000, samples: int = 8, modulus: int = 23, width: int = 32, results: Path = Path("results")
) -> tune.ResultGrid:
    """Run the search and print its best trial.

    Args:
        steps: budget of a trial, optimiser updates.
        samples: trials to draw.
        modulus: the modulus of the addition to learn.
        width: the width of the transformer.
        results: folder for Tune's own files.
    """
    tuner = tune.Tuner(
        TrialTrainable,
        param_space={
            "weight_decay": tune.loguniform(0.1, 3),
            "data_fraction": tune.choice([0.4, 0.6, 0.8]),
            "learning_rate": tune.loguniform(3e-4, 3e-3),
            "modulus": modulus,
            "width": width,
            "steps": steps,
        },
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=samples,
            reuse_actors=True,
            scheduler=ASHAScheduler(time_attr="step", max_t=steps, grace_period=steps // 4, reduction_factor=2),
        ),
        run_config=tune.RunConfig(name="tune_asha", storage_path=str(results.resolve()), verbose=1),
    )
    grid = tuner.fit()
    best = grid.get_best_result()
    print(
        f"best of {len(grid)} trials: validation accuracy {best.metrics['val_accuracy']:.2f} at step "
        f"{best.metrics['step']}, weight decay {best.config['weight_decay']:.2g}, "
        f"data fraction {best.config['data_fraction']}"
    )
    return grid


if __name__ == "__main__":
    main()
