"""The feature store: ragged arrays of one modality on disk, and the rule for reusing them.

    cache/features/<corpus>-<modality>-<digest>/
        00000.values.npy    [time, dim], float16 or whole numbers: utterances 0 to 1023, one after the other
        00000.offsets.npy   [utterances + 1] int64, utterance k of the shard is values[offsets[k] : offsets[k + 1]]
        00001.values.npy    ...
        features.json       what they were made of; written last, so its presence means complete

A store is reused only when corpus digest and encoder fingerprint, which covers the encoder's code, match. Extraction
holds one shard in memory; what was killed goes on after the shards that are there, to the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from raysys.corpus.table import Corpus
from raysys.encoders.encoder import Encoder
from raysys.errors import FeatureError, StorageError
from raysys.settings import digest
from raysys.storage import Folder

_SHARD = 1024
"""Utterances a shard."""


@dataclass(frozen=True)
class Ragged:
    """Features of all utterances of one modality."""

    shards: tuple[Shaped[np.ndarray, "_ dim"], ...]
    """Frames of all utterances in their order, none of them in two shards: float16, or whole numbers where the encoder
    gives such."""
    offsets: Int64[np.ndarray, " utterance_and_end"]
    """Utterance k begins offsets[k] frames after the first one of all."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: int) -> Shaped[np.ndarray, "time dim"]:
        start, end = int(self.offsets[k]), int(self.offsets[k + 1])
        shard = int(np.searchsorted(self._begins, start, side="right")) - 1
        begin = int(self._begins[shard])
        return self.shards[shard][start - begin : end - begin]

    @property
    def dim(self) -> int:
        """Width of a frame or token."""
        return int(self.shards[0].shape[1])

    @property
    def total_time(self) -> int:
        """Frames or tokens of all utterances."""
        return int(self.offsets[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.shards[0].dtype

    @cached_property
    def _begins(self) -> Int64[np.ndarray, " shard"]:
        lengths = [len(shard) for shard in self.shards[:-1]]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


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
    """The stored features, or None when there are none that match, or not all of them yet.

    Raises:
        FeatureError: the store is truncated, or holds values that are not finite.
    """
    folder = store_folder(corpus, modality, encoder, cache)
    if not folder.exists("features.json"):
        return None
    try:
        found = folder.read_json("features.json")
        parts = [
            (folder.read_npy(f"{name}.values.npy"), folder.read_npy(f"{name}.offsets.npy"))
            for name in _names(len(corpus))
        ]
    except StorageError as error:
        raise FeatureError(f"feature store is damaged ({error}): delete {folder.path()}") from error
    truncated = FeatureError(f"feature store is truncated: delete {folder.path()} and run again")
    for values, offsets in parts:
        if offsets[0] != 0 or offsets[-1] != len(values) or not (np.diff(offsets) > 0).all():
            raise truncated
    lengths = np.concatenate([np.diff(offsets) for _, offsets in parts])
    total = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ragged = Ragged(tuple(values for values, _ in parts), total)
    whole = [found["total_time"], found["dim"], len(corpus)]
    if [ragged.total_time, ragged.dim, len(ragged)] != whole:
        raise truncated
    for shard, (values, offsets) in zip(_shards(len(corpus)), parts, strict=True):
        _check_finite(values, offsets, shard, corpus, modality, remedy=f"delete {folder.path()}")
    return ragged


def extract_store(
    corpus: Corpus,
    modality: str,
    encoder: Encoder,
    cache: Folder,
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> Ragged:
    """Encode every utterance that no finished shard holds; the store is complete only when all are encoded.

    Args:
        corpus: checked corpus.
        modality: audio, text or video.
        encoder: see `raysys.encoders.encoder`.
        cache: where stores are.
        advance: told how many further utterances are done, for a progress bar.

    Raises:
        FeatureError: an utterance cannot be encoded, its features are not finite in float16, or of another width.
        CorpusError: audio that can no longer be read.
    """
    folder = store_folder(corpus, modality, encoder, cache)
    dims, total = set(), 0
    for name, shard in zip(_names(len(corpus)), _shards(len(corpus)), strict=True):
        if folder.exists(f"{name}.offsets.npy"):
            advance(len(shard))
        else:
            values, offsets = _encode(corpus, modality, encoder, shard, advance)
            folder.write_npy(f"{name}.values.npy", values)  # first: offsets say that they are whole
            folder.write_npy(f"{name}.offsets.npy", offsets)
        values = folder.read_npy(f"{name}.values.npy")
        dims.add(int(values.shape[1]))
        total += len(values)
    if len(dims) > 1:
        raise FeatureError(
            f"{modality} features are of widths {sorted(dims)}: compute them alike, and delete {folder.path()}"
        )
    size = {"dim": dims.pop(), "total_time": total, "utterances": len(corpus)}
    folder.write_json("features.json", {**_description(corpus, modality, encoder), **size})
    found = open_store(corpus, modality, encoder, cache)
    assert found is not None
    return found


def _encode(
    corpus: Corpus,
    modality: str,
    encoder: Encoder,
    shard: range,
    advance: Callable[[int], None],
) -> tuple[Shaped[np.ndarray, "_ dim"], Int64[np.ndarray, " _"]]:
    """Values and offsets of one shard."""
    frames: dict[int, np.ndarray] = {}
    with np.errstate(over="ignore"):
        for position, encoded in encoder.encode(corpus.utterances, corpus.root, shard):
            whole = np.issubdtype(encoded.dtype, np.integer)
            frames[position] = encoded if whole else encoded.astype(np.float16)
            advance(1)
    offsets = np.concatenate([[0], np.cumsum([len(frames[k]) for k in shard])]).astype(np.int64)
    values = np.concatenate([frames.pop(k) for k in shard])
    _check_finite(
        values, offsets, shard, corpus, modality, remedy="mend or leave out the utterance"
    )
    return values, offsets


def _shards(utterances: int) -> list[range]:
    return [range(k, min(k + _SHARD, utterances)) for k in range(0, utterances, _SHARD)]


def _names(utterances: int) -> list[str]:
    return [f"{k:05}" for k in range(len(_shards(utterances)))]


def _description(corpus: Corpus, modality: str, encoder: Encoder) -> dict[str, Any]:
    return {
        "modality": modality,
        "corpus": corpus.digest,
        "shard": _SHARD,
        "encoder": encoder.fingerprint(),
    }


def _check_finite(
    values: Shaped[np.ndarray, "_ dim"],
    offsets: Int64[np.ndarray, " _"],
    rows: Sequence[int],
    corpus: Corpus,
    modality: str,
    *,
    remedy: str,
) -> None:
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        position = int(np.searchsorted(offsets, int(bad.argmax()), side="right")) - 1
        row = corpus.utterances[rows[position]].utterance_id
        raise FeatureError(
            f"{modality} features of utterance '{row}' hold NaN or infinity: {remedy}"
        )
