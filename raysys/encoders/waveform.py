"""What audio encoders hear: an utterance's samples at the rate that they need."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from raysys.corpus import audio
from raysys.corpus.table import Utterance
from raysys.errors import FeatureError

Samples = Float32[np.ndarray, " _"]
"""Mono, within -1..1: [time]."""
PORTION_SECONDS = 600.0
"""Audio that is held decoded at a time."""


def read_waveform(row: Utterance, root: Path, rate_hz: int, *, remedy: str) -> Samples:
    """Mono samples of an utterance at `rate_hz`; files above it are resampled.

    Args:
        row: the utterance.
        root: of the corpus.
        rate_hz: that the encoder needs.
        remedy: what to do about a file below it, whose upper bands would be empty.

    Raises:
        FeatureError: the file's rate is lower.
        CorpusError: it cannot be decoded.
    """
    path = root / row.audio
    samples, rate = audio.read_audio(row, path, str(path))
    if rate < rate_hz:
        raise FeatureError(
            f"{path} has {rate} Hz, below the {rate_hz} Hz of the encoder: the upper bands would be empty: "
            f"{remedy.format(rate=rate)}"
        )
    return resampled(samples, rate, rate_hz)


def resampled(samples: Samples, rate: int, rate_hz: int) -> Samples:
    """Samples at another rate.

    Args:
        samples: mono.
        rate: in Hz, that they have.
        rate_hz: that they shall have.
    """
    if rate == rate_hz:
        return samples
    found = torchaudio().functional.resample(torch.from_numpy(samples), rate, rate_hz)
    return np.asarray(found.numpy())


def seconds(row: Utterance, root: Path) -> float:
    """Length of an utterance, from its file's head; 0 where only decoding would show it."""
    if row.end is not None:
        return row.end - (row.start or 0.0)
    return audio.audio_seconds(root / row.audio)


def torchaudio() -> Any:
    """The library, loaded when audio is: it takes seconds.

    Raises:
        ImportError: it does not fit the installed torch.
    """
    try:
        import torchaudio
    except OSError as error:  # its CUDA libraries are not those of the installed torch
        raise ImportError(
            f"torchaudio does not fit the installed torch {torch.__version__}: install the pair that "
            "pyproject.toml pins"
        ) from error
    return torchaudio
