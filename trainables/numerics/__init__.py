"""What a run's bits depend on: kernels of the libraries below torch, and a check that known bits come out."""
