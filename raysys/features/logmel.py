"""Audio encoder `logmel`: log-mel bands, and by choice deltas, log pitch and log energy.

    waveform [time] at sample_rate_hz -> mel power -> ln(power + 1e-6) [frame, n_mels (+ n_mels) (+ 1) (+ 1)]

A frame stands for `hop_seconds` (20 ms). Decoding is soundfile's, signal processing torchaudio's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float

from raysys.config import FeaturesConfig
from raysys.corpus.audio import read_audio
from raysys.corpus.table import Utterance
from raysys.errors import FeatureError
from raysys.features.encoder import Frames

try:
    import torchaudio
except OSError as error:  # its CUDA libraries are not those of the installed torch
    raise ImportError(
        f"torchaudio does not fit the installed torch {torch.__version__}: install the pair that pyproject.toml pins"
    ) from error

_FLOOR = 1e-6
_PITCH_HZ = (70, 500)


class LogmelEncoder:
    """Log-mel frames; see the module."""

    def __init__(self, config: FeaturesConfig) -> None:
        self._config = config.logmel
        rate = self._config.sample_rate_hz
        self._hop = round(self._config.hop_seconds * rate)
        window = round(self._config.window_seconds * rate)
        self._mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=rate,
            n_fft=1 << (window - 1).bit_length(),
            win_length=window,
            hop_length=self._hop,
            f_min=20.0,
            n_mels=self._config.n_mels,
        )

    def fingerprint(self) -> dict[str, Any]:
        """Settings and torchaudio's version."""
        return {"encoder": "logmel", **vars(self._config), "torchaudio": torchaudio.__version__}

    def encode(self, rows: Sequence[Utterance], root: Path) -> Iterator[tuple[int, Frames]]:
        """Frames of each utterance, in order."""
        for position, row in enumerate(rows):
            with torch.inference_mode():
                frames = self._frames(self._waveform(row, root))
            yield position, frames.numpy()

    def _waveform(self, row: Utterance, root: Path) -> Float[torch.Tensor, " time"]:
        path = root / row.audio
        samples, rate = read_audio(row, path, str(path))
        wanted = self._config.sample_rate_hz
        if rate < wanted:
            raise FeatureError(
                f"{path} has {rate} Hz, below features.logmel.sample_rate_hz {wanted}: the upper bands would be "
                f"empty: set --features.logmel.sample_rate_hz {rate}"
            )
        waveform = torch.from_numpy(samples)
        if rate != wanted:
            waveform = torchaudio.functional.resample(waveform, rate, wanted)
        return waveform

    def _frames(self, waveform: Float[torch.Tensor, " time"]) -> Float[torch.Tensor, "frame dim"]:
        shortest = self._mel.n_fft // 2 + 1  # reflection at the edges needs so many samples
        if len(waveform) < shortest:
            waveform = torch.nn.functional.pad(waveform, (0, shortest - len(waveform)))
        mel = torch.log(self._mel(waveform) + _FLOOR)
        count = mel.shape[1]
        columns = [mel]
        if self._config.deltas:
            columns.append(torchaudio.functional.compute_deltas(mel))
        if self._config.pitch:
            columns.append(self._log_pitch(waveform, count))
        if self._config.energy:
            columns.append(self._log_energy(waveform, count))
        return torch.cat(columns).T.contiguous()

    def _log_pitch(self, waveform: Float[torch.Tensor, " time"], count: int) -> torch.Tensor:
        rate, (low, high) = self._config.sample_rate_hz, _PITCH_HZ
        smoothing = 15
        needed = (count + smoothing) * self._hop + rate // low
        padded = torch.nn.functional.pad(waveform, (0, max(0, needed - len(waveform))))
        pitch = torchaudio.functional.detect_pitch_frequency(
            padded,
            rate,
            frame_time=self._config.hop_seconds,
            win_length=smoothing,
            freq_low=low,
            freq_high=high,
        )
        return torch.log(pitch[:count].clamp(min=low))[None]

    def _log_energy(self, waveform: Float[torch.Tensor, " time"], count: int) -> torch.Tensor:
        padded = torch.nn.functional.pad(waveform, (0, count * self._hop - len(waveform)))
        power = padded[: count * self._hop].reshape(count, self._hop).square().mean(dim=1)
        return 0.5 * torch.log(power + _FLOOR)[None]
