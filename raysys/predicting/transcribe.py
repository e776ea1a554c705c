"""Texts of recordings that come without, by a Whisper model of transformers.

rows with audio and without text -> log-mel of each window of 30 s -> words -> rows with text
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from raysys.corpus.audio import read_audio
from raysys.corpus.table import Utterance
from raysys.encoders.audio_models import RATE_HZ
from raysys.encoders.pretrained import PretrainedModel, quietly
from raysys.encoders.waveform import resampled
from raysys.errors import ConfigError, CorpusError, FeatureError

_WINDOW_SECONDS = 30
_AT_ONCE = 8
"""Windows that are transcribed together."""
_MOST_TOKENS = 224


class Transcriber:
    """A Whisper model that writes down what is said.

    Args:
        name: local folder or hub name.

    Raises:
        ConfigError: there is no such model, or it is no Whisper.
    """

    def __init__(self, name: str) -> None:
        try:
            files = PretrainedModel("transcribe", name, revision="main", device="auto")
        except FeatureError as error:
            raise ConfigError(f"--transcribe {name}: {error}") from error
        if files.kind != "whisper" or not (files.folder / "tokenizer.json").is_file():
            raise ConfigError(
                f"--transcribe {name}: it is {files.kind}, or has no tokenizer.json: give a Whisper model such as "
                "openai/whisper-small"
            )
        from tokenizers import Tokenizer

        self._device = files.device
        self._model = files.load("WhisperForConditionalGeneration", dtype=torch.float32)
        self._model.to(self._device).eval()
        self._model.generation_config.max_length = None  # max_new_tokens says it
        self._mel = files.load("WhisperFeatureExtractor")
        self._words = Tokenizer.from_file(str(files.folder / "tokenizer.json"))

    def __call__(self, sounds: Sequence[Float32[np.ndarray, " _"]]) -> list[str]:
        """What is said in each, which is at 16 kHz; longer ones window by window."""
        size = _WINDOW_SECONDS * RATE_HZ
        windows = [
            (place, sound[start : start + size])
            for place, sound in enumerate(sounds)
            for start in range(0, max(1, len(sound)), size)
        ]
        found: dict[int, list[str]] = {place: [] for place in range(len(sounds))}
        for first in range(0, len(windows), _AT_ONCE):
            some = windows[first : first + _AT_ONCE]
            mel = self._mel(
                [sound for _, sound in some],
                sampling_rate=RATE_HZ,
                return_tensors="pt",
                return_attention_mask=True,
            ).to(self._device)
            with torch.inference_mode(), quietly():
                tokens = self._model.generate(
                    mel.input_features,
                    attention_mask=mel.attention_mask,
                    max_new_tokens=_MOST_TOKENS,
                    do_sample=False,
                )
            said = self._words.decode_batch(tokens.tolist(), skip_special_tokens=True)
            for (place, _), text in zip(some, said, strict=True):
                found[place].append(text.strip())
        return [" ".join(filter(None, parts)) for parts in found.values()]


def with_texts(
    rows: Sequence[Utterance], transcriber: Transcriber, told: Callable[[int], None]
) -> Iterator[Utterance]:
    """Rows with what is said in those that have audio and no text; one that cannot be heard stays as it is.

    Args:
        rows: audio paths are absolute.
        transcriber: writes it down.
        told: called with how many further rows are done.
    """
    for first in range(0, len(rows), _AT_ONCE):
        some = list(rows[first : first + _AT_ONCE])
        sounds: dict[int, np.ndarray] = {}
        for k, row in enumerate(some):
            if row.audio and not row.text:
                try:
                    samples, rate = read_audio(row, Path(row.audio), row.utterance_id)
                except CorpusError:  # said when it is predicted
                    continue
                sounds[k] = resampled(samples, rate, RATE_HZ)
        for k, text in zip(sounds, transcriber(list(sounds.values())), strict=True):
            some[k] = replace(some[k], text=text)
        yield from some
        told(len(some))
