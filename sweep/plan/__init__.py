"""Trials into cohorts: how many lanes, how many processes, how long it takes."""
