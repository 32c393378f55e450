"""The rival a user would pick for many networks at once: JAX, jit and vmap over lanes, scan over steps.

Importing this module needs JAX (`requirements.txt`).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy

from trainables.architectures.models import initialise
from trainables.config import ModelConfig, TrialConfig
from trainables.tasks import Task

Parameters = dict[str, Any]


def logits(model: ModelConfig, parameters: Parameters, inputs: Any) -> Any:
    """Compute the logits of one network, at all positions: tokens [n, T] -> [n, classes]."""

    def dense(name: str, x: Any) -> Any:
        return x @ parameters[f"{name}/kernel"] + parameters[f"{name}/bias"]

    def layer_norm(name: str, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        normal = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return normal * parameters[f"{name}/scale"] + parameters[f"{name}/bias"]

    x = parameters["embedding/embedding"][inputs] + parameters["positional_embedding/embedding"]
    for layer in range(model.depth):
        prefix = f"decoder_layers_{layer}"
        queries, keys, values = (
            dense(f"{prefix}/self_attn/{part}_proj", x).reshape(*x.shape[:2], model.heads, -1) for part in "qkv"
        )
        scores = jnp.einsum("nqhd,nkhd->nhqk", queries, keys) / math.sqrt(queries.shape[-1])
        mixed = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), values).reshape(x.shape)
        x = layer_norm(f"{prefix}/ln1", x + dense(f"{prefix}/self_attn/out_proj", mixed))
        hidden = jax.nn.gelu(dense(f"{prefix}/ffn/layer1", x), approximate=True)
        x = layer_norm(f"{prefix}/ln2", x + dense(f"{prefix}/ffn/layer2", hidden))
    return dense("output_layer", x)[:, -1]


class JaxLanes:
    """Trains `lanes` networks; a call of `train` is one compiled program."""

    def __init__(self, task: Task, trial: TrialConfig, lanes: int) -> None:
        networks = [initialise(task, trial.model, seed) for seed in range(lanes)]
        weights = {
            name: jnp.asarray(numpy.stack([network[name].numpy() for network in networks])) for name in networks[0]
        }
        zeros = {name: jnp.zeros_like(weight) for name, weight in weights.items()}
        self.state = (weights, zeros, zeros, jnp.zeros(lanes))
        self.inputs, self.targets = jnp.asarray(task.inputs.numpy()), jnp.asarray(task.targets.numpy())
        self.lanes, self.examples = lanes, task.examples
        self.random = numpy.random.default_rng(0)
        self.block = jax.jit(partial(self._block, trial))

    def _block(self, trial: TrialConfig, state: Any, batches: Any) -> Any:
        def loss(weights: Parameters, batch: Any) -> Any:
            logarithms = jax.nn.log_softmax(logits(trial.model, weights, self.inputs[batch]))
            return -jnp.take_along_axis(logarithms, self.targets[batch][:, None], 1).mean()

        def one_lane(state: Any, batch: Any) -> Any:
            weights, first, second, age = state
            gradient = jax.grad(loss)(weights, batch)
            age = age + 1
            beta1, beta2, rate = trial.adam_beta1, trial.adam_beta2, trial.learning_rate
            first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, gradient)
            second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, gradient)
            root = jnp.sqrt(1 - beta2**age)
            weights = jax.tree.map(
                lambda w, m, v: (
                    w * (1 - rate * trial.weight_decay)
                    - rate / (1 - beta1**age) * m / (jnp.sqrt(v) / root + trial.adam_epsilon)
                ),
                weights,
                first,
                second,
            )
            return weights, first, second, age

        return jax.lax.scan(lambda state, batch: (jax.vmap(one_lane)(state, batch), None), state, batches)[0]

    def train(self, steps: int, batch_size: int) -> None:
        """Take `steps` steps on random batches."""
        batches = self.random.integers(self.examples, size=(steps, self.lanes, batch_size))
        self.state = jax.block_until_ready(self.block(self.state, batches))
