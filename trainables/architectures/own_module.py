"""Any `torch.nn.Module` as an `Architecture`: lanes are batched by `torch.func`.

The requirements on a module are in `trainables.architectures.own_module_checks`; its messages say what to change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainables.architectures.own_module_checks import check_built_module, check_in_lanes, fixed_tensors
from trainables.architectures.protocol import Shapes, WriteGradient
from trainables.config import ModelConfig, registry
from trainables.errors import ConfigError, refuse
from trainables.random import stream_seed
from trainables.tasks import Task

_FEW, _MORE = 2, 4
"""Numbers of examples whose passes are compared, to count the cost of one more example."""


class OwnModule:
    """See `trainables.architectures.protocol.Architecture`.

    Args:
        name: the module's name, shown in messages.
        task: the task that the module is for.
        build: builds the module; initial weights must come from torch's own random numbers.

    Raises:
        ConfigError: the module cannot be trained in lanes on the task; the message says what to change.
    """

    def __init__(self, name: str, task: Task, build: Callable[[], object]) -> None:
        self._name = name
        self._task = task
        self._build = build
        self._some = task.inputs[:_MORE]
        self._module = self._built(seed=0)
        check_built_module(name, self._module, self._built, self._some, task.classes)
        self.shapes: Shapes = {key: tuple(weight.shape) for key, weight in self._trained(self._module).items()}
        self.layers = sum(1 for module in self._module.modules() if not list(module.children()))
        self._fixed: dict[torch.device, dict[str, Tensor]] = {}
        modules = [self._module, self._built(seed=1)]
        check_in_lanes(name, self.forward, modules, [self._trained(module) for module in modules], self._some)

    def initialise(self, seed: int) -> dict[str, Tensor]:
        """Draw weights with the module's own code after `torch.manual_seed`, see `Architecture`."""
        return {name: weight.detach().clone() for name, weight in self._trained(self._built(seed)).items()}

    def forward(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Compute logits, see `Architecture`."""
        fixed = self._fixed_on(inputs.device)

        def one_lane(own: dict[str, Tensor], some: Tensor) -> Tensor:
            logits: Tensor = functional_call(self._module, {**fixed, **own}, (some,))
            return logits

        own_inputs = inputs.ndim > self._task.inputs.ndim
        with sdpa_kernel(SDPBackend.MATH):  # the only backend that torch can batch
            logits: Tensor = vmap(one_lane, in_dims=(0, 0 if own_inputs else None))(dict(parameters), inputs)
        return logits

    def by_hand(self, batch_size: int, device: torch.device) -> WriteGradient | None:  # noqa: ARG002
        """Return None: a registered module has no gradient by hand; see `Architecture`."""
        return None

    def kept_floats(self) -> float:
        """Count the floats that torch saves for each further example, see `Architecture`."""
        return self._kept_floats

    def products(self) -> float:
        """Count products by torch's own counter, see `Architecture`."""
        return self._products

    def values(self) -> float:
        """Count the values between matrices, see `Architecture`."""
        return self.kept_floats()

    # Counted once and cached: a plan asks for every trial.

    @cached_property
    def _kept_floats(self) -> float:
        counts = min(_FEW, self._task.examples), min(_MORE, self._task.examples)
        few, more = (self._saved_floats(self._task.inputs[:count]) for count in counts)
        return max(1.0, (more - few) / (counts[1] - counts[0])) if more > few else float(few)

    @cached_property
    def _products(self) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self._module(self._some)
        return float(counter.get_total_flops()) / 2 / len(self._some)

    def _saved_floats(self, inputs: Tensor) -> int:
        saved_floats = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal saved_floats
            saved_floats += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self._module(inputs)
        return saved_floats

    def _built(self, seed: int) -> nn.Module:
        """Build a fresh module, and leave the caller's own random numbers as they were."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "initialisation"))
            try:
                module = self._build()
            except ConfigError:
                raise
            except Exception as error:
                raise refuse(self._name, "must be built without an error", error) from error
            if not isinstance(module, nn.Module):
                raise ConfigError(f"{self._name} must give a torch.nn.Module, got {type(module).__name__}")
            if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
                with torch.no_grad():
                    module(self._some)  # lazy layers take their sizes and draw their weights at the first call
        return module

    @staticmethod
    def _trained(module: nn.Module) -> dict[str, Tensor]:
        return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}

    def _fixed_on(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._fixed:
            fixed = fixed_tensors(self._module)
            self._fixed[device] = {name: tensor.detach().to(device) for name, tensor in fixed.items()}
        return self._fixed[device]


def registered_module(task: Task, model: ModelConfig) -> OwnModule:
    """Return the module that was registered for a kind of model.

    Raises:
        ConfigError: none was registered, its source is another one, or it cannot be trained in lanes.
    """
    own = registry.MODELS.matching(model.kind, model.source)
    with own.unchanged():
        return OwnModule(own.name, task, lambda: own.build(task, model))
