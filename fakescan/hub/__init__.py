"""Published detectors: networks of transformers and timm, from the Hub or a folder, as `--model`."""

from fakescan.hub.finding import LocatedModel, locate_model, locate_models_named
from fakescan.hub.published import PublishedModel

__all__ = ["LocatedModel", "PublishedModel", "locate_model", "locate_models_named"]
