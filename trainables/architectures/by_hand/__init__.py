"""One network's training gradient, every piece written down forwards and backwards.

On a CPU this is faster than automatic differentiation: what one operation writes the next one finds in the cache,
each gradient is written where the optimiser reads it, and little but arithmetic is left. A piece returns its value
and the way back: a function from the value's gradient to the gradient of what came in, which writes those of the
weights by the way, and which may be called once. `trainables.architectures.models.forward` is what all this is
checked against.

Letters in shapes: n examples, T positions, Q queried positions, C width, h heads, d width of a head, V tokens,
E entries (see `Entries`), F hidden width. Rows are (example, position).
"""

from trainables.architectures.by_hand.gradient import write_gradient
from trainables.architectures.by_hand.network import Network

__all__ = ["Network", "write_gradient"]
