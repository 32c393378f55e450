"""The command `sweep`: parsing and printing only."""

from sweep.cli.sweeps import main

__all__ = ["main"]
