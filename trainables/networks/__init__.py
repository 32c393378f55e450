"""Networks in files: load, save, measure and describe one."""

from trainables.networks.files import (
    from_safetensors,
    load_network,
    read_parameters,
    save_network,
    to_compressed,
    to_safetensors,
)
from trainables.networks.network import Examples, LoadedNetwork, trained_network, with_attention

__all__ = [
    "Examples",
    "LoadedNetwork",
    "from_safetensors",
    "load_network",
    "read_parameters",
    "save_network",
    "to_compressed",
    "to_safetensors",
    "trained_network",
    "with_attention",
]
