"""Which trials of a sweep are followed although the rule would have stopped them, and how likely that was.

Two designs make such trials. A share of all trials, chosen by a hash of the id, is audited: never stopped, only
marked. And of the trials that a parking rule has stopped some are drawn afterwards, by another hash, and followed
to their end. Both are random and know nothing of outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.results_folder import ResultsFolder, opened

if TYPE_CHECKING:
    import pandas as pd

NO_RULE = "none"
"""What the column `stop_rule` says of a trial without a rule."""


def audits(path: str | Path | ResultsFolder | Sequence[str | Path]) -> pd.DataFrame:
    """Return one row per trial of a sweep: how the stopping rule and its audit have treated it.

    Args:
        path: the results folder, local or `s3://...`, or one that was opened; or several.

    Returns:
        Sorted by `trial_id`, each trial once:

        - `audit_share`: the probability, set before the sweep began, that a trial is only marked where the rule
          would stop it; 0 without an audit, NaN if no rule may stop the trial.
        - `audited`: whether it is such a trial.
        - `drawn`: whether it had been stopped, and was drawn afterwards and followed.
        - `marked_at_step`: where the rule would have stopped an audited trial, or had stopped a drawn one; NaN for
          others, and for audited trials that have not ended unless they are under a parking rule.

    Raises:
        ResultsNotFound: the path holds no results.
        NewerResults: a newer version wrote the results.
        AnalysisError: a file cannot be reached.
    """
    import pandas as pd

    paths = [path] if isinstance(path, str | Path | ResultsFolder) else list(path)
    frames = [_of_folder(opened(one)) for one in paths]
    together = pd.concat(frames, ignore_index=True) if frames else _of_nothing()
    # A trial of several sweeps counts where it was marked, if anywhere.
    together = together.sort_values(["trial_id", "marked_at_step"], kind="stable")
    return together.drop_duplicates("trial_id", ignore_index=True)


def _of_folder(folder: ResultsFolder) -> pd.DataFrame:
    import pandas as pd

    from analysis.stopping.decline import is_audited

    homes = folder.cohort_of_trials()
    ended = {
        str(row["trial_id"]): (bool(row["audited"]), row["marked_at_step"])
        for row in folder.table("trials", ["trial_id", "audited", "marked_at_step"]).to_pylist()
    }
    decided = {
        str(row["trial_id"]): row["step"]
        for row in folder.table("decisions", ["trial_id", "step", "decision"]).to_pylist()
        if row["decision"] == "marked"
    }
    rows = []
    for trial_id, home in homes.items():
        certifies = home.stated.get("certifies")
        stopped_at = certifies.get(trial_id) if isinstance(certifies, dict) else None
        drawn = stopped_at is not None
        share = _share(home.stated.get("audit_share"))
        ruled = str(home.stated.get("stop_rule", NO_RULE)) != NO_RULE
        # A trial that has not ended is audited by the same hash that its process asks.
        audited, marked = ended.get(trial_id, (ruled and is_audited(trial_id, share), decided.get(trial_id)))
        if drawn:
            audited, marked = False, stopped_at
        rows.append(
            {
                "trial_id": trial_id,
                "audit_share": share if ruled else np.nan,
                "audited": audited,
                "drawn": drawn,
                "marked_at_step": marked if (audited or drawn) and isinstance(marked, int) else np.nan,
            }
        )
    return pd.concat([_of_nothing(), pd.DataFrame(rows)], ignore_index=True) if rows else _of_nothing()


def _of_nothing() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "trial_id": pd.Series(dtype="str"),
            "audit_share": pd.Series(dtype="float64"),
            "audited": pd.Series(dtype="bool"),
            "drawn": pd.Series(dtype="bool"),
            "marked_at_step": pd.Series(dtype="float64"),
        }
    )


def _share(stated: object) -> float:
    """Return the audit share that a cohort states; 0 for anything else."""
    return float(stated) if isinstance(stated, int | float) and 0 <= stated <= 1 else 0.0
