"""Audio encoder `opensmile`: what speech science measures of a voice, by openSMILE (Eyben, Wöllmer & Schuller 2010).

    waveform [time] at sample_rate_hz -> openSMILE
        functionals: one frame of statistics over the utterance [1, dim]
        lld: low-level descriptors every 10 ms [frame, dim]; lld_deltas: their first derivatives

eGeMAPS (Eyben et al. 2016, IEEE TAC 7) has 88 functionals, jitter, shimmer and harmonics-to-noise ratio among them;
ComParE (Schuller et al. 2016) has 6,373. openSMILE is free for research and education alone: `raysys[opensmile]`.
"""

import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from raysys.corpus import audio
from raysys.corpus.finding import Finding
from raysys.encoders import waveform
from raysys.encoders.encoder import Encoder, EncoderConfig, Frames, Source, code_digest
from raysys.encoders.waveform import Samples
from raysys.errors import FeatureError
from raysys.settings import require

_SETS = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}
_LEVELS = {
    "functionals": "Functionals",
    "lld": "LowLevelDescriptors",
    "lld_deltas": "LowLevelDescriptors_Deltas",
}
_SHORTEST_SECONDS = 0.1
"""Shorter utterances are followed by silence up to it: openSMILE's longest windows need it."""
_MISSING = (
    "features.audio opensmile needs the package opensmile, which is free for research and education alone: pip install "
    "'raysys[opensmile]'"
)


@dataclass(frozen=True)
class OpensmileConfig(EncoderConfig):
    """Sets of openSMILE."""

    modalities: ClassVar = ("audio",)
    features: Literal["egemaps", "compare"] = "egemaps"
    """egemaps (eGeMAPSv02: 88 functionals, 25 descriptors) or compare (ComParE 2016: 6,373 and 65)."""
    level: Literal["functionals", "lld", "lld_deltas"] = "functionals"
    """functionals: statistics over the utterance; lld: descriptors every 10 ms; lld_deltas: their derivatives."""
    sample_rate_hz: int = 16000
    """Rate in Hz to which audio is resampled; files below it are refused."""

    def __post_init__(self) -> None:
        rate = self.sample_rate_hz
        require(8000 <= rate <= 96000, "features.opensmile.sample_rate_hz", rate, "8000 to 96000")
        known = self.level != "lld_deltas" or self.features == "compare"
        rule = "functionals or lld for egemaps, which has no deltas"
        require(known, "features.opensmile.level", self.level, rule)

    def build(self, modality: str) -> "OpensmileEncoder":
        """The encoder.

        Raises:
            FeatureError: the package is not installed.
        """
        if importlib.util.find_spec("opensmile") is None:
            raise FeatureError(_MISSING)
        return OpensmileEncoder(self)

    def findings(self, modalities: Sequence[str], corpus: str) -> list[Finding]:
        """Its licence."""
        message = "audio features are openSMILE's (audEERING): free for research and education, not for products"
        return [Finding("note", "licence", message)]


class OpensmileEncoder(Encoder):
    """Sets of openSMILE; see the module."""

    portion = waveform.PORTION_SECONDS
    keeps_precision = True

    def __init__(self, config: OpensmileConfig) -> None:
        self._config = config
        self.hears_hz = config.sample_rate_hz

    @cached_property
    def _smile(self) -> Any:
        import opensmile

        return opensmile.Smile(
            feature_set=opensmile.FeatureSet[_SETS[self._config.features]],
            feature_level=opensmile.FeatureLevel[_LEVELS[self._config.level]],
        )

    def fingerprint(self) -> dict[str, Any]:
        """Settings, and versions of what computes."""
        code = code_digest(sys.modules[__name__], waveform, audio)
        known = {"encoder": "opensmile", **vars(self._config), "code": code}
        return {**known, "opensmile": version("opensmile"), "torchaudio": version("torchaudio")}

    def size(self, source: Source, root: Path) -> float:
        """Seconds."""
        return waveform.seconds(source.row, root)

    def read(self, source: Source, root: Path) -> Samples:
        """Samples at the encoder's rate."""
        rate, remedy = self._config.sample_rate_hz, "set --features.opensmile.sample_rate_hz {rate}"
        return waveform.read_waveform(source.row, root, rate, remedy=remedy)

    def encode(self, items: Sequence[Samples]) -> Iterator[tuple[int, Frames]]:
        """Frames of each utterance, in order, in float32.

        Raises:
            FeatureError: openSMILE gives no numbers for one.
        """
        rate = self._config.sample_rate_hz
        shortest = round(_SHORTEST_SECONDS * rate)
        for k, samples in enumerate(items):
            padded = np.pad(samples, (0, max(0, shortest - len(samples))))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a segment that is too short: below
                found = self._smile(padded, rate)
            frames = np.ascontiguousarray(found[0].T, dtype=np.float32)
            if not np.isfinite(frames).all():
                raise FeatureError(
                    f"openSMILE gives no numbers for an utterance of {len(samples) / rate:.3f} s: leave it out"
                )
            yield k, frames
