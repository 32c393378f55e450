"""Training a cohort without Ray: what the actor of Tune and `run_here` share."""
