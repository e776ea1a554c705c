"""Features of a large corpus on Ray Data: read and decoded on CPUs, encoded by actors that hold the model.

    portions -> encode (an actor a worker, which reads, too) -> encoded portions, as they come -> the driver's store
    on GPUs:    read (tasks on CPUs) -> encode

Portions that wait are bounded by Ray Data's backpressure. A worker that dies is replaced, and its portion done again.
Few utterances, and any number by an encoder that costs nothing, are encoded in this process: starting workers would
take longer. On a cluster, where this process may have no GPU, that holds for encoders that need none.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch

from raysys.cluster.gpus import count_gpus
from raysys.cluster.nodes import slots
from raysys.cluster.pool import STANDING
from raysys.cluster.session import ray_address, ray_session
from raysys.cluster.stderr import without
from raysys.config.running import ClusterConfig
from raysys.encoders import FeaturesConfig
from raysys.encoders.encoder import Encoder
from raysys.encoders.extraction import (
    Encoded,
    Portion,
    Through,
    encode_portion,
    here,
    read_portion,
)
from raysys.encoders.store import SHARD
from raysys.errors import FeatureError, RaysysError

if TYPE_CHECKING:
    from ray.data import Dataset

_WAIT_SECONDS = 1.0
Row = dict[str, np.ndarray]
"""One pickled portion, in the only row of a batch."""


def extractor(
    features: FeaturesConfig, cluster: ClusterConfig, utterances: int, modality: str
) -> Through:
    """Who encodes a modality: this process, or the workers.

    Args:
        features: from which each worker builds the encoder.
        cluster: Ray, number and size of the workers.
        utterances: of the corpus.
        modality: audio, text or video.
    """

    def through(encoder: Encoder, portions: Sequence[Portion], root: Path) -> Iterator[Encoded]:
        few = utterances <= SHARD and not (encoder.uses_gpu and ray_address(cluster))
        alone = STANDING.get() is not None  # a pool that stands has the workers' CPUs
        if few or encoder.is_light or alone:
            yield from here(encoder, portions, root)
        elif portions:
            yield from on_workers(features, cluster, modality, encoder, portions, root)

    return through


def on_workers(
    features: FeaturesConfig,
    cluster: ClusterConfig,
    modality: str,
    encoder: Encoder,
    portions: Sequence[Portion],
    root: Path,
) -> Iterator[Encoded]:
    """Encoded portions, in the order in which they are done.

    Raises:
        FeatureError: the model cannot be used.
        PoolError: Ray cannot be reached.
    """
    with ray_session(cluster):
        job = _Job(features, modality, root, encoder.fingerprint(), cluster.cpus_per_fold)
        pipeline = _pipeline(job, cluster, portions, uses_gpu=encoder.uses_gpu)
        with without(b"constructor arguments in the object store"):
            rows = iter(pipeline.iter_rows())
            row = next(rows, None)
        while row is not None:
            result = content_of(row["portion"])
            if isinstance(result, RaysysError):
                raise result
            yield result
            row = next(rows, None)


@dataclass(frozen=True)
class _Job:
    """What every worker must know."""

    features: FeaturesConfig
    modality: str
    root: Path
    fingerprint: dict[str, Any]
    """Fingerprint of the driver's encoder."""
    cpus: float

    @property
    def encoder(self) -> Encoder:
        """One a process."""
        return _encoder(self.features, self.modality)


def _pipeline(
    job: _Job, cluster: ClusterConfig, portions: Sequence[Portion], *, uses_gpu: bool
) -> "Dataset":
    import ray.data  # takes a second

    quiet()
    workers = max(1, min(cluster.workers or slots(cluster), len(portions)))
    gpus = cluster.gpus
    there = int(count_gpus())
    if uses_gpu and there and not gpus:
        gpus, workers = 1.0, min(workers, there)

    class Encode(_Encode):
        """As a class of its own it needs no arguments, which Ray could not restore for a second start."""

        def __init__(self) -> None:
            super().__init__(job)

    items = [{"portion": ray.cloudpickle.dumps((portion, None))} for portion in portions]
    waiting = ray.data.from_items(items, override_num_blocks=len(items))
    if gpus:  # decoding would keep the GPU waiting
        waiting = waiting.map_batches(partial(_read, job), batch_size=1, num_cpus=1.0)
    return waiting.map_batches(
        Encode,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=job.cpus,
        num_gpus=gpus or None,
    )


def _read(job: _Job, row: Row) -> Row:
    portion, _ = content_of(row["portion"][0])
    return as_row((portion, read_portion(job.encoder, portion, job.root)))


class _Encode:
    """An actor that holds the model; it also reads what no task has read."""

    def __init__(self, job: _Job) -> None:
        torch.set_num_threads(max(1, round(job.cpus)))
        self._job = job
        self._encoder = job.encoder
        self._unusable: RaysysError | None = None
        try:
            self._check()
            self._encoder.load()
        except RaysysError as error:
            self._unusable = error

    def __call__(self, row: Row) -> Row:
        """An encoded portion, or why the model cannot be used."""
        if self._unusable:
            return as_row(self._unusable)
        portion, items = content_of(row["portion"][0])
        if items is None:
            items = read_portion(self._encoder, portion, self._job.root)
        try:
            return as_row(encode_portion(self._encoder, portion, items))
        except RaysysError as error:
            return as_row(error)

    def _check(self) -> None:
        if self._encoder.fingerprint() != self._job.fingerprint:
            raise FeatureError(
                f"the worker on {ray.util.get_node_ip_address()} has other files of the {self._job.modality} encoder "
                "than the driver: give both the same"
            )


@lru_cache(maxsize=8)
def _encoder(features: FeaturesConfig, modality: str) -> Encoder:
    return features.build(modality)


def as_row(content: Any) -> Row:
    """A batch of one row that holds anything."""
    cell = np.empty(1, dtype=object)
    cell[0] = ray.cloudpickle.dumps(content)
    return {"portion": cell}


def content_of(cell: bytes) -> Any:
    """What `as_row` has put there."""
    return ray.cloudpickle.loads(cell)


def quiet() -> None:
    """Keep Ray Data from printing: the bar is ours."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
