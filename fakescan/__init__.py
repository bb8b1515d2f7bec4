"""fakescan tells AI-generated images from camera photographs, with evidence."""

__version__ = "0.1.0"
