"""Features of all utterances of one modality: frames one after the other, in shards that may be mapped from a disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from raysys.errors import DamagedError, FeatureError, StorageError
from raysys.sealed import check_files
from raysys.storage import Folder

SENT_BYTES = 2**30
"""Larger features are not sent to workers, which map the same files."""


@dataclass(frozen=True)
class Copies:
    """A corpus' features and, after them, those of changed copies of its utterances: row k + n * len(corpus)."""

    sources: tuple["Ragged", ...]
    """The features as recorded, then each copy's; all of the corpus' length."""

    def __getitem__(self, k: int) -> Shaped[np.ndarray, "time dim"]:
        copy, row = divmod(int(k), len(self.sources[0]))
        return self.sources[copy][row]

    @property
    def lengths(self) -> Int64[np.ndarray, " utterance"]:
        """Frames or tokens of each utterance."""
        return np.concatenate([one.lengths for one in self.sources])

    @property
    def dim(self) -> int:
        """Width of a frame or token."""
        return self.sources[0].dim


@dataclass(frozen=True)
class Ragged:
    """Features of all utterances of one modality."""

    shards: tuple[Shaped[np.ndarray, "_ dim"], ...]
    """Frames of utterances one after the other, none of them in two shards, all of one type: float16 (states of
    models), or what users bring."""
    starts: Int64[np.ndarray, " utterance"]
    """Where each utterance begins, counted from the first shard's first frame."""
    lengths: Int64[np.ndarray, " utterance"]
    """Frames or tokens of each utterance."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Utterances without features -> why."""
    folder: str = ""
    """Where the shards' files are; empty where there are none."""
    files: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    """Digests of the files; empty where there are none."""
    redone: tuple[str, ...] = ()
    """What was damaged, and has been encoded again."""

    @classmethod
    def of(
        cls, values: Shaped[np.ndarray, "_ dim"], lengths: Int64[np.ndarray, " utterance"]
    ) -> "Ragged":
        """Utterances that stand in one array, one after the other."""
        return cls((values,), np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, k: int) -> Shaped[np.ndarray, "time dim"]:
        start = int(self.starts[k])
        shard = int(np.searchsorted(self._begins, start, side="right")) - 1
        first = start - int(self._begins[shard])
        self._check(shard)
        return self.shards[shard][first : first + int(self.lengths[k])]

    def __iter__(self) -> Iterator[Shaped[np.ndarray, "_ dim"]]:
        return (self[k] for k in range(len(self)))

    def take(self, rows: Sequence[int]) -> "Ragged":
        """Some of the utterances, all of which have features."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(self, starts=self.starts[chosen], lengths=self.lengths[chosen], failed={})

    def spread(self, rows: Sequence[int], count: int) -> "Ragged":
        """The same utterances in the places `rows` of `count`; there is nothing in the others."""
        starts, lengths = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        starts[list(rows)], lengths[list(rows)] = self.starts, self.lengths
        return replace(self, starts=starts, lengths=lengths, failed={})

    def _check(self, shard: int) -> None:
        """Compare a shard's file with its digest, once a process.

        Raises:
            FeatureError: it is damaged; the shard is given up, so that the next command encodes it again.
        """
        if not self.digests or shard in self._sound:
            return
        folder, file = Folder(self.folder), self.files[shard]
        try:
            check_files(folder, {file: self.digests[shard]})
        except DamagedError as damage:
            give_up(folder, file.split(".")[0])
            raise FeatureError(
                f"{damage}: run the same command again, which encodes it anew"
            ) from damage
        self._sound.add(shard)

    @cached_property
    def _sound(self) -> set[int]:
        """Shards that have been compared."""
        return set()

    @property
    def is_large(self) -> bool:
        """Whether workers map its files instead of being sent its values."""
        return bool(self.files) and sum(shard.nbytes for shard in self.shards) > SENT_BYTES

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state.pop("_sound", None)
        state["shards" if self.is_large else "digests"] = ()  # what is sent has been compared
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not state["shards"]:
            state["shards"] = _mapped(Folder(state["folder"]), state["files"])
        vars(self).update(state)

    @property
    def dim(self) -> int:
        """Width of a frame or token."""
        return int(max(shard.shape[1] for shard in self.shards))

    @property
    def total_time(self) -> int:
        """Frames or tokens of all utterances."""
        return int(self.lengths.sum())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return max(self.shards, key=len).dtype  # one without any utterance may be of another

    @cached_property
    def _begins(self) -> Int64[np.ndarray, " shard"]:
        lengths = [len(shard) for shard in self.shards[:-1]]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _mapped(folder: Folder, files: Sequence[str]) -> tuple[np.ndarray, ...]:
    try:
        return tuple(map(folder.read_npy, files))
    except StorageError as error:
        raise FeatureError(
            f"{error}, on this machine: put --storage.cache on object storage, or on a disk that all nodes share"
        ) from error


def give_up(folder: Folder, name: str) -> None:
    """Have a shard encoded again by the next command."""
    for file in ("features.json", f"{name}.json"):
        if folder.exists(file):
            folder.remove(file)
