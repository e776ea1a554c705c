"""Augmentation: what an audio encoder hears, changed before it hears it.

    samples at the encoder's rate -> one kind of change, its strength drawn for each utterance and copy -> samples

    noise  white noise at a signal-to-noise ratio in dB            speed  played faster or slower, pitch with it
    pitch  shifted by semitones, at the same length                room   convolved with a decaying impulse response
    codec  through MP3, Ogg Vorbis or 8 kHz mu-law and back

Train parts alone get copies (Ko et al. 2015, Interspeech, "Audio augmentation for speech recognition"); noise at one
ratio is what robustness is measured with. torchaudio and libsndfile do the work.
"""

import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import soundfile
import torch
from jaxtyping import Float32

from raysys.encoders.encoder import Encoder, Frames, Source, code_digest
from raysys.encoders.waveform import Samples, resampled, torchaudio
from raysys.errors import FeatureError
from raysys.settings import digest, require

Kind = Literal["noise", "speed", "pitch", "room", "codec"]
Codec = Literal["mp3", "vorbis", "ulaw"]
Range = tuple[float, float]
_FORMATS: Mapping[str, tuple[str, str]] = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "ulaw": ("WAV", "ULAW"),
}
_TELEPHONE_HZ = 8000
_WINDOW = 1024
"""Samples of the phase vocoder's window."""
_LOWEST_QUALITY = 0.9
"""libsndfile's compression level, 0 to 1; higher ones fail for some codecs."""


@dataclass(frozen=True)
class AugmentConfig:
    """Changed copies of the train utterances; none by default."""

    idle: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
        name: {"copies": (0,)}
        for name in ("kinds", "snr_db", "speed", "semitones", "room_seconds", "codecs")
    }
    copies: int = 0
    """Copies of every train utterance, each changed in one way; val and test parts stay as recorded."""
    kinds: tuple[Kind, ...] = ("noise", "speed", "pitch", "room", "codec")
    """Kinds of change; one is drawn for each copy of an utterance."""
    snr_db: Range = (5.0, 25.0)
    """noise: lowest and highest signal-to-noise ratio in dB."""
    speed: Range = (0.9, 1.1)
    """speed: lowest and highest factor."""
    semitones: Range = (-2.0, 2.0)
    """pitch: lowest and highest shift."""
    room_seconds: Range = (0.2, 0.8)
    """room: shortest and longest time in which the sound decays by 60 dB."""
    codecs: tuple[Codec, ...] = ("mp3", "vorbis", "ulaw")
    """codec: codecs from which one is drawn."""

    def __post_init__(self) -> None:
        require(0 <= self.copies <= 20, "features.augment.copies", self.copies, "0 to 20")
        for name in ("kinds", "codecs"):
            given = getattr(self, name)
            plain = bool(given) and len(set(given)) == len(given)
            require(plain, f"features.augment.{name}", given, "one or more, each once")
        limits: Mapping[str, Range] = {
            "snr_db": (-20, 80),
            "speed": (0.5, 2),
            "semitones": (-12, 12),
            "room_seconds": (0.05, 5),
        }
        for name, (least, most) in limits.items():
            low, high = getattr(self, name)
            rule = f"[low, high] within {least:g} to {most:g}"
            require(least <= low <= high <= most, f"features.augment.{name}", [low, high], rule)

    def change(self, samples: Samples, rate_hz: int, random: np.random.Generator) -> Samples:
        """Samples after one change, drawn with its strength.

        Args:
            samples: mono, within -1..1.
            rate_hz: of them.
            random: decides.
        """
        kind = self.kinds[int(random.integers(len(self.kinds)))]
        if kind == "codec":
            codec = self.codecs[int(random.integers(len(self.codecs)))]
            return through_codec(samples, rate_hz, codec)
        ranges = {
            "noise": self.snr_db,
            "speed": self.speed,
            "pitch": self.semitones,
            "room": self.room_seconds,
        }
        strength = float(random.uniform(*ranges[kind]))
        changes: dict[str, Callable[[], Samples]] = {
            "noise": partial(with_noise, samples, strength, random),
            "speed": partial(at_speed, samples, rate_hz, strength),
            "pitch": partial(shifted, samples, rate_hz, strength),
            "room": partial(in_room, samples, rate_hz, strength, random),
        }
        return changes[kind]()


@dataclass(frozen=True)
class Noise:
    """White noise at one signal-to-noise ratio, for all utterances."""

    snr_db: float

    def change(self, samples: Samples, rate_hz: int, random: np.random.Generator) -> Samples:
        """Samples with noise; arguments as of `AugmentConfig.change`."""
        return with_noise(samples, self.snr_db, random)


class Augmented(Encoder):
    """An encoder that hears changed samples.

    Args:
        encoder: one that hears waveforms.
        change: what is done to them.
        copy: number of the copy, from 1: each utterance is changed in its own way in each.

    Raises:
        FeatureError: the encoder hears no waveforms.
    """

    def __init__(self, encoder: Encoder, change: AugmentConfig | Noise, *, copy: int = 1) -> None:
        if not encoder.hears_hz:
            raise FeatureError(
                "noise and augmentation are of waveforms: set --features.audio to an encoder that hears them, such as "
                "logmel or audio_transformers"
            )
        self._encoder, self._change, self._copy = encoder, change, copy
        for name in ("turns_before", "portion", "uses_gpu", "keeps_precision", "hears_hz"):
            setattr(self, name, getattr(encoder, name))

    def fingerprint(self) -> dict[str, Any]:
        """The encoder's, what is changed, and by what code."""
        return {
            "augmented": type(self._change).__name__,
            **vars(self._change),
            "copies": 1,  # how many there are does not change this one
            "copy": self._copy,
            "code": code_digest(sys.modules[__name__]),
            "libsndfile": soundfile.__libsndfile_version__,
            "torchaudio": version("torchaudio"),
            "of": self._encoder.fingerprint(),
        }

    def size(self, source: Source, root: Path) -> float:
        """The encoder's."""
        return self._encoder.size(source, root)

    def read(self, source: Source, root: Path) -> Samples:
        """Changed samples; the same ones on every machine."""
        samples = self._encoder.read(source, root)
        row = source.row
        name = digest(row.utterance_id, row.audio, row.start, row.end, self._copy)
        random = np.random.default_rng(int(name[:16], 16))
        return self._change.change(samples, self.hears_hz, random)

    def load(self) -> None:
        """The encoder's model."""
        self._encoder.load()

    def encode(self, items: Sequence[Any]) -> Iterator[tuple[int, Frames]]:
        """The encoder's frames."""
        yield from self._encoder.encode(items)
        self.parameters = self._encoder.parameters


def with_noise(samples: Samples, snr_db: float, random: np.random.Generator) -> Samples:
    """White noise to add to the samples, of 10^(-snr/10) times their power."""
    noise = random.standard_normal(len(samples)).astype(np.float32)
    mixed = torchaudio().functional.add_noise(
        torch.from_numpy(samples), torch.from_numpy(noise), torch.tensor(snr_db)
    )
    return np.asarray(mixed.numpy(), dtype=np.float32)


def at_speed(samples: Samples, rate_hz: int, factor: float) -> Samples:
    """Played `factor` times as fast, in steps of one per cent."""
    percent = round(100 * factor)
    return resampled(samples, percent, 100) if percent != 100 else samples


def shifted(samples: Samples, rate_hz: int, semitones: float) -> Samples:
    """Pitch shifted at the same length, in steps of one per cent: stretched by a phase vocoder, then played faster."""
    factor = round(100 * 2 ** (semitones / 12)) / 100
    size, hop = _WINDOW, _WINDOW // 4
    window = torch.hann_window(size)
    padded = torch.from_numpy(np.pad(samples, (0, max(0, size - len(samples)))))
    spectrum = torch.stft(padded, size, hop, window=window, return_complex=True)
    advance = torch.linspace(0, torch.pi * hop, size // 2 + 1)[:, None]
    stretched = torchaudio().functional.phase_vocoder(spectrum, 1 / factor, advance)
    longer = torch.istft(stretched, size, hop, window=window, length=round(len(padded) * factor))
    found = at_speed(longer.numpy(), rate_hz, factor)
    return np.pad(found, (0, max(0, len(samples) - len(found))))[: len(samples)]


def in_room(samples: Samples, rate_hz: int, seconds: float, random: np.random.Generator) -> Samples:
    """Convolved with the direct sound and noise that decays by 60 dB in `seconds`; length and power stay."""
    time = np.arange(1, max(2, round(seconds * rate_hz))) / rate_hz
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail /= np.sqrt(np.sum(tail**2))
    response: Float32[np.ndarray, " time"] = np.concatenate([[1.0], tail]).astype(np.float32)
    heard = torchaudio().functional.fftconvolve(
        torch.from_numpy(samples), torch.from_numpy(response)
    )
    cut = np.asarray(heard.numpy()[: len(samples)], dtype=np.float32)
    power = float(np.sqrt(np.mean(cut**2)))
    return cut * np.float32(np.sqrt(np.mean(samples**2)) / power) if power else cut


def through_codec(samples: Samples, rate_hz: int, codec: str) -> Samples:
    """Encoded at the lowest quality and decoded; mu-law at 8 kHz, as telephones have it. Length stays."""
    kind, subtype = _FORMATS[codec]
    rate = _TELEPHONE_HZ if codec == "ulaw" else rate_hz
    given = resampled(samples, rate_hz, rate)
    file = io.BytesIO()
    level = None if codec == "ulaw" else _LOWEST_QUALITY
    soundfile.write(
        file, np.clip(given, -1, 1), rate, format=kind, subtype=subtype, compression_level=level
    )
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    back = resampled(decoded, rate, rate_hz)
    return np.pad(back, (0, max(0, len(samples) - len(back))))[: len(samples)]
