"""Plain programs of the same updates in other libraries, for the benchmark alone.

A file is called <library>_<experiment>.py and has a function ``epoch_runner(images, batch_size,
model, **options)``. PyTorch is an extra.
"""

from collections.abc import Mapping
from typing import Any

DENSE: Mapping[str, Mapping[str, Any]] = {
    "torch": {},
    "torch_compiled": {"compiled": True},
    "flax": {},
}
"""Programs of a model without convolutions, with the options of each."""
CONVOLUTIONAL: Mapping[str, Mapping[str, Any]] = {
    "torch": {},
    "torch_channels_last": {"memory_format": "channels_last"},
    "torch_compiled": {"compiled": True, "memory_format": "channels_last"},
    "flax": {},
}
"""Programs of a model with convolutions."""
