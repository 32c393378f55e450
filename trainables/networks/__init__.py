"""Networks in files: load, save, measure and describe one."""

from trainables.networks.files import (
    Examples,
    LoadedNetwork,
    from_safetensors,
    load_network,
    read_parameters,
    save_network,
    to_safetensors,
    trained_network,
    with_attention,
)

__all__ = [
    "Examples",
    "LoadedNetwork",
    "from_safetensors",
    "load_network",
    "read_parameters",
    "save_network",
    "to_safetensors",
    "trained_network",
    "with_attention",
]
