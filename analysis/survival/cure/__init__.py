"""The cure model: its likelihood, its maximum over cells and settings, and profile likelihood intervals."""
