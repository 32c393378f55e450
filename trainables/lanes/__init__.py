"""Train many small networks of one shape at once, each in a lane of one batched model."""

from trainables.lanes.memory import PROCESS_BYTES, lanes_within, run_bytes
from trainables.lanes.run import DEFAULT_LANES, Counts, LaneRun
from trainables.lanes.shape import ShapeKey, effective_batch_size, shape_key
from trainables.lanes.training import train

__all__ = [
    "DEFAULT_LANES",
    "PROCESS_BYTES",
    "Counts",
    "LaneRun",
    "ShapeKey",
    "effective_batch_size",
    "lanes_within",
    "run_bytes",
    "shape_key",
    "train",
]
