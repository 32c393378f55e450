"""The transformer, written out by hand, with the same savings as in `trainables.architectures.models`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.architectures.by_hand.attention import attend, attend_last, attend_once
from trainables.architectures.by_hand.entries import Entries, entries_of
from trainables.architectures.by_hand.network import Back, Network, dense
from trainables.architectures.layer_tail import PARAMETERS as TAIL_PARAMETERS
from trainables.architectures.layer_tail import tail_of_one


def transformer(
    network: Network, inputs: Tensor, fixed: tuple[int | None, ...]
) -> tuple[Tensor, Callable[[Tensor], None]]:
    """Return the last layer's output at the last position, [n, C], and the way back from its gradient."""
    depth, positions = network.config.depth, inputs.shape[1]
    entries = entries_of(len(network.weights["embedding/embedding"]), fixed)
    x, first_back = _first_layer(network, entries, inputs, 1 if depth == 1 else positions)
    backs = list[Back]()
    for layer in range(1, depth):
        x, layer_back = _later_layer(network, layer, x, positions, 1 if layer == depth - 1 else positions)
        backs.append(layer_back)

    def back(gradient: Tensor) -> None:
        while backs:
            gradient = backs.pop()(gradient)
        entries.back(network, first_back(gradient))

    return x, back


def _first_layer(network: Network, entries: Entries, inputs: Tensor, queried: int) -> tuple[Tensor, Back]:
    """Return rows [n Q, C] for the last Q positions, and the way back to the table of entries [E, C]."""
    prefix, table, used = "decoder_layers_0/self_attn", entries.table(network), entries.used(inputs)
    asked = used[:, -queried:].reshape(-1)
    once = queried == 1 and entries.asks_once
    # With one query, at an entry that all examples share, the residual is one row, too.
    residual = table[-1].expand(len(inputs), -1) if once else table.index_select(0, asked)
    if network.config.attention == "sum":
        mixed, mixed_back = _sum_of_entries(network, prefix, table, used, queried)
    elif once:
        mixed, mixed_back = attend_once(network, prefix, entries, table, entries.varying(inputs))
    else:
        mixed, mixed_back = _attend_entries(network, prefix, table, used, asked)
    result, tail_back = _tail(network, 0, residual, mixed)

    def back(gradient: Tensor) -> Tensor:
        of_residual, of_mixed = tail_back(gradient)
        of_table = mixed_back(of_mixed)
        if once:
            of_table[-1] += of_residual.sum(0)
        else:
            of_table.index_add_(0, asked, of_residual)
        return of_table

    return result, back


def _later_layer(network: Network, layer: int, x: Tensor, positions: int, queried: int) -> tuple[Tensor, Back]:
    """Apply a layer on top of another one: rows [n T, C] -> [n Q, C] for the last Q positions."""
    prefix, examples = f"decoder_layers_{layer}/self_attn", len(x) // positions

    def asked(rows: Tensor) -> Tensor:
        return rows.view(examples, positions, -1)[:, -queried:]

    if network.config.attention == "sum":
        mixed, mixed_back = _sum_of_rows(network, prefix, x, positions, queried)
    elif queried == 1:
        mixed, mixed_back = attend_last(network, prefix, x.view(examples, positions, -1))
    else:
        mixed, mixed_back = _attend_rows(network, prefix, x, examples)
    result, tail_back = _tail(network, layer, asked(x).flatten(0, 1), mixed)

    def back(gradient: Tensor) -> Tensor:
        of_residual, of_mixed = tail_back(gradient)
        of_x = mixed_back(of_mixed).view(x.shape)
        # A view: the residual connection reaches the queried positions only, the values reach all.
        asked(of_x).add_(of_residual.view(examples, queried, -1))
        return of_x

    return result, back


def _attend_rows(network: Network, prefix: str, x: Tensor, examples: int) -> tuple[Tensor, Back]:
    """Return mixed values [n T, C] of all positions of a later layer."""
    parts, backs = zip(*(dense(network, f"{prefix}/{part}_proj", x) for part in "qkv"), strict=True)
    mixed, mixed_back = attend(network.config.heads, examples, *parts)

    def back(gradient: Tensor) -> Tensor:
        of_x = torch.zeros_like(x)
        for part_back, of_part in zip(backs, mixed_back(gradient), strict=True):
            of_x += part_back(of_part)
        return of_x

    return mixed, back


def _sum_of_rows(network: Network, prefix: str, x: Tensor, positions: int, queried: int) -> tuple[Tensor, Back]:
    """Return mixed values [n Q, C] of a later layer whose attention is the plain sum of the values."""
    values, values_back = dense(network, f"{prefix}/v_proj", x)
    mixed = values.view(-1, positions, values.shape[1]).sum(1).repeat_interleave(queried, 0)

    def back(gradient: Tensor) -> Tensor:
        _nothing_asked(network, prefix)
        of_mixed = gradient.view(-1, queried, gradient.shape[1]).sum(1)
        return values_back(of_mixed.repeat_interleave(positions, 0))

    return mixed, back


def _sum_of_entries(
    network: Network, prefix: str, table: Tensor, used: Tensor, queried: int
) -> tuple[Tensor, Back]:
    """Return mixed values [n Q, C] of a first layer whose attention is the plain sum of the values."""
    values, values_back = dense(network, f"{prefix}/v_proj", table)
    mixed = functional.embedding_bag(used, values, mode="sum").repeat_interleave(queried, 0)

    def back(gradient: Tensor) -> Tensor:
        of_mixed, of_values = gradient.view(len(used), queried, -1).sum(1), torch.zeros_like(values)
        for place in used.mT:
            of_values.index_add_(0, place, of_mixed)
        _nothing_asked(network, prefix)
        return values_back(of_values)

    return mixed, back


def _attend_entries(
    network: Network, prefix: str, table: Tensor, used: Tensor, asked: Tensor
) -> tuple[Tensor, Back]:
    """Return mixed values [n Q, C] of a first layer; queries, keys and values are looked up by entry."""
    tables, backs = zip(*(dense(network, f"{prefix}/{part}_proj", table) for part in "qkv"), strict=True)
    rows = (asked, used.view(-1), used.view(-1))
    mixed, mixed_back = attend(
        network.config.heads, len(used), *(of.index_select(0, row) for of, row in zip(tables, rows, strict=True))
    )

    def back(gradient: Tensor) -> Tensor:
        of_table = torch.zeros_like(table)
        for part_back, row, of_rows in zip(backs, rows, mixed_back(gradient), strict=True):
            # Back through the look-up: examples that used one entry add up their gradients, and the dense layer is
            # passed once for each entry, not for each example.
            of_table += part_back(torch.zeros_like(table).index_add_(0, row, of_rows))
        return of_table

    return mixed, back


def _nothing_asked(network: Network, prefix: str) -> None:
    """Write zero as the gradient of queries and keys that nothing depends on."""
    for part in ("q_proj/kernel", "q_proj/bias", "k_proj/kernel", "k_proj/bias"):
        network.gradient[f"{prefix}/{part}"].zero_()


def _tail(
    network: Network, layer: int, residual: Tensor, mixed: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Apply `layer_tail` of the layer with this number."""
    names = [f"decoder_layers_{layer}/{name}" for name in TAIL_PARAMETERS]
    result, back = tail_of_one(residual, mixed, [network.weights[name] for name in names])
    return result, lambda gradient: back(gradient, [network.gradient[name] for name in names])
