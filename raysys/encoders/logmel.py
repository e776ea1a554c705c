"""Audio encoder `logmel`: log-mel bands, and by choice deltas, log pitch and log energy.

    waveform [time] at sample_rate_hz -> mel power -> ln(power + 1e-6) [frame, n_mels (+ n_mels) (+ 1) (+ 1)]

A frame stands for `hop_seconds` (20 ms). Decoding is soundfile's, signal processing torchaudio's.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float

from raysys.corpus import audio
from raysys.encoders import waveform
from raysys.encoders.encoder import Encoder, EncoderConfig, Frames, Source, code_digest
from raysys.encoders.waveform import Samples
from raysys.settings import require

_FLOOR = 1e-6
_PITCH_HZ = (70, 500)


@dataclass(frozen=True)
class LogmelConfig(EncoderConfig):
    """Log-mel frames of the waveform (torchaudio), with optional further columns."""

    modalities: ClassVar = ("audio",)
    sample_rate_hz: int = 16000
    """Rate in Hz to which audio is resampled; files below it are refused."""
    window_seconds: float = 0.04
    """Length of the analysis window in seconds."""
    hop_seconds: float = 0.02
    """Distance between frames in seconds."""
    n_mels: int = 64
    """Mel bands from 20 Hz to half the sample rate."""
    deltas: bool = False
    """Add the first time derivative of every band."""
    pitch: bool = False
    """Add log pitch (natural log of Hz), by normalised cross-correlation."""
    energy: bool = False
    """Add the log root-mean-square energy."""

    def __post_init__(self) -> None:
        rate = self.sample_rate_hz
        require(rate >= 4000, "features.logmel.sample_rate_hz", rate, "4000 or more")
        hop = self.hop_seconds
        require(0.001 <= hop <= 1, "features.logmel.hop_seconds", hop, "0.001 to 1")
        window = self.window_seconds
        rule = "from features.logmel.hop_seconds to 10"
        require(hop <= window <= 10, "features.logmel.window_seconds", window, rule)
        require(8 <= self.n_mels <= 256, "features.logmel.n_mels", self.n_mels, "8 to 256")

    def build(self, modality: str) -> "LogmelEncoder":
        """The encoder."""
        return LogmelEncoder(self)


class LogmelEncoder(Encoder):
    """Log-mel frames; see the module."""

    portion = waveform.PORTION_SECONDS

    def __init__(self, config: LogmelConfig) -> None:
        self._config = config
        self.hears_hz = config.sample_rate_hz
        self._hop = round(config.hop_seconds * config.sample_rate_hz)

    @cached_property
    def _mel(self) -> Any:
        window = round(self._config.window_seconds * self._config.sample_rate_hz)
        return waveform.torchaudio().transforms.MelSpectrogram(
            sample_rate=self._config.sample_rate_hz,
            n_fft=1 << (window - 1).bit_length(),
            win_length=window,
            hop_length=self._hop,
            f_min=20.0,
            n_mels=self._config.n_mels,
        )

    def fingerprint(self) -> dict[str, Any]:
        """Settings, and versions of what computes."""
        code = code_digest(sys.modules[__name__], waveform, audio)
        known = {"encoder": "logmel", **vars(self._config), "code": code}
        return {**known, "torchaudio": version("torchaudio")}

    def size(self, source: Source, root: Path) -> float:
        """Seconds."""
        return waveform.seconds(source.row, root)

    def read(self, source: Source, root: Path) -> Samples:
        """Samples at the encoder's rate."""
        rate, remedy = self._config.sample_rate_hz, "set --features.logmel.sample_rate_hz {rate}"
        return waveform.read_waveform(source.row, root, rate, remedy=remedy)

    def encode(self, items: Sequence[Samples]) -> Iterator[tuple[int, Frames]]:
        """Frames of each utterance, in order."""
        for k, samples in enumerate(items):
            with torch.inference_mode():
                frames = self._frames(torch.from_numpy(samples))
            yield k, frames.numpy()

    def _frames(self, samples: Float[torch.Tensor, " time"]) -> Float[torch.Tensor, "frame dim"]:
        shortest = self._mel.n_fft // 2 + 1  # reflection at the edges needs so many samples
        if len(samples) < shortest:
            samples = torch.nn.functional.pad(samples, (0, shortest - len(samples)))
        mel = torch.log(self._mel(samples) + _FLOOR)
        count = mel.shape[1]
        columns = [mel]
        if self._config.deltas:
            columns.append(waveform.torchaudio().functional.compute_deltas(mel))
        if self._config.pitch:
            columns.append(self._log_pitch(samples, count))
        if self._config.energy:
            columns.append(self._log_energy(samples, count))
        return torch.cat(columns).T.contiguous()

    def _log_pitch(self, samples: Float[torch.Tensor, " time"], count: int) -> torch.Tensor:
        rate, (low, high) = self._config.sample_rate_hz, _PITCH_HZ
        smoothing = 15
        needed = (count + smoothing) * self._hop + rate // low
        padded = torch.nn.functional.pad(samples, (0, max(0, needed - len(samples))))
        pitch = waveform.torchaudio().functional.detect_pitch_frequency(
            padded,
            rate,
            frame_time=self._config.hop_seconds,
            win_length=smoothing,
            freq_low=low,
            freq_high=high,
        )
        return torch.log(pitch[:count].clamp(min=low))[None]

    def _log_energy(self, samples: Float[torch.Tensor, " time"], count: int) -> torch.Tensor:
        padded = torch.nn.functional.pad(samples, (0, count * self._hop - len(samples)))
        power = padded[: count * self._hop].reshape(count, self._hop).square().mean(dim=1)
        return 0.5 * torch.log(power + _FLOOR)[None]
