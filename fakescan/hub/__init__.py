"""Published detectors as `--model`: networks of transformers and timm, from a folder or the Hub."""

from fakescan.hub.finding import LocatedModel, locate_model, locate_models_named
from fakescan.hub.published import PublishedModel

__all__ = ["LocatedModel", "PublishedModel", "locate_model", "locate_models_named"]
