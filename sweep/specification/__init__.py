"""The typed specification of a sweep, what is wrong with one, and the trials it stands for."""
