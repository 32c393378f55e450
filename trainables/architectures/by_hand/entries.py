"""The possible inputs of a first layer: few rows, of which each example uses some."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from trainables.architectures.by_hand.network import Network


class Entries:
    """The E different pairs (position, token) of a task: all V tokens where examples differ, one token elsewhere.

    Entries of varying positions come first, position by position; then one entry for each fixed position.

    Args:
        vocabulary: V.
        fixed: for each position the token that all examples have there, None where they differ.
    """

    def __init__(self, vocabulary: int, fixed: tuple[int | None, ...]) -> None:
        varying = [place for place, token in enumerate(fixed) if token is None]
        known = [(place, token) for place, token in enumerate(fixed) if token is not None]
        pairs = [(place, token) for place in varying for token in range(vocabulary)] + known
        self.places, self.tokens = torch.tensor(pairs).T.contiguous()
        """The position and the token of each entry, each [E]."""
        self.first_fixed = len(pairs) - len(known)
        """The first entry of a fixed position."""
        self.asks_once = fixed[-1] is not None
        """Whether all examples have the same entry, which is the last one, at the last position."""
        self._varying = torch.tensor(varying, dtype=torch.int64)
        self._begin = vocabulary * torch.arange(len(varying))[:, None]
        row = {pair: index for index, pair in enumerate(pairs)}
        # Entries of a position follow each other by token, so an entry is the token plus a shift. A fixed position
        # has a single entry, which its one token is shifted to.
        self._shift = torch.tensor([row[place, token or 0] - (token or 0) for place, token in enumerate(fixed)])

    def used(self, inputs: Tensor) -> Tensor:
        """Return the entries [n, T] that examples [n, T] use."""
        return inputs + self._shift

    def varying(self, inputs: Tensor) -> Tensor:
        """Return the entries [U, n] that examples use at the U positions that vary."""
        return inputs.mT.index_select(0, self._varying).add_(self._begin)

    def table(self, network: Network) -> Tensor:
        """Return the first layer's inputs [E, C]: each entry's token embedding plus position embedding."""
        tokens, places = (network.weights[name] for name in _EMBEDDINGS)
        return tokens.index_select(0, self.tokens).add_(places.index_select(0, self.places))

    def back(self, network: Network, of_table: Tensor) -> None:
        """Write the gradient of the embeddings, given the gradient of the table."""
        of_tokens, of_places = (network.gradient[name] for name in _EMBEDDINGS)
        # A token has an entry at each position where it may occur, and a position one for each of its tokens.
        of_tokens.zero_().index_add_(0, self.tokens, of_table)
        of_places.zero_().index_add_(0, self.places, of_table)


_EMBEDDINGS = ("embedding/embedding", "positional_embedding/embedding")

entries_of = lru_cache(maxsize=16)(Entries)
"""Build `Entries`, or return the cached ones."""
