"""The transformer and the MLP as functions of a dictionary of parameters with a leading lane axis.

Every lane is a network of its own; they share only the arithmetic. On a CPU a lane's bits do not depend on how many
others there are (at least two in all) nor on its place, which holds for the operations used here and was found not
to hold for the fused GELU, hence `_gelu`.

Letters in shapes: L lanes, n examples, T positions, Q queried positions, C width, h heads, d width of a head,
V tokens, F hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.config import ModelConfig
from trainables.random import generator
from trainables.tasks import Task

_LAYER_NORM_EPSILON = 1e-6
_TRUNCATED_NORMAL_STD = 0.87962566103423978
"""Standard deviation of a unit normal cut off at two standard deviations."""
_VECTOR_ELEMENTS = 64
"""A multiple of the elements that one iteration of the CPU's vector loops handles."""

Shapes = dict[str, tuple[int, ...]]


def parameter_shapes(task: Task, config: ModelConfig) -> Shapes:
    """Name -> shape without lane axis. Kernels are [inputs, outputs]; names are those of the paper's code."""
    width, hidden = config.width, config.hidden
    shapes: Shapes = {"embedding/embedding": (task.vocabulary, width)}

    def dense(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}/kernel"] = (inputs, outputs)
        shapes[f"{name}/bias"] = (outputs,)

    def layer_norm(name: str) -> None:
        shapes[f"{name}/scale"] = (width,)
        shapes[f"{name}/bias"] = (width,)

    if config.kind == "transformer":
        shapes["positional_embedding/embedding"] = (task.positions, width)
        for layer in range(config.depth):
            prefix = f"decoder_layers_{layer}"
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                dense(f"{prefix}/self_attn/{projection}", width, width)
            layer_norm(f"{prefix}/ln1")
            dense(f"{prefix}/ffn/layer1", width, hidden)
            dense(f"{prefix}/ffn/layer2", hidden, width)
            layer_norm(f"{prefix}/ln2")
        dense("output_layer", width, task.classes)
    else:
        for layer in range(config.depth):
            dense(f"mlp_layers_{layer}", task.positions * width if layer == 0 else hidden, hidden)
        dense("output_layer", hidden, task.classes)
    return shapes


def initialise(task: Task, config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Fresh float32 weights, without lane axis: name -> tensor of `parameter_shapes`.

    Embeddings are normal with variance 1 / width, kernels truncated normal with variance 1 / inputs, biases 0 and
    scales 1, as in the paper's code. Each parameter has a random stream of its own.
    """
    parameters: dict[str, Tensor] = {}
    for name, shape in parameter_shapes(task, config).items():
        stream = generator(seed, "initialisation", name)
        if name.endswith("/embedding"):
            parameters[name] = torch.randn(shape, generator=stream) / math.sqrt(shape[1])
        elif name.endswith("/kernel"):
            std = 1 / math.sqrt(shape[0]) / _TRUNCATED_NORMAL_STD
            kernel = torch.empty(shape)
            parameters[name] = torch.nn.init.trunc_normal_(kernel, 0.0, std, -2 * std, 2 * std, generator=stream)
        else:
            parameters[name] = torch.ones(shape) if name.endswith("/scale") else torch.zeros(shape)
    return parameters


def forward(config: ModelConfig, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Logits at the last position, differentiable in the parameters.

    Args:
        config: which network.
        parameters: name -> [L, ...].
        inputs: tokens [L, n, T], or [n, T] for the same examples in every lane.

    Returns:
        [L, n, classes].
    """
    if config.kind == "transformer":
        return _transformer(config, parameters, inputs)
    return _mlp(config, parameters, inputs)


def _mlp(config: ModelConfig, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Embeddings of all positions side by side, then layers with ReLU, then the output layer."""
    x = _look_up(parameters["embedding/embedding"], inputs).flatten(2)
    for layer in range(config.depth):
        x = torch.relu(_dense(parameters, f"mlp_layers_{layer}", x))
    return _dense(parameters, "output_layer", x)


def _transformer(config: ModelConfig, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Layers with normalisation after each residual sum; attention without mask.

    Two savings, both exact: the first layer's keys and values are sums of a token's and a position's part, so
    they are computed once for each token and looked up; and of the last layer only the last position is needed.
    """
    examples, positions = inputs.shape[-2:]
    tokens = parameters["embedding/embedding"]
    places = parameters["positional_embedding/embedding"][:, :positions]
    lanes = tokens.shape[0]

    x = tokens  # replaced at the end of the first layer
    for layer in range(config.depth):
        prefix = f"decoder_layers_{layer}"
        last = layer == config.depth - 1
        queried = 1 if last else positions
        if layer == 0:
            table = torch.cat([_project(parameters, prefix, part, tokens) for part in ("k_proj", "v_proj")], -1)
            shift = torch.cat(
                [_dense(parameters, f"{prefix}/self_attn/{part}", places) for part in ("k_proj", "v_proj")], -1
            )
            keys, values = (_look_up(table, inputs) + shift[:, None]).chunk(2, -1)
            residual = _look_up(tokens, inputs[..., -queried:]) + places[:, None, -queried:]
        else:
            keys, values = (_dense(parameters, f"{prefix}/self_attn/{part}", x) for part in ("k_proj", "v_proj"))
            residual = x.view(lanes, examples, positions, -1)[:, :, -queried:]
            keys, values = (part.view(lanes, examples, positions, -1) for part in (keys, values))

        # From here on rows are (example, queried position): [L, n Q, C].
        residual = residual.reshape(lanes, examples * queried, config.width)
        if config.attention == "sum":
            mixed = values.sum(2, keepdim=True).expand(-1, -1, queried, -1)
        else:
            queries = _dense(parameters, f"{prefix}/self_attn/q_proj", residual)
            mixed = _attend(config.heads, queries.view(lanes, examples, queried, -1), keys, values)
        mixed = mixed.reshape(residual.shape)
        x = _layer_norm(
            parameters, f"{prefix}/ln1", residual + _dense(parameters, f"{prefix}/self_attn/out_proj", mixed)
        )
        hidden = _gelu(_dense(parameters, f"{prefix}/ffn/layer1", x))
        x = _layer_norm(parameters, f"{prefix}/ln2", x + _dense(parameters, f"{prefix}/ffn/layer2", hidden))
    return _dense(parameters, "output_layer", x)


def _attend(heads: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Queries [L, n, Q, C], keys and values [L, n, T, C] -> mixed values [L, n, Q, C].

    There are few positions, so the products are written out: batches of tiny matrices would be slower.
    """
    width = queries.shape[-1] // heads
    queries, keys, values = (part.view(*part.shape[:-1], heads, width) for part in (queries, keys, values))
    scores = (queries[:, :, :, None] * keys[:, :, None]).sum(-1) / math.sqrt(width)  # [L, n, Q, T, h]
    weights = scores.softmax(3)[..., None]
    return (weights * values[:, :, None]).sum(3).flatten(-2)


def _look_up(table: Tensor, inputs: Tensor) -> Tensor:
    """Rows of each lane's table [L, V, C] at tokens [L, n, T] or [n, T]: [L, n, T, C]."""
    lanes, tokens, width = table.shape
    first_row = torch.arange(lanes, device=table.device)[:, None, None] * tokens
    return functional.embedding(inputs + first_row, table.reshape(lanes * tokens, width))


def _project(parameters: Mapping[str, Tensor], prefix: str, part: str, x: Tensor) -> Tensor:
    """An attention projection without its bias: [L, rows, C] -> [L, rows, C]."""
    return torch.bmm(x, parameters[f"{prefix}/self_attn/{part}/kernel"])


def _dense(parameters: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """[L, rows, inputs] -> [L, rows, outputs]."""
    return torch.baddbmm(parameters[f"{name}/bias"][:, None], x, parameters[f"{name}/kernel"])


def _layer_norm(parameters: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    normal = functional.layer_norm(x, x.shape[-1:], eps=_LAYER_NORM_EPSILON)
    return torch.addcmul(parameters[f"{name}/bias"][:, None], normal, parameters[f"{name}/scale"][:, None])


def _gelu(x: Tensor) -> Tensor:
    """GELU, tanh form, of [L, rows, F], with bits that do not depend on the lane's place.

    The CPU kernel computes the last few elements of a tensor by other instructions than the rest, so whoever comes
    last would differ in the last bit; each lane is therefore padded to a whole number of vectors.
    """
    elements = x[0].numel()
    missing = -elements % _VECTOR_ELEMENTS
    if not missing:
        return functional.gelu(x, approximate="tanh")
    padded = functional.pad(x.flatten(1), (0, missing))
    return functional.gelu(padded, approximate="tanh")[:, :elements].reshape(x.shape)
