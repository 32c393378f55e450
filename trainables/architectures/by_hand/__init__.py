"""The training gradient of one network, with every part written out forwards and backwards.

On a CPU this is faster than automatic differentiation: the output of one operation is still in the cache for the
next one, each gradient is written where the optimiser reads it, and little is left but arithmetic. A part returns
its value and the way back: a function from the value's gradient to the gradient of its input, which also writes the
gradients of the weights, and which may be called once. All of it is checked against
`trainables.architectures.models.forward`.

Letters in shapes: n examples, T positions, Q queried positions, C width, h heads, d width of a head, V tokens,
E entries (see `Entries`), F hidden width. Rows are (example, position).
"""

from trainables.architectures.by_hand.gradient import write_gradient
from trainables.architectures.by_hand.network import Network

__all__ = ["Network", "write_gradient"]
