"""The bases that pieces of a network give to those after them."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.complexity.codes import Code, Integers, Rotation, Zeros, whole_numbers
from trainables.complexity.rotation import integer_basis


class Bases:
    """Bases of the pieces that have a code so far, each computed on first use."""

    def __init__(self, codes: Sequence[Code]) -> None:
        """Take the codes of all pieces, in order; more may be appended later."""
        self._codes = codes
        self._known: dict[tuple[int, int], Integers] = {}

    def of(self, rotation: Rotation) -> Integers:
        """Return the basis [n, n] that a rotation refers to, see `integer_basis`.

        It is the same whatever scale the source has, so scales may be fitted once everything is rounded.
        """
        key = rotation.source, rotation.source_axis
        if key not in self._known:
            source = self._codes[rotation.source]
            assert not isinstance(source, Zeros), "nothing has no basis"
            whole, _ = whole_numbers(source, self.of_axes(source))
            self._known[key] = integer_basis(whole if rotation.source_axis == 1 else whole.T)
        return self._known[key]

    def of_axes(self, code: Code) -> dict[int, Integers]:
        """Return the bases of all rotated axes of a piece, by axis."""
        return {} if isinstance(code, Zeros) else {rotation.axis: self.of(rotation) for rotation in code.rotations}
