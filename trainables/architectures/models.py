"""The transformer and the MLP as functions of a dictionary of parameters with a leading lane axis.

Every lane is a separate network; lanes share only the arithmetic. On a CPU a lane's bits depend neither on the
number of lanes (at least two) nor on its place among them.

Letters in shapes: L lanes, n examples, T positions, Q queried positions, C width, h heads, d width of a head,
V tokens, F hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.architectures.layer_tail import PARAMETERS as TAIL_PARAMETERS
from trainables.architectures.layer_tail import layer_tail
from trainables.architectures.operations import attend_entries, dense, look_up
from trainables.config import ModelConfig
from trainables.errors import ConfigError
from trainables.random import generator
from trainables.tasks import Task

_TRUNCATED_NORMAL_STD = 0.87962566103423978
"""Standard deviation of a unit normal cut off at two standard deviations."""

Shapes = dict[str, tuple[int, ...]]


def parameter_shapes(task: Task, config: ModelConfig) -> Shapes:
    """Return name -> shape, without lane axis. Kernels are [inputs, outputs]; names are those of the paper's code.

    If a task has features instead of tokens, they enter the first layer of an MLP as they are.

    Raises:
        ConfigError: the model is a transformer and the task has features.
    """
    width, hidden = config.width, config.hidden
    shapes: Shapes = {}
    if task.vocabulary is not None:
        shapes["embedding/embedding"] = (task.vocabulary, width)
    elif config.kind == "transformer":
        raise ConfigError(f"model.kind must be mlp for {task.name}, whose inputs are no tokens, got transformer")
    entering = task.positions * (1 if task.vocabulary is None else width)

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
            dense(f"mlp_layers_{layer}", entering if layer == 0 else hidden, hidden)
        dense("output_layer", hidden, task.classes)
    return shapes


def initialise(task: Task, config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Draw fresh float32 weights, without lane axis: name -> tensor of `parameter_shapes`.

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


def forward(
    config: ModelConfig, parameters: Mapping[str, Tensor], inputs: Tensor, question: int | None = None
) -> Tensor:
    """Compute logits at the last position, differentiable in the parameters.

    Args:
        config: the configuration of the network.
        parameters: name -> [L, ...].
        inputs: tokens [L, n, T], or [n, T] for the same examples in every lane; for a task without tokens, features
            [L, n, F] or [n, F].
        question: the token at the last position, if all examples share it; giving it saves time.

    Returns:
        [L, n, classes].
    """
    if config.kind == "transformer":
        return _transformer(config, parameters, inputs, question)
    return _mlp(config, parameters, inputs)


def _mlp(config: ModelConfig, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Apply layers with ReLU, then the output layer, to concatenated embeddings of all positions or to features."""
    embedding = parameters.get("embedding/embedding")
    if embedding is not None:
        x = look_up(embedding, inputs).flatten(2)
    else:
        x = inputs.expand(len(parameters["output_layer/bias"]), -1, -1)
    for layer in range(config.depth):
        x = torch.relu(_dense(parameters, f"mlp_layers_{layer}", x))
    return _dense(parameters, "output_layer", x)


def _transformer(
    config: ModelConfig, parameters: Mapping[str, Tensor], inputs: Tensor, question: int | None
) -> Tensor:
    """Apply layers with normalisation after each residual sum, and attention without a mask.

    Three savings are exact. The first layer's keys and values are sums of a token's and a position's part, so
    they are computed once for each token and looked up. The last layer needs only the last position. And if the
    last layer is also the first one, and every example ends in the same token, there is a single query.
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
            if last and question is not None:
                residual = (tokens[:, None, question : question + 1] + places[:, None, -1:]).expand(
                    -1, examples, -1, -1
                )
            else:
                residual = look_up(tokens, inputs[..., -queried:]) + places[:, None, -queried:]
        else:
            residual = x.view(lanes, examples, positions, -1)[:, :, -queried:]
        # From here on, rows are (example, queried position): [L, n Q, C].
        residual = residual.reshape(lanes, examples * queried, config.width)
        if config.depth == 1 and question is not None and config.attention == "softmax":
            mixed = _attend_once(config.heads, parameters, prefix, inputs, question)
        else:
            if layer == 0:
                keys, values = _tabled_keys_and_values(parameters, prefix, inputs)
            else:
                keys, values = (
                    _dense(parameters, f"{prefix}/self_attn/{part}", x).view(lanes, examples, positions, -1)
                    for part in ("k_proj", "v_proj")
                )
            if config.attention == "sum":
                mixed = values.sum(2, keepdim=True).expand(-1, -1, queried, -1)
            else:
                queries = _dense(parameters, f"{prefix}/self_attn/q_proj", residual)
                mixed = _attend(config.heads, queries.view(lanes, examples, queried, -1), keys, values)
            mixed = mixed.reshape(residual.shape)
        x = layer_tail(residual, mixed, *(parameters[f"{prefix}/{name}"] for name in TAIL_PARAMETERS))
    return _dense(parameters, "output_layer", x)


def _tabled_keys_and_values(parameters: Mapping[str, Tensor], prefix: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return first-layer keys and values, each [L, n, T, C]: a token's part looked up plus a position's part."""
    tokens = parameters["embedding/embedding"]
    places = parameters["positional_embedding/embedding"][:, : inputs.shape[-1]]
    parts = [f"{prefix}/self_attn/{part}" for part in ("k_proj", "v_proj")]
    table = torch.cat([torch.bmm(tokens, parameters[f"{part}/kernel"]) for part in parts], -1)
    shift = torch.cat([_dense(parameters, part, places) for part in parts], -1)
    keys, values = (look_up(table, inputs) + shift[:, None]).chunk(2, -1)
    return keys, values


def _attend_once(
    heads: int, parameters: Mapping[str, Tensor], prefix: str, inputs: Tensor, question: int
) -> Tensor:
    """Return mixed values [L, n, C] of a first layer's last position, if every example asks the same query q.

    Scores and values then depend on (position, token) only, so both are tables with T V entries. Keys are not
    needed: q (x K + b) = x (K q) + b q.
    """
    tokens = parameters["embedding/embedding"]
    places = parameters["positional_embedding/embedding"][:, : inputs.shape[-1]]
    lanes, vocabulary, width = tokens.shape
    head_width = width // heads
    of_token = [f"{prefix}/self_attn/{part}_proj" for part in "qkv"]

    query = _dense(parameters, of_token[0], tokens[:, question, None] + places[:, -1:])
    query = query.view(lanes, 1, heads, head_width) / math.sqrt(head_width)
    seen = (parameters[f"{of_token[1]}/kernel"].view(lanes, width, heads, head_width) * query).sum(-1)  # [L, C, h]
    shift = (parameters[f"{of_token[1]}/bias"].view(lanes, 1, heads, head_width) * query).sum(-1)
    place_scores, token_scores = torch.baddbmm(shift, places, seen), torch.bmm(tokens, seen)
    place_values = _dense(parameters, of_token[2], places)
    token_values = torch.bmm(tokens, parameters[f"{of_token[2]}/kernel"])
    scores, values = (
        (of_place[:, :, None] + of_token[:, None]).flatten(1, 2)  # [L, T V, h or C]
        for of_place, of_token in ((place_scores, token_scores), (place_values, token_values))
    )
    entries = inputs.mT + vocabulary * torch.arange(inputs.shape[-1], device=inputs.device)[:, None]
    entries = entries.expand(lanes, -1, -1)
    return attend_entries(scores, values, entries)


def _attend(heads: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Map queries [L, n, Q, C], keys and values [L, n, T, C] to mixed values [L, n, Q, C].

    There are few positions, so the products are written out: batches of tiny matrices would be slower.
    """
    width = queries.shape[-1] // heads
    queries, keys, values = (part.view(*part.shape[:-1], heads, width) for part in (queries, keys, values))
    scores = (queries[:, :, :, None] * keys[:, :, None]).sum(-1) / math.sqrt(width)  # [L, n, Q, T, h]
    weights = scores.softmax(3)[..., None]
    return (weights * values[:, :, None]).sum(3).flatten(-2)


def _dense(parameters: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Apply an affine layer: [L, rows, inputs] -> [L, rows, outputs]."""
    return dense(x, parameters[f"{name}/kernel"], parameters[f"{name}/bias"])
