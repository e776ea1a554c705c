"""Features: encoders, and the store that keeps what they computed."""

from collections.abc import Callable, Mapping
from functools import partial

from rich.progress import track

from raysys.config import Config, FeaturesConfig, digest
from raysys.corpus.table import Corpus
from raysys.errors import lookup
from raysys.features.encoder import Encoder
from raysys.features.store import FeatureStore, Ragged, extract_store, open_store
from raysys.storage import Folder


def _logmel(config: FeaturesConfig) -> Encoder:
    from raysys.features.logmel import LogmelEncoder

    return LogmelEncoder(config)


def _hashed(config: FeaturesConfig) -> Encoder:
    from raysys.features.hashed import HashedEncoder

    return HashedEncoder(config)


def _transformers(config: FeaturesConfig) -> Encoder:
    from raysys.features.transformer import TransformersEncoder

    return TransformersEncoder(config)


def _precomputed(modality: str) -> Callable[[FeaturesConfig], Encoder]:
    from raysys.features.precomputed import PrecomputedEncoder

    return partial(PrecomputedEncoder, modality=modality)


ENCODERS: Mapping[str, Mapping[str, Callable[[FeaturesConfig], Encoder]]] = {
    "audio": {"logmel": _logmel, "precomputed": _precomputed("audio")},
    "text": {"hashed": _hashed, "transformers": _transformers, "precomputed": _precomputed("text")},
    "video": {"precomputed": _precomputed("video")},
}
"""Modality -> encoder name -> encoder. Imported when used: transformers alone takes seconds."""


def prepare_features(corpus: Corpus, config: Config, *, cache: Folder) -> FeatureStore:
    """Open the features of every modality of the model, extracting those that are missing.

    Args:
        corpus: checked corpus.
        config: `model.modalities` and `features`.
        cache: where stores are.

    Raises:
        ConfigError: unknown encoder.
        FeatureError: damaged store, unusable model or utterance.
    """
    modalities: dict[str, Ragged] = {}
    fingerprints: dict[str, object] = {}
    for modality in config.model.modalities:
        name = str(getattr(config.features, modality))
        encoder = lookup(ENCODERS[modality], name, kind=f"{modality} encoder")(config.features)
        found = open_store(corpus, modality, encoder, cache)
        if found is None:
            show = partial(track, description=f"{modality} features ({name})", total=len(corpus))
            found = extract_store(corpus, modality, encoder, cache, progress=show)
        modalities[modality] = found
        fingerprints[modality] = encoder.fingerprint()
    return FeatureStore(modalities, digest(corpus.digest, fingerprints))
