"""Everything that must be right before a worker starts: corpus, features, folds, audit, prior matrix, run folder.

    Config -> Plan -> FoldTasks

Bad input ends here, with one line and nothing half-written in the run folder.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

import raysys
from raysys.config import Config, digest, to_dict
from raysys.corpus import read_corpus
from raysys.corpus.audit import Finding, audit_folds
from raysys.corpus.folds import Fold, folds_record, make_folds
from raysys.corpus.table import Corpus
from raysys.errors import ConfigError, lookup
from raysys.features import prepare_features
from raysys.features.normalise import by_speaker
from raysys.features.store import FeatureStore, Ragged
from raysys.models import MODELS
from raysys.storage import Folder, resolve_folder
from raysys.tracking.priors import resolve_similarity
from raysys.training.fold import CorpusArrays, FoldTask


@dataclass(frozen=True)
class Plan:
    """What a cross-validation is going to do."""

    config: Config
    corpus: Corpus
    arrays: CorpusArrays
    folds: tuple[Fold, ...]
    audit: tuple[Finding, ...]
    similarity: Float64[np.ndarray, "class class"] | None
    """S of the emotion-aware term."""
    identity: str
    """Digest of config, corpus, features and code: equal identity, equal result on one machine."""

    def tasks(self, trial: str, folder: Folder) -> list[FoldTask]:
        """One task a fold, with its own folder under `folder`."""
        rows = None if self.similarity is None else tuple(map(tuple, self.similarity.tolist()))
        return [
            FoldTask(trial, fold, self.config, (folder / f"fold_{fold.index}").uri, rows)
            for fold in self.folds
        ]


def make_plan(config: Config) -> Plan:
    """Read, check and extract everything that a config asks for.

    Raises:
        RaysysError: anything wrong with settings, corpus, features, folds or the prior matrix.
    """
    lookup(MODELS, config.model.name, kind="model")
    cache, runs = resolve_folder(config.storage.cache), resolve_folder(config.storage.runs)
    corpus = read_corpus(config, cache=cache)
    folds = make_folds(corpus, config.folds, seed=config.seed)
    audit = audit_folds(corpus, folds, config)
    similarity = resolve_similarity(config, corpus.emotions, runs)
    store = prepare_features(corpus, config, cache=cache)
    arrays = CorpusArrays(
        _normalised(store, corpus, config), corpus.labels, corpus.targets(config.loss.targets)
    )
    prior = None if similarity is None else similarity.tolist()
    identity = digest(to_dict(config), corpus.digest, store.digest, prior, code_digest())
    return Plan(config, corpus, arrays, folds, audit, similarity, identity)


def write_plan(plan: Plan, folder: Folder) -> None:
    """config.json, folds.json, audit.json and, where there is one, quarantine.json in the run folder."""
    folder.write_json("config.json", to_dict(plan.config))
    folder.write_json("folds.json", folds_record(plan.folds, plan.corpus))
    folder.write_json("audit.json", [asdict(finding) for finding in plan.audit])
    if plan.corpus.quarantine:
        folder.write_json("quarantine.json", [asdict(item) for item in plan.corpus.quarantine])


def code_digest() -> str:
    """Digest of the version and of every module of raysys."""
    package = Path(raysys.__file__).parent
    total = hashlib.sha256(raysys.__version__.encode())
    for file in sorted(package.rglob("*.py")):
        total.update(str(file.relative_to(package)).encode())
        total.update(file.read_bytes())
    return total.hexdigest()


def _normalised(store: FeatureStore, corpus: Corpus, config: Config) -> Mapping[str, Ragged]:
    features = dict(store.modalities)
    if config.features.normalise == "speaker" and "audio" in features:
        speakers = corpus.column("speaker")
        if "" in speakers:
            row = corpus.utterances[speakers.index("")].utterance_id
            raise ConfigError(
                f"features.normalise is 'speaker', but utterance '{row}' has no speaker: set --features.normalise train"
            )
        features["audio"] = by_speaker(features["audio"], speakers)
    return features
