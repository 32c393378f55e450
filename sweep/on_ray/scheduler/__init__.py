"""`GrokScheduler`: the parking rule for Ray Tune scripts of your own, with Tune's pausing of trials."""
