"""Training and evaluation of our own models."""
