"""What lies nearest to a text, a recording or a picture in the emotion space, whatever its format.

RUN of jobs.embed_content, query -> the encoder and model of its first fold -> a place in the space
-> the items whose ratings the space was learnt from, and the fold's own test utterances, by distance

Distance is measured in what the decoders of the run's training formats read: where a text lies in directions that only
other decoders read, the model was not trained.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Protocol, cast

import numpy as np
import torch
from jaxtyping import Float32

from raysys.config import Config
from raysys.corpus import read_corpus
from raysys.corpus.formats import named_like
from raysys.corpus.pictures import PICTURES
from raysys.corpus.table import Corpus, Utterance
from raysys.encoders import prepare_features
from raysys.encoders.encoder import FRAMED
from raysys.encoders.extraction import as_stored, encode_rows
from raysys.encoders.ragged import Ragged
from raysys.errors import ConfigError
from raysys.losses import LossConfig
from raysys.models.emotion_space import load_space
from raysys.predicting.inputs import SOUNDS
from raysys.predicting.members import check_encoders, trained_folds
from raysys.predictions import read_predictions
from raysys.storage import Folder, resolve_folder
from raysys.tasks.exhibits import Table
from raysys.training.bundle import Bundle, Predictor, load_bundle

_LETTERS = 60
_WANTED = {
    "text": "one text",
    "audio": "the path of one audio file",
    "image": "the path of one picture",
}
_GIVEN = {"text": "a text", "audio": "an audio file", "image": "a picture"}


class _InSpace(Protocol):
    """The part of a task of `loss.space` that is asked here."""

    outputs: tuple[str, ...]

    def taught(self, loss: LossConfig) -> dict[str, str]:
        """Formats that a run was trained on."""
        ...


def find_near(folder: Folder, query: Sequence[str], source: Folder, *, count: int) -> list[Table]:
    """Tables of what the query is in every format, and of what lies nearest to it.

    Args:
        folder: of a run of `jobs.embed_content`.
        query: a text, the paths of an audio file and of a picture, of these what the run's model reads.
        source: folder of the emotion space in which it lies.
        count: rows of a table.

    Raises:
        ConfigError: a query that the model does not read.
        RaysysError: what the run rests on is gone.
    """
    place = trained_folds(folder)[0][2]
    bundle = load_bundle(place)
    config, tested = bundle.config, folder.read_json("folds.json")[0]["test"]
    found = Predictor(bundle).predict(_features(bundle, query))
    here = found.embeddings[0]
    items, places = _rated(load_bundle(source))
    test = read_predictions(place, bundle.task.stored)
    texts = _texts(_corpus(config), tested)
    task, space = cast(_InSpace, bundle.task), load_space(source)
    own, taught = [one.name for one in space.formats], task.taught(config.loss)
    vad = named_like("vad", space.formats) or ""  # whose decoder reads classes
    names = list(dict.fromkeys(name if name in own else vad for name in taught))
    told = sorted(zip(task.outputs, found.outputs[0].tolist(), strict=True))
    answers = [
        (name, f"{value:.3f}", taught.get(name.split(".")[0], "zero-shot")) for name, value in told
    ]

    def near(what: str, named: list[str], found: Float32[np.ndarray, "item dim"]) -> Table:
        everything = torch.from_numpy(np.concatenate([here[None], found]))
        said = space.standardised(names, everything).double()
        apart = (said[1:] - said[0]).square().mean(dim=1).sqrt()
        order = torch.argsort(apart, stable=True)[:count].tolist()
        rows = [(named[k], f"{float(apart[k]):.3f}") for k in order]
        return Table(f"nearest {what}, by {' and '.join(names)}", ("", "distance (sd)"), rows)

    return [
        Table("in every format (0 to 1)", ("variable", "value", "its format is"), answers),
        near("items of the space", items, places),
        near(f"test utterances of {folder.name}", texts, test.embeddings),
    ]


def _features(bundle: Bundle, query: Sequence[str]) -> dict[str, Ragged]:
    """Those of the query, one utterance."""
    config = bundle.config
    if config.features.normalise == "speaker" and set(FRAMED) & set(bundle.dims):
        raise ConfigError(
            "the run normalises each speaker's frames, and one recording does not show how its speaker speaks: take a "
            "run with --features.normalise train"
        )
    given = {_kind(one): one for one in query}
    if set(given) != set(bundle.dims) or len(given) < len(query):
        what = " and ".join(_WANTED.get(modality, modality) for modality in bundle.dims)
        found = [f"{one} ({_GIVEN[_kind(one)]})" for one in query]
        raise ConfigError(f"the run's model reads {what}, but the query is {', '.join(found)}")
    audio, image = (
        str(Path(given[kind]).resolve()) if kind in given else "" for kind in ("audio", "image")
    )
    row = Utterance("query", text=given.get("text", ""), audio=audio, image=image)
    features = {}
    encoders = {modality: config.features.build(modality) for modality in bundle.dims}
    check_encoders(bundle, {modality: one.fingerprint() for modality, one in encoders.items()})
    for modality, encoder in encoders.items():
        (frames,) = encode_rows(encoder, [row], Path("/"))
        stored = as_stored(frames, encoder, row)
        features[modality] = Ragged.of(stored, np.array([len(frames)], dtype=np.int64))
    return features


def _kind(query: str) -> str:
    """Modality of a query: the path of a file, or a text.

    Raises:
        ConfigError: it is empty, or the path of a file that is not there.
    """
    if not query.strip():
        raise ConfigError(
            "the query is empty: give a text, or the path of an audio file or picture"
        )
    suffix = Path(query).suffix.lower()
    if os.path.isfile(query):
        return "image" if suffix in PICTURES else "audio"
    if " " not in query and suffix in SOUNDS | PICTURES:
        what = _GIVEN["image" if suffix in PICTURES else "audio"]
        raise ConfigError(f"the query {query} looks like {what}, and there is none")
    return "text"


def _rated(space: Bundle) -> tuple[list[str], Float32[np.ndarray, "item dim"]]:
    """The items that a space was learnt from, and where their ratings lie."""
    corpus, cache = _corpus(space.config), resolve_folder(space.config.storage.cache)
    modalities = space.config.model.modalities
    store = prepare_features(corpus, space.config.features, modalities, cache=cache)
    names = [row.utterance_id for row in corpus.utterances]
    return _texts(corpus, names), Predictor(space).predict(store.modalities).embeddings


def _corpus(config: Config) -> Corpus:
    cache = resolve_folder(config.storage.cache)
    return read_corpus(config.corpus, config.task_type, modalities=(), cache=cache)


def _texts(corpus: Corpus, ids: Sequence[str]) -> list[str]:
    """What was said, or the name of what has no text, with what it was labelled."""
    rows = {row.utterance_id: row for row in corpus.utterances}
    found = [shorten(rows[one].text or one, _LETTERS, placeholder=" ...") for one in ids]
    return [
        f"{text} ({rows[one].label})" if rows[one].label else text
        for text, one in zip(found, ids, strict=True)
    ]
