"""Frames of a film over an utterance's stretch, decoded by PyAV (FFmpeg's libraries)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av

from raysys.corpus.pictures import Picture
from raysys.corpus.table import Utterance
from raysys.errors import FeatureError


def read_frames(row: Utterance, path: Path, count: int) -> list[Picture]:
    """Up to `count` different frames (RGB), in the order of time: those shown in the middle of equal parts.

    Args:
        row: `start` and `end` bound the stretch; the whole film without them.
        path: of the film.
        count: frames wanted; a shorter film gives all that it has.

    Raises:
        FeatureError: the film cannot be decoded, or shows nothing in the stretch.
    """

    def middles(there: int) -> list[int]:
        return sorted({int((k + 0.5) * there / count) for k in range(count)})

    return list(chosen_frames(row, path, middles))


def chosen_frames(
    row: Utterance, path: Path, choose: Callable[[int], Sequence[int]]
) -> Iterator[Picture]:
    """Frames (RGB) of an utterance's stretch one after the other, so that memory holds one.

    Args:
        row: see `read_frames`.
        path: of the film.
        choose: number of frames in the stretch -> positions of those wanted, ascending.

    Raises:
        FeatureError: see `read_frames`.
    """
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise FeatureError(f"{path} has no pictures: leave the utterance out")
            yield from _chosen(film, row, path, choose)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FeatureError(f"cannot decode film {path} ({reason}): fix or leave it out") from error


def _chosen(
    film: av.container.InputContainer,
    row: Utterance,
    path: Path,
    choose: Callable[[int], Sequence[int]],
) -> Iterator[Picture]:
    stream = film.streams.video[0]
    stream.thread_type = "AUTO"
    times = _times(film, stream)
    start = row.start or 0.0
    last = row.end if row.end is not None else float("inf")
    inside = [time for time in times if start <= time <= last]
    if not inside:
        raise FeatureError(
            f"{path} shows nothing between {start:g} and {last:g} s: fix start and end of '{row.utterance_id}'"
        )
    yield from _decoded(film, stream, [inside[k] for k in choose(len(inside))])


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
) -> Iterator[Picture]:
    first = stream.start_time or 0
    step = stream.time_base or 0
    film.seek(first + int(wanted[0] / step) if step else first, stream=stream, backward=True)
    found = 0
    for frame in film.decode(stream):
        if frame.pts is None:
            continue
        time = float((frame.pts - first) * step)
        while found < len(wanted) and time >= wanted[found] - 1e-6:
            found += 1
            yield frame.to_ndarray(format="rgb24")
        if found == len(wanted):
            break
