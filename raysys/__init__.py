"""raysys: cross-validate and tune emotion classifiers for speech and text on a Ray cluster."""

__version__ = "0.1.0"
