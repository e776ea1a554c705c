"""Features of a corpus as its folds are trained on them: extracted, normalised by speaker, with changed copies."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Int64

from raysys.batches.normalise import BySpeaker, as_speakers, by_speaker
from raysys.cluster.extraction import extractor
from raysys.config import Config
from raysys.corpus.finding import Finding
from raysys.corpus.table import Corpus
from raysys.encoders import prepare_features, seen_in
from raysys.encoders.encoder import FRAMED
from raysys.encoders.ragged import Ragged
from raysys.encoders.store import FeatureStore
from raysys.errors import ConfigError
from raysys.storage import Folder


def prepare_store(
    corpus: Corpus, config: Config, cache: Folder
) -> tuple[Corpus, FeatureStore, list[Finding]]:
    """The features of a corpus, extracted where they are missing; the corpus without what could not be read.

    Returns:
        Corpus and features of the same utterances, and what the audit must know of them.

    Raises:
        RaysysError: an unknown encoder, a damaged store, an utterance that cannot be read.
    """
    store = prepare_features(
        corpus,
        config.features,
        config.model.modalities,
        cache=cache,
        skip_bad=config.corpus.skip_bad,
        through=partial(extractor, config.features, config.cluster, len(corpus)),
    )
    if failed := store.failed:
        store = store.take([k for k in range(len(corpus)) if k not in failed])
        corpus = corpus.without(failed)
    return corpus, store, seen_in(store, config.features, corpus.utterances)


def changed_copies(
    corpus: Corpus,
    config: Config,
    cache: Folder,
    trained: Sequence[Int64[np.ndarray, " row"]],
    features: Mapping[str, Ragged],
) -> tuple[tuple[Ragged, ...], list[str]]:
    """Changed copies of the audio of all utterances that some fold trains on, each with the digest of its store.

    Args:
        corpus: of all utterances.
        config: encoder and changes.
        cache: where stores are.
        trained: utterances that folds train on.
        features: as recorded.

    Raises:
        ConfigError: the model hears no audio.
        FeatureError: the encoder hears no waveforms, or one cannot be encoded.
    """
    augment, found, digests = config.features.augment, list[Ragged](), list[str]()
    if not augment.copies:
        return (), []
    if "audio" not in features:
        raise ConfigError(
            "features.augment changes audio, which the model does not read: set copies 0"
        )
    rows = np.unique(np.concatenate(list(trained))).tolist()
    for copy in range(1, augment.copies + 1):
        store = prepare_features(
            corpus.take(rows),
            config.features,
            ("audio",),
            cache=cache,
            through=partial(extractor, config.features, config.cluster, len(rows)),
            change=augment,
            copy=copy,
        )
        ragged, own = store.modalities["audio"].spread(rows, len(corpus)), features["audio"]
        found.append(as_speakers(ragged, own) if isinstance(own, BySpeaker) else ragged)
        digests.append(store.digest)
    return tuple(found), digests


def normalised(store: FeatureStore, corpus: Corpus, config: Config) -> Mapping[str, Ragged]:
    """Features as models read them: each speaker's normalised by that speaker's, where the config says so.

    Raises:
        ConfigError: an utterance has no speaker.
    """
    features = dict(store.modalities)
    framed = [modality for modality in FRAMED if modality in features]
    if config.features.normalise == "speaker" and framed:
        speakers = corpus.column("speaker")
        if "" in speakers:
            row = corpus.utterances[speakers.index("")].utterance_id
            raise ConfigError(
                f"features.normalise is 'speaker', but utterance '{row}' has no speaker: set --features.normalise train"
            )
        features |= {modality: by_speaker(features[modality], speakers) for modality in framed}
    return features
