"""Networks in files as the paper's public code writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from trainables.networks import LoadedNetwork

PREFIX = "params/params/"


def in_public_form(network: LoadedNetwork, path: Path) -> Path:
    arrays = {PREFIX + name: weight.numpy() for name, weight in network.parameters.items()}
    train, validation = (
        torch.cat([part.inputs, part.targets[:, None]], 1).numpy() for part in (network.train, network.validation)
    )
    np.savez(path, train=train, val=validation, **arrays)
    return path
