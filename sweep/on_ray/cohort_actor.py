"""The Tune trainable of a cohort: Tune only schedules it, see `sweep.training.cohort_training`.

Tune's own checkpoints are not used: results and checkpoints go to the results folder.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from ray import tune

from sweep.imports import import_modules
from sweep.results.cohort import Cohort
from sweep.training.cohort_training import CohortTraining


class CohortTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains one cohort; its `config` is only `{"cohort": cohort_id}`. See `CohortTraining`."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        results: str,
        report_blocks: int,
        result_every_s: float,
        patience_s: float | None = None,
        import_folders: Sequence[str] = (),
    ) -> None:
        """Begin or resume a cohort.

        Args:
            config: names the cohort.
            results: the results folder; a local path is absolute.
            report_blocks: see `CohortTraining`.
            result_every_s: see `CohortTraining`.
            patience_s: see `CohortTraining`.
            import_folders: folders of the modules that cohorts name, on the driver's machine.
        """

        def prepare(cohort: Cohort) -> None:
            import_modules(cohort.imports, import_folders, where=f" on {platform.node()}")

        self._training = CohortTraining(
            results,
            report_blocks=report_blocks,
            result_every_s=result_every_s,
            patience_s=patience_s,
            prepare=prepare,
        )
        # Tune calls `setup` for the first cohort of a process, and `reset_config` for each later one.
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin or resume another cohort in the same process (`reuse_actors=True`)."""
        self._training.take_up(new_config["cohort"])
        # Otherwise Tune would start a new process after all.
        return True

    def step(self) -> dict[str, Any]:
        """Train some blocks, and write a report if one is due."""
        return self._training.step()

    def cleanup(self) -> None:
        """Close the training after a clean stop or an error; not called if the process dies or seems dead."""
        self._training.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: checkpoints are in the results folder."""

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: `setup` has found the checkpoint."""
