"""Training and measuring detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakescan.training.loop import TrainingResult
    from fakescan.training.options import TrainingOptions


def train(options: TrainingOptions) -> TrainingResult:
    """Train what `options` ask for, on data that is found and read first.

    Raises FakescanError for unusable data or options, and where the loss stops being a number.
    """
    from fakescan.model import pick_device
    from fakescan.training.crossfit import train_photo
    from fakescan.training.data import find_data
    from fakescan.training.loop import train_on
    from fakescan.training.material import read_material
    from fakescan.training.photos import read_photos
    from fakescan.weights import ArchitectureName

    path = find_data(options.data)
    if options.architecture.name == ArchitectureName.PHOTO:
        return train_photo(read_photos(path), options)
    return train_on(read_material(path, options, pick_device(options.device)), options)
