"""Writes what surpyval makes of intervals.csv: python tests/data/survival/write.py (surpyval 0.25, after write.R).

surpyval.csv: survival past each step by Turnbull's estimate, where `turnbull_estimator="Kaplan-Meier"`; its
default, Fleming-Harrington, is another estimate. cure.csv: log-normal and log-logistic times of a share that is
less than one.
"""

import csv
from pathlib import Path

import numpy as np
import surpyval

FOLDER = Path(__file__).parent

rows = list(csv.DictReader((FOLDER / "intervals.csv").open()))
with (FOLDER / "surpyval.csv").open("w") as curves, (FOLDER / "cure.csv").open("w") as cures:
    print("set,step,survival", file=curves)
    print("set,law,share,median,shape,log_likelihood", file=cures)
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        after = np.array([float(row["after"]) for row in own])
        at = np.array([float(row["at"] or "inf") for row in own])
        weight = np.array([int(row["weight"]) for row in own])
        data = {"xl": after, "xr": at, "n": weight}
        fit = surpyval.Turnbull.fit(**data, turnbull_estimator="Kaplan-Meier", tol=1e-13)
        for step, survival in zip(fit.x, fit.R, strict=True):
            print(f"{name},{step:.17g},{survival:.12g}", file=curves)
        for law, kind in (("normal", surpyval.LogNormal), ("logistic", surpyval.LogLogistic)):
            cure = kind.fit(**data, lfp=True)
            median, shape = cure.params if law == "logistic" else (np.exp(cure.params[0]), cure.params[1])
            print(f"{name},{law},{cure.lfp_p:.10g},{median:.10g},{shape:.10g},{-cure.neg_ll():.10g}", file=cures)
