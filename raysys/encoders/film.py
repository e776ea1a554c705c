"""Frames of a film at even distances over an utterance's stretch, decoded by PyAV (FFmpeg's libraries)."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from raysys.corpus.table import Utterance
from raysys.errors import FeatureError

Picture = UInt8[np.ndarray, "_ _ 3"]
"""RGB: [height, width, 3]."""


def read_frames(row: Utterance, path: Path, count: int) -> list[Picture]:
    """Up to `count` different frames (RGB), in the order of time: those shown in the middle of equal parts.

    Args:
        row: `start` and `end` bound the stretch; the whole film without them.
        path: of the film.
        count: frames wanted; a shorter film gives all that it has.

    Raises:
        FeatureError: the film cannot be decoded, or shows nothing in the stretch.
    """
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise FeatureError(f"{path} has no pictures: leave the utterance out")
            return _chosen(film, row, path, count)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FeatureError(f"cannot decode film {path} ({reason}): mend or leave it out") from error


def _chosen(
    film: av.container.InputContainer, row: Utterance, path: Path, count: int
) -> list[Picture]:
    stream = film.streams.video[0]
    stream.thread_type = "AUTO"
    times = _times(film, stream)
    start = row.start or 0.0
    last = row.end if row.end is not None else float("inf")
    inside = [k for k, time in enumerate(times) if start <= time <= last]
    if not inside:
        raise FeatureError(
            f"{path} shows nothing between {start:g} and {last:g} s: mend start and end of '{row.utterance_id}'"
        )
    middles = (np.arange(count) + 0.5) * len(inside) / count
    wanted = sorted({inside[int(middle)] for middle in middles})
    return _decoded(film, stream, [times[k] for k in wanted])


def _times(film: av.container.InputContainer, stream: av.video.stream.VideoStream) -> list[float]:
    """When each frame is shown, in seconds from the film's start, sorted; nothing is decoded."""
    first = stream.start_time or 0
    found = sorted(
        float((packet.pts - first) * packet.time_base)
        for packet in film.demux(stream)
        if packet.pts is not None and packet.time_base is not None
    )
    film.seek(first, stream=stream)
    return found


def _decoded(
    film: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    wanted: Sequence[float],
) -> list[Picture]:
    first = stream.start_time or 0
    step = stream.time_base or 0
    film.seek(first + int(wanted[0] / step) if step else first, stream=stream, backward=True)
    found: list[Picture] = []
    for frame in film.decode(stream):
        if frame.pts is None:
            continue
        time = float((frame.pts - first) * step)
        while len(found) < len(wanted) and time >= wanted[len(found)] - 1e-6:
            found.append(frame.to_ndarray(format="rgb24"))
        if len(found) == len(wanted):
            break
    return found
