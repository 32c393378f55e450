"""Replays stopping rules on recorded sweeps that were never stopped: what a rule would have saved, and lost."""
