"""Attention within examples, and two cases in which keys need not be computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from trainables.architectures.by_hand.entries import Entries
from trainables.architectures.by_hand.network import Back, Network, dense


def attend(
    heads: int, examples: int, queries: Tensor, keys: Tensor, values: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    """Return mixed values [n Q, C], and the way back to queries, keys and values.

    Args:
        heads: head i owns the i-th C / h columns.
        examples: n.
        queries: rows [n Q, C].
        keys: rows [n T, C].
        values: rows [n T, C].
    """

    def split(rows: Tensor) -> Tensor:
        """Split rows into heads: [n P, C] -> [n h, P, d]."""
        return rows.view(examples, -1, heads, rows.shape[1] // heads).transpose(1, 2).flatten(0, 1)

    def merge(parts: Tensor) -> Tensor:
        """Undo `split`."""
        return parts.view(examples, heads, *parts.shape[1:]).transpose(1, 2).reshape(-1, heads * parts.shape[2])

    scale = 1 / math.sqrt(queries.shape[1] // heads)
    queries, keys, values = split(queries) * scale, split(keys), split(values)
    # Softmax over few numbers is much faster along the first axis than along the last.
    first = torch.bmm(queries, keys.mT).permute(2, 1, 0).contiguous().softmax(0)  # [T, Q, n h]
    weights = first.permute(2, 1, 0).contiguous()

    def back(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gradient = split(gradient)
        of_weights = torch.bmm(gradient, values.mT).permute(2, 1, 0)
        of_scores = _softmax_back(first, of_weights).permute(2, 1, 0).contiguous()
        of_queries = _mix(of_scores, keys).mul_(scale)
        return merge(of_queries), merge(_spread(of_scores, queries)), merge(_spread(weights, gradient))

    return merge(_mix(weights, values)), back


def attend_once(
    network: Network, prefix: str, entries: Entries, table: Tensor, varying: Tensor
) -> tuple[Tensor, Back]:
    """Return mixed values [n, C] of the last position of a first layer, if all examples share its last entry.

    Scores and values then depend on an example's entries only. Keys are not needed: q (x K + b) = x (K q) + b q.

    Args:
        network: the weights.
        prefix: the start of the names of this layer's weights.
        entries: the possible pairs (position, token).
        table: the layer's input for each entry, [E, C].
        varying: the entries of each example at the U positions where they vary, [U, n].
    """
    heads, (positions, examples), width = network.config.heads, varying.shape, table.shape[1]
    scale, owned, rows = 1 / math.sqrt(width // heads), _owned(heads, width, table.dtype), varying.view(-1)

    # The last entry is the same in all examples, so there is one query, and scores are a column for each head.
    query, query_back = dense(network, f"{prefix}/q_proj", table[-1:])
    query = query.view(heads, -1) * scale
    key_kernel = network.weights[f"{prefix}/k_proj/kernel"].view(width, heads, -1)
    key_bias = network.weights[f"{prefix}/k_proj/bias"].view(heads, -1)
    seen, shift = (key_kernel * query).sum(-1), (key_bias * query).sum(-1)  # K q [C, h], b q [h]
    scores = torch.addmm(shift, table, seen)  # [E, h]
    values, values_back = dense(network, f"{prefix}/v_proj", table)

    # Position by position, so that softmax is over the first axis: the varying ones, then the fixed ones.
    looked_up = scores.index_select(0, rows).view(positions, examples, heads)
    constant = scores[entries.first_fixed :, None].expand(-1, examples, -1)
    weights = torch.cat([looked_up, constant]).softmax(0)  # [T, n, h]
    shares = (weights[:positions].view(-1, heads) @ owned).view(positions, examples, width)
    used = values.index_select(0, rows).view_as(shares)
    fixed_values = values[entries.first_fixed :, None] * owned  # [T - U, h, C]
    mixed = torch.zeros_like(used[0])
    for share, value in zip(shares, used, strict=True):
        mixed.addcmul_(share, value)
    for weight, value in zip(weights[positions:], fixed_values, strict=True):
        mixed.addmm_(weight, value)

    def back(gradient: Tensor) -> Tensor:
        of_values, of_weights = torch.zeros_like(values), torch.empty_like(weights)
        # What forward kept is overwritten here and below: the way back is taken once.
        of_values.index_add_(0, rows, shares.mul_(gradient).flatten(0, 1))
        of_looked_up = used.mul_(gradient).view(positions, examples, heads, -1)
        torch.sum(of_looked_up, -1, out=of_weights[:positions])
        for fixed, value in enumerate(fixed_values):
            of_value = weights[positions + fixed].mT @ gradient
            torch.sum(of_value.mul_(owned), 0, out=of_values[entries.first_fixed + fixed])
            torch.mm(gradient, value.mT, out=of_weights[positions + fixed])
        of_used_scores = _softmax_back(weights, of_weights)
        of_scores = torch.zeros_like(scores)
        # An entry's score was used by several examples, whose gradients add up.
        of_scores.index_add_(0, rows, of_used_scores[:positions].view(-1, heads))
        torch.sum(of_used_scores[positions:], 1, out=of_scores[entries.first_fixed :])

        of_table = values_back(of_values).addmm_(of_scores, seen.mT)
        of_seen, of_shift = (table.mT @ of_scores)[..., None], of_scores.sum(0)[:, None]
        torch.mul(of_seen, query, out=network.gradient[f"{prefix}/k_proj/kernel"].view_as(key_kernel))
        torch.mul(of_shift, query, out=network.gradient[f"{prefix}/k_proj/bias"].view_as(key_bias))
        of_query = (key_kernel * of_seen).sum(0) + key_bias * of_shift
        of_table[-1:] += query_back((of_query * scale).view(1, -1))
        return of_table

    return mixed, back


@lru_cache(maxsize=16)
def _owned(heads: int, width: int, dtype: torch.dtype) -> Tensor:
    """Return [h, C]: 1 where a head owns a column, else 0."""
    return torch.eye(heads, dtype=dtype).repeat_interleave(width // heads, 1)


def attend_last(network: Network, prefix: str, x: Tensor) -> tuple[Tensor, Back]:
    """Return mixed values [n, C] of the last position, and the way back to the layer's input x [n, T, C].

    With one query an example, neither keys nor values are needed: q (x K + b) = x (K q) + b q, and
    sum w (x V + b) = (sum w x) V + b.
    """
    heads, (examples, _, width) = network.config.heads, x.shape
    scale = 1 / math.sqrt(width // heads)

    def by_head(rows: Tensor) -> Tensor:
        """Split columns into heads: [rows, C] -> [h, rows, d]."""
        return rows.view(len(rows), heads, -1).transpose(0, 1)

    query, query_back = dense(network, f"{prefix}/q_proj", x[:, -1].contiguous())
    query = by_head(query * scale)
    key_kernel, value_kernel = (by_head(network.weights[f"{prefix}/{part}_proj/kernel"]) for part in "kv")
    key_bias = network.weights[f"{prefix}/k_proj/bias"].view(heads, 1, -1)
    seen = torch.bmm(query, key_kernel.mT).transpose(0, 1)  # K q, [n, h, C]
    shift = (key_bias * query).sum(-1).T  # b q, [n, h]
    scores = torch.bmm(x, seen.mT) + shift[:, None]  # [n, T, h]
    # Softmax over few numbers is much faster along the first axis.
    first = scores.transpose(0, 1).contiguous().softmax(0)  # [T, n, h]
    weights = first.permute(1, 2, 0).contiguous()
    mean = torch.bmm(weights, x).transpose(0, 1)  # sum w x, [h, n, C]
    mixed = torch.bmm(mean, value_kernel).transpose(0, 1).reshape(examples, width)
    mixed += network.weights[f"{prefix}/v_proj/bias"]

    def back(gradient: Tensor) -> Tensor:
        torch.sum(gradient, 0, out=network.gradient[f"{prefix}/v_proj/bias"])
        gradient = by_head(gradient)
        by_head(network.gradient[f"{prefix}/v_proj/kernel"]).copy_(torch.bmm(mean.mT, gradient))
        of_mean = torch.bmm(gradient, value_kernel.mT).transpose(0, 1)  # [n, h, C]
        of_first = _softmax_back(first, torch.bmm(x, of_mean.mT).transpose(0, 1))
        of_scores = of_first.transpose(0, 1).contiguous()  # [n, T, h]
        of_x = torch.bmm(weights.mT, of_mean).baddbmm_(of_scores, seen)
        of_seen, of_shift = torch.bmm(of_scores.mT, x).transpose(0, 1), of_first.sum(0).T[..., None]
        by_head(network.gradient[f"{prefix}/k_proj/kernel"]).copy_(torch.bmm(of_seen.mT, query))
        network.gradient[f"{prefix}/k_proj/bias"].copy_((of_shift * query).sum(1).view(-1))
        of_query = torch.bmm(of_seen, key_kernel).add_(of_shift * key_bias).mul_(scale)
        of_x[:, -1] += query_back(of_query.transpose(0, 1).reshape(examples, width))
        return of_x

    return mixed, back


def _softmax_back(weights: Tensor, gradient: Tensor) -> Tensor:
    """Propagate a gradient through a softmax along the first axis."""
    weighted = gradient * weights
    return weighted.sub_(weights * weighted.sum(0))


def _mix(weights: Tensor, values: Tensor) -> Tensor:
    """Mix [b, Q, T], [b, T, d] -> [b, Q, d], written out: faster than batches of thin products."""
    return (weights.mT * values).sum(1, keepdim=True) if weights.shape[1] == 1 else torch.bmm(weights, values)


def _spread(weights: Tensor, gradient: Tensor) -> Tensor:
    """Spread [b, Q, T], [b, Q, d] -> [b, T, d]."""
    return weights.mT * gradient if weights.shape[1] == 1 else torch.bmm(weights.mT, gradient)
