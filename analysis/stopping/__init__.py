"""Stopping rules: pure functions of a trial and of what is known of its cell, for sweeps and for replays."""
