"""Elements that a vector loop leaves over, whose bits depend on company without a comparison of bits showing it.

torch's elementwise kernels compute whole vectors first. The few elements that are left at the end of a tensor go
through the plain functions of the C library, which round one value in twenty or fifty otherwise (sigmoid, SiLU,
GELU, ELU, softplus). Which elements are left depends on the number of lanes. So a comparison at a few weights finds
the difference only by luck, while thousands of steps are sure to meet it: the sizes of the tensors are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

VECTOR_ELEMENTS = 64
"""A multiple of the number of elements that one iteration of the CPU's vector loops handles."""

_MOVES = """
    _reshape_copy _to_copy _unsafe_view arange cat clone constant_pad_nd copy detach embedding empty empty_like
    expand fill flip full full_like gather index index_select lift_fresh masked_fill new_empty new_full new_ones
    new_zeros ones ones_like repeat roll scalar_tensor scatter select_backward select_scatter slice_backward
    slice_scatter sort stack where zero zeros zeros_like
"""

_EXACT = """
    abs add clamp clamp_max clamp_min div hardtanh hardtanh_backward leaky_relu leaky_relu_backward maximum minimum
    mul neg reciprocal relu rsub sgn sign square sub threshold threshold_backward
"""
"""Rounded correctly or not at all, hence alike by every instruction."""

_BY_ROW = """
    _log_softmax _log_softmax_backward_data _safe_softmax _softmax _softmax_backward_data native_group_norm
    native_group_norm_backward native_layer_norm native_layer_norm_backward
"""
"""Computed row by row or group by group, each of one lane: what is left over is the same in any company."""

_SUMS = """
    _adaptive_avg_pool2d _adaptive_avg_pool2d_backward addbmm addmm amax avg_pool2d avg_pool2d_backward baddbmm bmm
    convolution convolution_backward cumsum dot embedding_dense_backward index_add index_put linear max
    max_pool2d_with_indices max_pool2d_with_indices_backward mean min mm mv nll_loss_forward scatter_add sum
"""
"""Made of products and sums: in another order nearly all bits differ, so comparing them suffices."""

_COMPARED = frozenset((_MOVES + _EXACT + _BY_ROW + _SUMS).split())


def leaves_elements_over(compute: Callable[[], object]) -> bool:
    """Check whether a computation on an odd number of lanes has an operation that leaves elements over.

    Operations that are not known to round alike are taken for such, unless their results fill whole vectors.

    Args:
        compute: does it, gradients included. With an odd number of lanes a tensor fills whole vectors only if one
            lane's part does.
    """
    leftovers = _Leftovers()
    with leftovers:
        compute()
    return leftovers.are_there


class _Leftovers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below vmap and autograd, with the tensors of all lanes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.are_there = False

    def __torch_dispatch__(
        self, function: Any, _types: object, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        results = function(*arguments, **named)
        if not (function.is_view or _is_compared(function, arguments, named)):
            made = results if isinstance(results, tuple | list) else (results,)
            self.are_there |= any(isinstance(one, Tensor) and _is_left_over(one) for one in made)
        return results


def _is_compared(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Check whether comparing bits suffices for an operation."""
    name = function.overloadpacket.__name__.rstrip("_")
    if name == "pow":
        return arguments[1:] in ((1,), (2,))  # x itself, or a product
    # With a factor, a sum is rounded once by some instructions and twice by others.
    return name in _COMPARED and named.get("alpha", 1) == 1


def _is_left_over(result: Tensor) -> bool:
    return result.is_floating_point() and result.numel() % VECTOR_ELEMENTS != 0
