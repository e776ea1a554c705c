"""What an encoder costs: parameters, and seconds an utterance, measured on a few and stored with its features.

a few utterances of the corpus, once to warm up -> read and encode on one core (or the GPU) -> cost.json
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from raysys.corpus.audio import read_audio
from raysys.corpus.table import Corpus, Utterance
from raysys.encoders.encoder import Encoder
from raysys.encoders.extraction import portions
from raysys.encoders.store import store_folder
from raysys.errors import RaysysError, StorageError
from raysys.sealed import read_sealed, write_sealed
from raysys.storage import Folder, Number, with_nan

_FILE = "cost.json"
_SAMPLE = 8
_ENOUGH_SECONDS = 10.0


@dataclass(frozen=True)
class EncoderCost:
    """What encoding one utterance costs; NaN where it is not known."""

    parameters: int
    seconds: Number
    """CPU time on one core, reading files included; wall time where it ran on a GPU."""
    audio_seconds: Number
    """How long the audio of those utterances is."""
    on_gpu: bool = False


def encoder_cost(corpus: Corpus, modality: str, encoder: Encoder, cache: Folder) -> EncoderCost:
    """What is remembered, else measured now.

    Args:
        corpus: checked corpus.
        modality: audio, text or video.
        encoder: whose features of the corpus are stored.
        cache: where stores are.
    """
    folder = store_folder(corpus, modality, encoder, cache)
    try:
        if folder.exists(_FILE):
            known = read_sealed(folder, _FILE)
            return EncoderCost(**{**known, **with_nan({k: known[k] for k in _NUMBERS})})
    except (StorageError, TypeError, KeyError):
        pass  # damaged: it is measured again
    found = _measure(corpus, encoder)
    write_sealed(folder, _FILE, asdict(found))
    return found


_NUMBERS = ("seconds", "audio_seconds")


def _measure(corpus: Corpus, encoder: Encoder) -> EncoderCost:
    count = min(_SAMPLE, len(corpus))
    chosen = np.linspace(0, len(corpus) - 1, count).astype(int).tolist()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spent, done = 0.0, []
    try:
        _encode(corpus, encoder, chosen[:1])  # loads what it needs
        on_gpu = encoder.uses_gpu and torch.cuda.is_available()
        clock = time.perf_counter if on_gpu else time.process_time
        for k in chosen:
            begun = clock()
            _encode(corpus, encoder, [k])
            spent += clock() - begun
            done.append(k)
            if spent > _ENOUGH_SECONDS:
                break
        heard = _audio_seconds([corpus.utterances[k] for k in done], corpus)
    except RaysysError:  # one of them cannot be read: what it costs is not worth more
        return EncoderCost(encoder.parameters, float("nan"), float("nan"))
    finally:
        torch.set_num_threads(threads)
    return EncoderCost(encoder.parameters, spent / len(done), heard, on_gpu)


def _encode(corpus: Corpus, encoder: Encoder, chosen: Sequence[int]) -> None:
    for portion in portions(corpus.utterances, corpus.root, encoder, chosen):
        for _ in encoder.encode([encoder.read(source, corpus.root) for source in portion]):
            pass


def _audio_seconds(rows: Sequence[Utterance], corpus: Corpus) -> float:
    """Mean; NaN where one has no audio."""
    if not all(row.audio for row in rows):
        return float("nan")
    heard = [read_audio(row, corpus.root / row.audio, row.utterance_id) for row in rows]
    return float(np.mean([len(samples) / rate for samples, rate in heard]))
