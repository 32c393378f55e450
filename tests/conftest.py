"""Settings every test shares."""

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# No test depends on how fast a machine is, or on how busy.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
