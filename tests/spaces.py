"""Emotion spaces for tests."""

from pathlib import Path

import numpy as np
import torch

from raysys.batches.batch import make_part
from raysys.config import Config
from raysys.corpus import CorpusConfig
from raysys.corpus.ratings import RatingsConfig, RatingsTable
from raysys.corpus.table import Corpus
from raysys.encoders.ragged import Ragged
from raysys.losses import LossConfig
from raysys.models import ModelConfig
from raysys.storage import Folder
from raysys.tasks import TASKS
from raysys.training.bundle import Bundle, build_model, save_bundle


def space_config(corpus: Corpus) -> Config:
    """Of a label mapping on a corpus' formats."""
    names = tuple(one.name for one in corpus.formats)
    tables = {name: RatingsTable(file=f"{name}.csv") for name in names}
    return Config(
        task="label_mapping",
        corpus=CorpusConfig(name="ratings", ratings=RatingsConfig(tables)),
        model=ModelConfig(name="multiway", modalities=names),
    )


def save_space(folder: Path, corpus: Corpus) -> str:
    """The untrained space of a corpus' formats, as `jobs.map_labels` leaves it; the URI of its folder."""
    torch.manual_seed(0)
    config, task = space_config(corpus), TASKS["label_mapping"].of(corpus)
    dims = {one.name: len(one.variables) for one in corpus.formats}
    model = build_model(config, dims=dims, n_outputs=task.width, tops={}).eval()
    taught, labels = task.teach(task.targets(corpus), LossConfig())
    lengths = np.ones(len(corpus), dtype=np.int64)
    frames = {
        n: Ragged.of(np.zeros((len(corpus), d), np.float16), lengths) for n, d in dims.items()
    }
    everyone = np.arange(len(corpus))
    part = make_part(frames, everyone, labels=labels, targets=taught, normalisers={}, device="cpu")
    place = Folder(str(folder))
    save_bundle(place, Bundle(config, task, dims, {}, model, {}, task.fit(part)))
    return place.uri
