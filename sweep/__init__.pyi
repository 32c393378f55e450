# What the package offers, each name once: type checkers read this file, and so does lazy_loader when one is used.

from .errors import SpecificationError as SpecificationError
from .errors import SweepError as SweepError
from .on_ray.runner import run as run
from .on_ray.scheduler.grok_scheduler import GrokScheduler as GrokScheduler
from .on_ray.trial_trainable import DeclineStopper as DeclineStopper
from .on_ray.trial_trainable import TrialTrainable as TrialTrainable
from .specification.config import SweepConfig as SweepConfig
from .specification.config import load_specification as load_specification
from .training.here import run_here as run_here

__version__: str
