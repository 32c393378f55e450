"""The batched, shortened forward pass against one written plainly, lane by lane."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.architectures import layer_tail
from trainables.architectures.models import forward, initialise, parameter_shapes
from trainables.config import ModelConfig, TaskConfig
from trainables.tasks import build_task

TASK = build_task(TaskConfig(modulus=7))
MODELS = [
    ModelConfig(width=12, heads=3),
    ModelConfig(width=12, heads=3, layers=2, hidden_width=20),
    ModelConfig(width=12, heads=3, layers=3, attention="sum"),
    ModelConfig(kind="mlp", width=5, hidden_width=13),
]


def plain_forward(config: ModelConfig, network: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """One network, all positions, nothing saved."""

    def dense(name: str, x: Tensor) -> Tensor:
        return x @ network[f"{name}/kernel"] + network[f"{name}/bias"]

    def layer_norm(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], network[f"{name}/scale"], network[f"{name}/bias"], eps=1e-6)

    x = network["embedding/embedding"][inputs]
    if config.kind == "mlp":
        x = x.flatten(1)
        for layer in range(config.depth):
            x = dense(f"mlp_layers_{layer}", x).relu()
        return dense("output_layer", x)
    x = x + network["positional_embedding/embedding"]
    for layer in range(config.depth):
        prefix = f"decoder_layers_{layer}"
        queries, keys, values = (
            dense(f"{prefix}/self_attn/{part}", x).unflatten(-1, (config.heads, -1)).transpose(1, 2)
            for part in ("q_proj", "k_proj", "v_proj")
        )
        if config.attention == "sum":
            mixed = values.sum(2, keepdim=True).expand_as(values)
        else:
            mixed = functional.scaled_dot_product_attention(queries, keys, values)
        x = layer_norm(f"{prefix}/ln1", x + dense(f"{prefix}/self_attn/out_proj", mixed.transpose(1, 2).flatten(2)))
        hidden = functional.gelu(dense(f"{prefix}/ffn/layer1", x), approximate="tanh")
        x = layer_norm(f"{prefix}/ln2", x + dense(f"{prefix}/ffn/layer2", hidden))
    return dense("output_layer", x)[:, -1]


def lanes_of(config: ModelConfig, count: int) -> dict[str, Tensor]:
    """Networks that are random in every parameter, biases and scales too."""
    stream = torch.Generator().manual_seed(0)
    networks = [initialise(TASK, config, seed) for seed in range(count)]
    return {
        name: torch.stack([network[name] for network in networks])
        + 0.3 * torch.randn(count, *networks[0][name].shape, generator=stream)
        for name in networks[0]
    }


@pytest.fixture(params=[layer_tail.CHUNK_ELEMENTS, 512], ids=["all lanes at once", "lane by lane"], autouse=True)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks take the way of large ones too."""
    monkeypatch.setattr(layer_tail, "CHUNK_ELEMENTS", request.param)


@pytest.mark.parametrize("config", MODELS, ids=str)
def test_logits_and_gradients_are_those_of_the_plain_network(config: ModelConfig) -> None:
    parameters = {name: weight.double().requires_grad_() for name, weight in lanes_of(config, 3).items()}
    own_inputs = torch.stack([TASK.inputs[start : start + 10] for start in (0, 5, 20)])
    for inputs, question in product((own_inputs, TASK.inputs[:10]), (None, TASK.question)):
        logits = forward(config, parameters, inputs, question)
        per_lane = inputs if inputs.dim() == 3 else inputs.expand(3, -1, -1)
        plain = torch.stack(
            [
                plain_forward(config, {name: weight[lane] for name, weight in parameters.items()}, per_lane[lane])
                for lane in range(3)
            ]
        )
        torch.testing.assert_close(logits, plain)
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        chosen, right = (
            torch.autograd.grad((values * direction).sum(), list(parameters.values()), allow_unused=True)
            for values in (logits, plain)
        )
        for name, gradient, expected in zip(parameters, chosen, right, strict=True):
            if expected is None:  # queries and keys, where attention is a plain sum
                assert gradient is None or not gradient.any(), name
            else:
                torch.testing.assert_close(gradient, expected, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("config", MODELS, ids=str)
@pytest.mark.parametrize("examples", [1, 13, 49])
@pytest.mark.parametrize("question", [None, TASK.question])
def test_bits_do_not_depend_on_company_or_place(config: ModelConfig, examples: int, question: int | None) -> None:
    parameters = lanes_of(config, 5)

    def outcome(lanes: list[int]) -> list[Tensor]:
        leaves = {name: weight[lanes].requires_grad_() for name, weight in parameters.items()}
        logits = forward(config, leaves, TASK.inputs[:examples], question)
        gradients = torch.autograd.grad(logits.square().sum(), list(leaves.values()), allow_unused=True)
        return [logits.detach(), *(gradient for gradient in gradients if gradient is not None)]

    together = outcome([0, 1, 2, 3, 4])
    for lanes in ([3, 1], [4, 3, 2, 1, 0], [2, 4, 0]):
        for one, right in zip(outcome(lanes), together, strict=True):
            assert torch.equal(one, right[lanes])


def test_initial_weights_have_the_papers_moments_and_streams_of_their_own() -> None:
    task = build_task(TaskConfig(modulus=113))
    network = initialise(task, ModelConfig(), 0)
    assert {name: tuple(weight.shape) for name, weight in network.items()} == parameter_shapes(task, ModelConfig())
    assert float(network["embedding/embedding"].std()) == pytest.approx(128**-0.5, rel=0.03)
    kernel = network["decoder_layers_0/ffn/layer2/kernel"]
    assert float(kernel.std()) == pytest.approx(512**-0.5, rel=0.02)
    assert float(kernel.abs().max()) <= 2 / 0.8796 * 512**-0.5 * 1.001
    assert float(network["output_layer/bias"].abs().max()) == 0
    assert torch.all(network["decoder_layers_0/ln1/scale"] == 1)
    two_layers = initialise(task, ModelConfig(layers=2), 0)
    assert all(torch.equal(two_layers[name], weight) for name, weight in network.items())
    assert not torch.equal(
        initialise(task, ModelConfig(), 1)["output_layer/kernel"], network["output_layer/kernel"]
    )
