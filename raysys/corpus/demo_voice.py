"""The voice of the demo corpus: a source-filter synthesiser of nonsense syllables.

    pitch contour -> pulse train -> spectral tilt -> three formants a syllable -> envelope -> room noise

It is no speech synthesiser: it moves what emotional prosody moves, in speakers who differ.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RATE_HZ = 16000

_VOWELS_HZ = np.array(
    [[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]],
    dtype=float,
)
"""First three formants in Hz of five vowels (Peterson & Barney 1952, men's averages)."""

_BANDWIDTHS_HZ = (80.0, 110.0, 160.0)


@dataclass(frozen=True)
class Prosody:
    """How an emotion moves a voice, relative to the speaker."""

    pitch: float
    """Mean pitch in semitones."""
    span: float
    """Depth of the pitch contour in semitones."""
    rate: float
    """Speaking rate as a factor."""
    loudness: float
    """Level in dB."""
    brightness: float
    """0 (dull) to 1 (pressed): how little the source falls off towards high frequencies."""

    def mixed_with(self, other: "Prosody", share: float) -> "Prosody":
        """`share` of this prosody and `1 - share` of the other."""
        mine, theirs = vars(self), vars(other)
        return Prosody(**{k: share * mine[k] + (1 - share) * theirs[k] for k in mine})

    def wavering(self, random: np.random.Generator) -> "Prosody":
        """One utterance's own rendering: people do not repeat themselves."""
        return Prosody(
            pitch=self.pitch + random.normal(0, 1.6),
            span=max(0.3, self.span + random.normal(0, 1.0)),
            rate=self.rate * np.exp(random.normal(0, 0.07)),
            loudness=self.loudness + random.normal(0, 2.0),
            brightness=float(np.clip(self.brightness + random.normal(0, 0.12), 0.05, 0.95)),
        )


@dataclass(frozen=True)
class Voice:
    """One speaker."""

    pitch_hz: float
    formant_scale: float
    rate: float
    gain_db: float

    @classmethod
    def draw(cls, random: np.random.Generator, *, woman: bool) -> "Voice":
        """A random speaker."""
        return cls(
            pitch_hz=float(random.uniform(180, 230) if woman else random.uniform(95, 135)),
            formant_scale=float(
                random.uniform(1.10, 1.22) if woman else random.uniform(0.95, 1.05)
            ),
            rate=float(random.uniform(0.93, 1.07)),
            gain_db=float(random.normal(0, 1.5)),
        )


def speak(
    voice: Voice, prosody: Prosody, words: int, random: np.random.Generator
) -> Float[np.ndarray, " time"]:
    """Samples at 16 kHz, within -1..1, of about a syllable a word."""
    from scipy.signal import lfilter  # a second that only the generator should pay

    prosody = prosody.wavering(random)
    seconds = (0.16 / (voice.rate * prosody.rate)) * random.uniform(0.8, 1.2, size=words + 1)
    lengths = (seconds * RATE_HZ).astype(int)
    total = int(lengths.sum())
    pitch_hz = _pitch_contour(voice, prosody, total, random)
    tilt = 0.97 - 0.55 * prosody.brightness
    source = lfilter([1 - tilt], [1, -tilt], _pulses(pitch_hz))
    source = source + 0.02 * random.standard_normal(total)
    shaped = _formants(source, lengths, voice, random)
    envelope = np.concatenate([np.hanning(n) ** 0.6 for n in lengths])
    shaped = shaped * envelope
    shaped /= np.sqrt(np.mean(shaped**2)) + 1e-9
    level = 0.05 * 10 ** ((prosody.loudness + voice.gain_db) / 20)
    samples = level * shaped + 0.0015 * random.standard_normal(total)
    return np.clip(samples, -0.99, 0.99).astype(np.float32)


def _pitch_contour(
    voice: Voice, prosody: Prosody, total: int, random: np.random.Generator
) -> Float[np.ndarray, " time"]:
    time = np.linspace(0, 1, total)
    waves = np.sin(2 * np.pi * (random.uniform(1, 3) * time + random.random()))
    contour = prosody.pitch + prosody.span * (0.6 * waves + 0.5 - time)
    return voice.pitch_hz * 2 ** (contour / 12)


def _pulses(pitch_hz: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Band-limited pulse train: the sum of all harmonics below 5 kHz in closed form (Dirichlet kernel)."""
    phase = np.pi * np.cumsum(pitch_hz) / RATE_HZ
    harmonics = 2 * np.floor(5000 / pitch_hz.mean()) + 1
    denominator = np.sin(phase)
    safe = np.where(np.abs(denominator) < 1e-6, 1.0, denominator)
    kernel = np.where(
        np.abs(denominator) < 1e-6, 1.0, np.sin(harmonics * phase) / (harmonics * safe)
    )
    return kernel - kernel.mean()


def _formants(
    source: Float[np.ndarray, " time"],
    lengths: np.ndarray,
    voice: Voice,
    random: np.random.Generator,
) -> Float[np.ndarray, " time"]:
    from scipy.signal import lfilter

    vowels = random.integers(0, len(_VOWELS_HZ), size=len(lengths))
    pieces, first = [], 0
    states = [np.zeros(2) for _ in _BANDWIDTHS_HZ]
    for length, vowel in zip(lengths, vowels, strict=True):
        piece = source[first : first + length]
        for k, (hz, width) in enumerate(zip(_VOWELS_HZ[vowel], _BANDWIDTHS_HZ, strict=True)):
            radius = np.exp(-np.pi * width / RATE_HZ)
            angle = 2 * np.pi * hz * voice.formant_scale / RATE_HZ
            poles = [1, -2 * radius * np.cos(angle), radius**2]
            piece, states[k] = lfilter([sum(poles)], poles, piece, zi=states[k])
        pieces.append(piece)
        first += length
    return np.concatenate(pieces)
