"""The feature store: ragged arrays of one modality on disk, and the rule for reusing them.

    cache/features/<corpus>-<modality>-<digest>/
        00000.values.npy    [time, dim], all shards of one type: utterances 0 to 1023, one after the other
        00000.offsets.npy   [utterances + 1] int64, utterance k of the shard is values[offsets[k] : offsets[k + 1]]
        00000.json          digests of the two
        00000.failed.json   utterances of the shard that could not be read -> why; only where there are such
        00001.values.npy    ...
        features.json       what they were made of; written last, so its presence means complete

A store is reused only when corpus digest and encoder fingerprint, which covers the encoder's code, match. Extraction
holds the shards that are being filled in memory; what was killed goes on after the shards that are there, to the same
bytes. Shards with utterances that could not be read are tried again, until somebody says that they may be left out.

Every file is compared with its digest once in a process, when its first frame is read: opening costs nothing, whatever
the size, and what is never read is never checked. A small store, which is sent to the workers whole, is compared when
it is opened. A damaged shard is encoded again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysys.corpus.table import Corpus
from raysys.encoders.encoder import Encoder, Frames
from raysys.encoders.extraction import Encoded, Through, Unreadable, here, portions
from raysys.encoders.ragged import SENT_BYTES, Ragged, give_up
from raysys.errors import DamagedError, FeatureError
from raysys.sealed import check_files, digests_of, read_sealed, write_sealed
from raysys.settings import digest
from raysys.storage import Folder

SHARD = 1024
"""Utterances a shard."""
_NAMED = 3


@dataclass(frozen=True)
class FeatureStore:
    """All modalities of a corpus."""

    modalities: Mapping[str, Ragged]
    encoders: Mapping[str, Mapping[str, Any]]
    """Modality -> fingerprint of its encoder."""
    digest: str

    @property
    def failed(self) -> dict[int, str]:
        """Utterances that lack the features of some modality -> why."""
        return {
            k: reason for ragged in self.modalities.values() for k, reason in ragged.failed.items()
        }

    def take(self, rows: Sequence[int]) -> "FeatureStore":
        """Some of the utterances, all of which have features."""
        taken = {modality: ragged.take(rows) for modality, ragged in self.modalities.items()}
        return FeatureStore(taken, self.encoders, self.digest)


def store_folder(corpus: Corpus, modality: str, encoder: Encoder, cache: Folder) -> Folder:
    """Where the store of these features is, or will be."""
    key = digest(_description(corpus, modality, encoder))
    return cache / "features" / f"{corpus.name}-{modality}-{key[:16]}"


def open_store(corpus: Corpus, modality: str, encoder: Encoder, cache: Folder) -> Ragged | None:
    """The stored features, or None when there are none that match, or not all of them yet.

    Raises:
        DamagedError: something of it is damaged; it has been given up, and can be encoded again.
    """
    folder = store_folder(corpus, modality, encoder, cache)
    if not folder.exists("features.json"):
        return None
    names = _names(len(corpus))
    try:
        found = read_sealed(folder, "features.json")
    except DamagedError:
        folder.remove("features.json")
        raise
    known: dict[str, dict[str, Any]] = found["shards"]
    damages = []
    for name in names:
        try:
            check_files(folder, {f"{name}.offsets.npy": known[name][f"{name}.offsets.npy"]})
            if found["total_bytes"] <= SENT_BYTES:
                check_files(folder, {f"{name}.values.npy": known[name][f"{name}.values.npy"]})
            elif folder.size(f"{name}.values.npy") != known[name]["bytes"]:
                raise DamagedError(f"{folder.path(f'{name}.values.npy')} is cut short")
        except DamagedError as damage:
            give_up(folder, name)
            damages.append(str(damage))
    if damages:
        raise DamagedError("; ".join(damages[:_NAMED]))
    parts = [
        (folder.read_npy(f"{name}.values.npy"), folder.read_npy(f"{name}.offsets.npy"))
        for name in names
    ]
    failed = {int(position): reason for position, reason in found["failed"].items()}
    lengths = np.concatenate([np.diff(offsets) for _, offsets in parts]).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    files = tuple(f"{name}.values.npy" for name in names)
    shards = tuple(values for values, _ in parts)
    digests = tuple(known[name][f"{name}.values.npy"] for name in names)
    return Ragged(shards, starts, lengths, failed, folder.uri, files, digests)


def extract_store(
    corpus: Corpus,
    modality: str,
    encoder: Encoder,
    cache: Folder,
    *,
    through: Through = here,
    skip_bad: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> Ragged:
    """Encode every utterance that no finished shard holds; the store is complete only when all are encoded.

    Args:
        corpus: checked corpus.
        modality: audio, text or video.
        encoder: see `raysys.encoders.encoder`.
        cache: where stores are.
        through: who does the work.
        skip_bad: complete the store without the utterances that cannot be read.
        advance: called with how many further utterances are done, for a progress bar.

    Raises:
        FeatureError: utterances cannot be read, features are not finite, or of different types or widths.
    """
    folder = store_folder(corpus, modality, encoder, cache)
    shards = dict(zip(_names(len(corpus)), _shards(len(corpus)), strict=True))
    missing = {name: shard for name, shard in shards.items() if not _is_there(folder, name)}
    advance(len(corpus) - sum(map(len, missing.values())))
    failed: dict[int, str] = {}
    planned = [
        portion
        for shard in missing.values()
        for portion in portions(corpus.utterances, corpus.root, encoder, shard)
    ]
    encoded = through(encoder, planned, corpus.root)
    for name, found in _gathered(encoded, missing, advance):
        failed |= _write(folder, name, found, corpus, modality)
    first = next(iter(sorted(failed)), None)
    if first is not None and (not skip_bad or len(failed) == len(corpus)):
        more = f" (and {len(failed) - 1} more bad rows)" if len(failed) > 1 else ""
        raise FeatureError(f"{failed[first]}{more}: fix it or pass --corpus.skip_bad true")
    _complete(folder, list(shards), _description(corpus, modality, encoder), failed)
    opened = open_store(corpus, modality, encoder, cache)
    assert opened is not None
    return opened


def _gathered(
    encoded: Iterator[Encoded], missing: Mapping[str, range], advance: Callable[[int], None]
) -> Iterator[tuple[str, list[Frames | Unreadable]]]:
    """Shards as their last utterance comes.

    Raises:
        FeatureError: no utterance of the first portion can be read, so that there is little hope for the others.
    """
    names = {position: name for name, shard in missing.items() for position in shard}
    filling: dict[str, dict[int, Frames | Unreadable]] = {}
    hope = False
    for portion in encoded:
        unreadable = [what for _, what in portion if isinstance(what, Unreadable)]
        hope = hope or len(unreadable) < len(portion)
        if not hope and len(portion) > 1:
            raise FeatureError(unreadable[0].reason)
        for position, what in portion:
            filling.setdefault(names[position], {})[position] = what
        advance(len(portion))
        for name in {names[position] for position, _ in portion}:
            if len(filling[name]) == len(missing[name]):
                found = filling.pop(name)
                yield name, [found[k] for k in missing[name]]


def _write(
    folder: Folder,
    name: str,
    found: Sequence[Frames | Unreadable],
    corpus: Corpus,
    modality: str,
) -> dict[int, str]:
    """One shard; which of its utterances could not be read, and why."""
    first = int(name) * SHARD
    failed = {first + k: one.reason for k, one in enumerate(found) if isinstance(one, Unreadable)}
    frames = {first + k: one for k, one in enumerate(found) if not isinstance(one, Unreadable)}
    _check_alike(frames, corpus, modality)
    lengths = [0 if isinstance(one, Unreadable) else len(one) for one in found]
    if failed:  # before the others: a shard with offsets and without this has all its utterances
        reasons = {corpus.utterances[k].utterance_id: reason for k, reason in failed.items()}
        folder.write_json(f"{name}.failed.json", reasons)
    files = (f"{name}.values.npy", f"{name}.offsets.npy")
    folder.write_npy(files[0], *frames.values())
    folder.write_npy(files[1], np.cumsum([0, *lengths], dtype=np.int64))
    known = {**digests_of(folder, files), "bytes": folder.size(files[0])}
    write_sealed(folder, f"{name}.json", known)  # last: the shard is whole
    if not failed and folder.exists(f"{name}.failed.json"):
        folder.remove(f"{name}.failed.json")
    return failed


def _complete(
    folder: Folder, names: Sequence[str], description: dict[str, Any], failed: Mapping[int, str]
) -> None:
    """Write features.json, if the shards fit together."""
    shards = [folder.read_npy(f"{name}.values.npy") for name in names]
    dims = {int(values.shape[1]) for values in shards if len(values)}
    if len(dims) > 1:
        raise FeatureError(
            f"{description['modality']} features are of widths {sorted(dims)}: compute them alike, and delete "
            f"{folder.path()}"
        )
    types = {str(values.dtype) for values in shards if len(values)}
    if len(types) > 1:
        raise FeatureError(
            f"{description['modality']} features are of types {sorted(types)}: give all the same, and delete "
            f"{folder.path()}"
        )
    known = {name: read_sealed(folder, f"{name}.json") for name in names}
    content = {
        **description,
        "dim": dims.pop(),
        "total_time": sum(map(len, shards)),
        "total_bytes": sum(one["bytes"] for one in known.values()),
        "failed": {str(position): reason for position, reason in sorted(failed.items())},
        "shards": known,
    }
    write_sealed(folder, "features.json", content)
    folder.sweep()


def _is_there(folder: Folder, name: str) -> bool:
    """Whether a shard is whole: its files are what was written."""
    if folder.exists(f"{name}.failed.json") or not folder.exists(f"{name}.json"):
        return False
    try:
        known = read_sealed(folder, f"{name}.json")
        check_files(folder, {file: known[file] for file in known if file.endswith(".npy")})
    except DamagedError:
        return False
    return True


def _shards(utterances: int) -> list[range]:
    return [range(k, min(k + SHARD, utterances)) for k in range(0, utterances, SHARD)]


def _names(utterances: int) -> list[str]:
    return [f"{k:05}" for k in range(len(_shards(utterances)))]


def _description(corpus: Corpus, modality: str, encoder: Encoder) -> dict[str, Any]:
    return {
        "modality": modality,
        "corpus": corpus.digest,
        "utterances": len(corpus),
        "shard": SHARD,
        "encoder": encoder.fingerprint(),
    }


def _check_alike(frames: Mapping[int, Frames], corpus: Corpus, modality: str) -> None:
    ids = {k: corpus.utterances[k].utterance_id for k in frames}
    first = next(iter(frames), 0)
    for k, one in frames.items():
        if one.shape[1] != frames[first].shape[1]:
            raise FeatureError(
                f"{modality} features of '{ids[k]}' are {one.shape[1]} wide, those of '{ids[first]}' "
                f"{frames[first].shape[1]}: compute them alike"
            )
        if one.dtype != frames[first].dtype:
            raise FeatureError(
                f"{modality} features of '{ids[k]}' are {one.dtype}, those of '{ids[first]}' {frames[first].dtype}: "
                "give all the same type, as by array.astype(numpy.float32)"
            )
