"""A results folder as it is written: cohorts, attempts, reports, checkpoints, kept networks."""
