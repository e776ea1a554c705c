"""From utterances to features, portion by portion: the same steps in this process and on a cluster's workers.

    rows -> portions of utterances of like size -> read -> encode -> (position, frames) of each portion

An utterance that cannot be read costs itself alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysys.corpus.table import Utterance
from raysys.encoders.encoder import Encoder, Frames, Source
from raysys.errors import CorpusError, FeatureError

Portion = tuple[Source, ...]
"""Utterances that are read, then encoded, together."""


@dataclass(frozen=True)
class Unreadable:
    """Why an utterance has no features."""

    reason: str


Encoded = list[tuple[int, Frames | Unreadable]]
"""Position in the corpus and what became of it, for every utterance of a portion; frames as the store keeps them."""
Through = Callable[[Encoder, Sequence[Portion], Path], Iterator[Encoded]]
"""Who reads and encodes portions, in any order: `here`, or the workers of `raysys.cluster.extraction`."""


def portions(
    rows: Sequence[Utterance], root: Path, encoder: Encoder, chosen: Sequence[int]
) -> list[Portion]:
    """Divide utterances, small ones first.

    Args:
        rows: all utterances of the corpus.
        root: of the corpus.
        encoder: says how large each is, and how much may be read at a time.
        chosen: positions of those that are to be encoded.
    """
    before = _turns_before(rows, encoder.turns_before)
    sources = [Source(k, rows[k], tuple(rows[j] for j in before.get(k, ()))) for k in chosen]
    sizes = {source.position: max(encoder.size(source, root), 1.0) for source in sources}
    found: list[list[Source]] = []
    room = 0.0
    for source in sorted(sources, key=lambda one: sizes[one.position]):
        if not found or sizes[source.position] > room:
            found.append([])
            room = encoder.portion
        found[-1].append(source)
        room -= sizes[source.position]
    return [tuple(portion) for portion in found]


def read_portion(encoder: Encoder, portion: Portion, root: Path) -> list[Any]:
    """What the encoder needs of each utterance, or that it is `Unreadable`."""
    return [_read(encoder, source, root) for source in portion]


def encode_portion(encoder: Encoder, portion: Portion, items: Sequence[Any]) -> Encoded:
    """Frames of each utterance, as the store keeps them.

    Raises:
        FeatureError: the model cannot be used.
    """
    found: Encoded = [
        (source.position, item)
        for source, item in zip(portion, items, strict=True)
        if isinstance(item, Unreadable)
    ]
    read = [k for k, item in enumerate(items) if not isinstance(item, Unreadable)]
    for k, frames in encoder.encode([items[k] for k in read]):
        source = portion[read[k]]
        found.append((source.position, _kept(frames, encoder, source.row)))
    return found


def _kept(frames: Frames, encoder: Encoder, row: Utterance) -> Frames | Unreadable:
    if not len(frames):
        return Unreadable(f"nothing is left of utterance '{row.utterance_id}' to encode")
    try:
        return as_stored(frames, encoder, row)
    except FeatureError as error:
        return Unreadable(str(error))


def as_stored(frames: Frames, encoder: Encoder, row: Utterance) -> Frames:
    """Frames as the store keeps them: whole numbers and what users bring in their own type, states as float16.

    Raises:
        FeatureError: they hold NaN or infinity, also as float16.
    """
    if np.issubdtype(frames.dtype, np.integer):
        return frames
    with np.errstate(over="ignore"):
        kept = frames if encoder.keeps_precision else frames.astype(np.float16)
    if not np.isfinite(kept).all():
        raise FeatureError(
            f"features of utterance '{row.utterance_id}' hold NaN or infinity: fix or leave out the utterance"
        )
    return kept


def here(encoder: Encoder, portions: Sequence[Portion], root: Path) -> Iterator[Encoded]:
    """Read and encode in this process, one portion in memory at a time."""
    for portion in portions:
        yield encode_portion(encoder, portion, read_portion(encoder, portion, root))


def encode_rows(encoder: Encoder, rows: Sequence[Utterance], root: Path) -> list[Frames]:
    """Frames of utterances in their order, as the encoder gives them, without a store.

    Raises:
        FeatureError, CorpusError: one cannot be encoded.
    """
    found: dict[int, Frames] = {}
    for portion in portions(rows, root, encoder, range(len(rows))):
        items = [encoder.read(source, root) for source in portion]
        found |= {portion[k].position: frames for k, frames in encoder.encode(items)}
    return [found[k] for k in range(len(rows))]


def _read(encoder: Encoder, source: Source, root: Path) -> Any:
    try:
        return encoder.read(source, root)
    except (FeatureError, CorpusError) as error:
        return Unreadable(str(error))


def _turns_before(rows: Sequence[Utterance], count: int) -> dict[int, list[int]]:
    """Row -> positions of up to `count` turns before it in its dialogue, oldest first."""
    if not count:
        return {}
    order = sorted(range(len(rows)), key=lambda k: (rows[k].dialogue_id, rows[k].turn))
    found = {}
    for place, position in enumerate(order):
        dialogue = rows[position].dialogue_id
        before = order[max(0, place - count) : place]
        found[position] = [k for k in before if dialogue and rows[k].dialogue_id == dialogue]
    return found
