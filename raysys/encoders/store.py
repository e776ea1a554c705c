"""The feature store: ragged arrays of one modality on disk, and the rule for reusing them.

    cache/features/<corpus>-<modality>-<digest>/
        values.npy    [total_time, dim], float16 or whole numbers, all utterances one after the other
        offsets.npy   [utterances + 1] int64, utterance k is values[offsets[k] : offsets[k + 1]]
        features.json what they were made of; written last, so its presence means complete

A store is reused only when corpus digest and encoder fingerprint, which covers the encoder's code, match.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from raysys.corpus.table import Corpus
from raysys.encoders.encoder import Encoder
from raysys.errors import FeatureError, StorageError
from raysys.settings import digest
from raysys.storage import Folder


@dataclass(frozen=True)
class Ragged:
    """Features of all utterances of one modality."""

    values: Shaped[np.ndarray, "total_time dim"]
    """float16, or whole numbers where the encoder gives such."""
    offsets: Int64[np.ndarray, " utterance_and_end"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: int) -> Shaped[np.ndarray, "time dim"]:
        return self.values[self.offsets[k] : self.offsets[k + 1]]

    @property
    def dim(self) -> int:
        """Width of a frame or token."""
        return int(self.values.shape[1])


@dataclass(frozen=True)
class FeatureStore:
    """All modalities of a corpus."""

    modalities: Mapping[str, Ragged]
    encoders: Mapping[str, Mapping[str, Any]]
    """Modality -> fingerprint of its encoder."""
    digest: str


def store_folder(corpus: Corpus, modality: str, encoder: Encoder, cache: Folder) -> Folder:
    """Where the store of these features is, or will be."""
    key = digest(_description(corpus, modality, encoder))
    return cache / "features" / f"{corpus.name}-{modality}-{key[:16]}"


def open_store(corpus: Corpus, modality: str, encoder: Encoder, cache: Folder) -> Ragged | None:
    """The stored features, or None when there are none that match.

    Raises:
        FeatureError: the store is truncated, or holds values that are not finite.
    """
    folder = store_folder(corpus, modality, encoder, cache)
    if not folder.exists("features.json"):
        return None
    try:
        found = folder.read_json("features.json")
        ragged = Ragged(folder.read_npy("values.npy"), folder.read_npy("offsets.npy"))
    except StorageError as error:
        raise FeatureError(f"feature store is damaged ({error}): delete {folder.path()}") from error
    whole = (
        [*ragged.values.shape, len(ragged)] == [found["total_time"], found["dim"], len(corpus)]
        and ragged.offsets[0] == 0
        and ragged.offsets[-1] == len(ragged.values)
        and bool((np.diff(ragged.offsets) > 0).all())
    )
    if not whole:
        raise FeatureError(f"feature store is truncated: delete {folder.path()} and run again")
    _check_finite(ragged, corpus, modality, remedy=f"delete {folder.path()}")
    return ragged


def extract_store(
    corpus: Corpus,
    modality: str,
    encoder: Encoder,
    cache: Folder,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> Ragged:
    """Encode every utterance and write the store; nothing is written when an utterance fails.

    Args:
        corpus: checked corpus.
        modality: audio, text or video.
        encoder: see `raysys.encoders.encoder`.
        cache: where stores are.
        progress: wraps the iteration over utterances, for a progress bar.

    Raises:
        FeatureError: an utterance cannot be encoded, or its features are not finite in float16.
        CorpusError: audio that can no longer be read.
    """
    frames: list[np.ndarray] = [np.empty(0)] * len(corpus)
    with np.errstate(over="ignore"):
        for position, encoded in progress(encoder.encode(corpus.utterances, corpus.root)):
            whole = np.issubdtype(encoded.dtype, np.integer)
            frames[position] = encoded if whole else encoded.astype(np.float16)
    lengths = [len(item) for item in frames]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ragged = Ragged(np.concatenate(frames), offsets)
    _check_finite(ragged, corpus, modality, remedy="mend or leave out the utterance")
    folder = store_folder(corpus, modality, encoder, cache)
    folder.write_npy("values.npy", ragged.values)
    folder.write_npy("offsets.npy", ragged.offsets)
    size = {"dim": ragged.dim, "total_time": len(ragged.values), "utterances": len(corpus)}
    folder.write_json("features.json", {**_description(corpus, modality, encoder), **size})
    return ragged


def _description(corpus: Corpus, modality: str, encoder: Encoder) -> dict[str, Any]:
    return {
        "modality": modality,
        "corpus": corpus.digest,
        "encoder": encoder.fingerprint(),
    }


def _check_finite(ragged: Ragged, corpus: Corpus, modality: str, *, remedy: str) -> None:
    bad = ~np.isfinite(ragged.values).all(axis=1)
    if bad.any():
        position = int(np.searchsorted(ragged.offsets, int(bad.argmax()), side="right")) - 1
        row = corpus.utterances[position].utterance_id
        raise FeatureError(
            f"{modality} features of utterance '{row}' hold NaN or infinity: {remedy}"
        )
