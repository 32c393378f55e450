"""Train many small networks of one shape at once, each in a lane of one batched model.

`run.LaneRun.advance` is the loop; `training.train` runs it for trials of any shapes. Behind the loop are the trials
without a lane (`queue`), a trial in training (`lane`), the tensors on the device (`device`), the step (`step`) and
evaluation (`evaluate`).
"""

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
