"""Training and measuring detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakescan.training.loop import TrainingResult
    from fakescan.training.options import TrainingOptions


def train(options: TrainingOptions) -> TrainingResult | None:
    """Train what `options` ask for, on data that is found and read first.

    In processes that torchrun started it trains with the others; the first has the result, and
    the others' is None.
    Raises FakescanError for unusable data or options, and where the loss stops being a number.
    """
    from fakescan.training.crossfit import train_photo
    from fakescan.training.data import find_data
    from fakescan.training.loop import train_on
    from fakescan.training.material import read_material
    from fakescan.training.photos import read_photos
    from fakescan.training.processes import join_processes
    from fakescan.weights import ArchitectureName

    with join_processes(options.device) as processes:
        processes.share_of(options.batch_size)
        path = find_data(options.data)
        if options.architecture.name == ArchitectureName.PHOTO:
            return train_photo(read_photos(path), options, processes)
        material = read_material(path, options, processes.pick_device(options.device))
        return train_on(material, options, processes)
