"""Names of the task families that come with the package, and where each one is built. Imports no other module."""

from __future__ import annotations

from typing import Final

_MODULAR: Final = "trainables.tasks.modular:modular_task"
_REAL_TABLE: Final = "trainables.tasks.real_tables:real_table_task"

FAMILIES: Final[dict[str, str]] = {
    "addition": _MODULAR,
    "subtraction": _MODULAR,
    "multiplication": _MODULAR,
    "division": _MODULAR,
    "square_sum": _MODULAR,
    "square_sum_product": _MODULAR,
    "digits": "trainables.tasks.digits:digits_task",
    "mnist": "trainables.tasks.mnist:mnist_task",
    "diabetes": _REAL_TABLE,
    "breast_cancer": _REAL_TABLE,
    "wine": _REAL_TABLE,
    "permutations": "trainables.tasks.permutations:permutations_task",
    "sparse_parity": "trainables.tasks.sparse_parity:sparse_parity_task",
}
"""Family -> `module:function`, a function from a `TaskConfig` to a `Task`."""

FROM_FILES: Final = ("mnist",)
"""Families whose data are user-supplied files, named by `TaskConfig.data`."""

BUILT_IN_KINDS: Final = ("transformer", "mlp")
"""Kinds of network that come with the package."""
