"""The complexity measure: bytes of the smallest decodable stream found whose network is as good within epsilon.

`measure` is the way in, `decode` the way back; `pack` and `unpack` add what a decoder must know. The inside is
free to change with `METHOD`.
"""

from trainables.complexity.container import SelfContained, is_self_contained, pack, unpack
from trainables.complexity.measure import measure
from trainables.complexity.result import METHOD, ComplexityResult
from trainables.complexity.stream import decode

__all__ = [
    "METHOD",
    "ComplexityResult",
    "SelfContained",
    "decode",
    "is_self_contained",
    "measure",
    "pack",
    "unpack",
]
