"""What the package offers, and what it never imports."""

from __future__ import annotations

import subprocess
import sys

import trainables

PUBLIC = {
    "DependsOnCompany",
    "require_across_machines",
    "BitstreamError",
    "CheckpointError",
    "ComplexityMeasurement",
    "Declined",
    "ComplexityResult",
    "ConfigError",
    "DESCRIPTION_METHOD",
    "DescriptionResult",
    "Ending",
    "FAMILIES",
    "LaneRun",
    "LoadedNetwork",
    "METHOD",
    "MatrixMeasurement",
    "Measurement",
    "MeasurementError",
    "MeasuringConfig",
    "ModelConfig",
    "OutOfMemory",
    "Split",
    "Task",
    "TaskConfig",
    "TrainablesError",
    "TrialConfig",
    "TrialEnd",
    "TrialHistory",
    "Watch",
    "build_task",
    "decode",
    "describe_task",
    "forward",
    "from_safetensors",
    "initialise",
    "lanes_within",
    "load_network",
    "measure",
    "run_bytes",
    "register_model",
    "register_task",
    "save_network",
    "shape_key",
    "spectrum",
    "split",
    "to_safetensors",
    "train",
    "trained_network",
    "trial_from_dict",
}


def modules_after(code: str) -> set[str]:
    """Names of the modules that are loaded after running code in a fresh interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


def test_the_public_names_are_these() -> None:
    assert set(trainables.__all__) == PUBLIC
    assert all(getattr(trainables, name) is not None for name in trainables.__all__)
    assert set(trainables.__all__) <= set(dir(trainables))


def test_configurations_are_read_without_torch() -> None:
    loaded = modules_after("import trainables, trainables.config; trainables.TrialConfig; trainables.ConfigError")
    assert "trainables.config" in loaded
    assert not loaded & {"torch", "numpy"}


def test_training_needs_neither_ray_nor_tables() -> None:
    loaded = modules_after(
        "from trainables import *\n"
        "model = ModelConfig(width=8)\n"
        "list(train([TrialConfig(task=TaskConfig(modulus=7), model=model, steps=3)]))"
    )
    assert "torch" in loaded
    assert not loaded & {"ray", "pandas", "pyarrow", "matplotlib"}
