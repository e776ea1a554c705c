"""Everything that must be right before a worker starts: corpus, features, folds, audit, prior matrix, run folder.

    Config -> Plan -> FoldTasks

Bad input ends here, with one line and nothing half-written in the run folder.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

import raysys
from raysys.balance import BalancePlan
from raysys.config import Config, digest, to_dict
from raysys.corpus import read_corpus
from raysys.corpus.audit import Finding, audit_folds
from raysys.corpus.folds import Fold, folds_record, make_folds
from raysys.corpus.table import Corpus
from raysys.errors import ConfigError, lookup
from raysys.features import prepare_features
from raysys.features.normalise import FRAMED, by_speaker
from raysys.features.store import FeatureStore, Ragged
from raysys.models import MODELS
from raysys.similarity import Origin
from raysys.storage import Folder, resolve_folder
from raysys.tracking.priors import resolve_prior
from raysys.training.fold import CorpusArrays, balance_plan
from raysys.training.task import FoldTask, fold_tasks


@dataclass(frozen=True)
class Plan:
    """What a cross-validation is going to do."""

    config: Config
    corpus: Corpus
    arrays: CorpusArrays
    folds: tuple[Fold, ...]
    audit: tuple[Finding, ...]
    origin: Origin
    """What a similarity matrix measured here rests on."""
    similarity: Float64[np.ndarray, "fold class class"] | None
    """S of the emotion-aware term, for each fold."""
    identity: str
    """Digest of config, corpus, features and code: equal identity, equal result on one machine."""

    def balance(self, config: Config) -> list[BalancePlan]:
        """What a configuration adds to the train part of every fold."""
        votes = self.corpus.votes
        return [balance_plan(config, self.corpus.labels, votes, fold) for fold in self.folds]

    @property
    def test_speakers(self) -> list[list[str]]:
        """Speaker of every test utterance, fold by fold."""
        names = self.corpus.column("speaker")
        return [[names[k] for k in fold.test] for fold in self.folds]

    def tasks(self, trial: str, folder: Folder) -> list[FoldTask]:
        """One task a fold, with its own folder under `folder`."""
        priors = None if self.similarity is None else self.similarity.tolist()
        return fold_tasks(trial, self.config, folder.uri, priors, len(self.folds))


def balance_table(plan: Plan, balance: Sequence[BalancePlan]) -> str:
    """CSV: which utterance of which fold's train part is mixed with which, and in what proportion."""
    rows = ["fold,major_emotion,minor_emotion,major_utterance,minor_utterance,p"]
    for fold, one in zip(plan.folds, balance, strict=True):
        for major, minor, share in zip(one.major, one.minor, one.share, strict=True):
            pair = [plan.corpus.utterances[fold.train[row]] for row in (major, minor)]
            names = [row.label for row in pair] + [row.utterance_id for row in pair]
            rows.append(",".join([str(fold.index), *names, f"{share:g}"]))
    return "\n".join(rows) + "\n"


def prepare_corpus(config: Config, *, models: Collection[str] = ()) -> tuple[Corpus, Folder]:
    """Read and check the corpus as the models need it; also the folder in which its features are kept.

    Raises:
        RaysysError: an unknown model, or anything wrong with the corpus.
    """
    dialogues = _dialogue_models(models or (config.model.name,))
    cache = resolve_folder(config.storage.cache)
    return read_corpus(config, cache=cache, dialogues=bool(dialogues)), cache


def make_plan(config: Config, *, models: Collection[str] = ()) -> Plan:
    """Read, check and extract everything that a config asks for.

    Args:
        config: everything.
        models: names of all models that will be trained; empty is `model.name` alone.

    Raises:
        RaysysError: anything wrong with settings, corpus, features, folds or the prior matrix.
    """
    models = models or (config.model.name,)
    corpus, cache = prepare_corpus(config, models=models)
    runs = resolve_folder(config.storage.runs)
    folds = make_folds(corpus, config.folds, seed=config.seed)
    audit = audit_folds(corpus, folds, config)
    ids = [row.utterance_id for row in corpus.utterances]
    origin = Origin(corpus.name, tuple(tuple(ids[k] for k in fold.test) for fold in folds))
    prior = resolve_prior(config, corpus.emotions, origin, runs=runs)
    store = prepare_features(corpus, config, cache=cache)
    features = _normalised(store, corpus, config)
    _check_whole(corpus, folds, models)
    arrays = CorpusArrays(features, corpus.labels, corpus.votes, folds, corpus.places)
    matrices = None if prior is None else prior.matrices
    known = None if matrices is None else matrices.tolist()
    identity = digest(to_dict(config), corpus.digest, store.digest, known, code_digest())
    if _dialogue_models(models) and len(set(corpus.column("dialogue_id"))) == len(corpus):
        message = "no dialogue has two utterances: a model of dialogues has no context here"
        audit = (*audit, Finding("warning", "no_dialogues", message))
    if prior and prior.finding:
        audit = (*audit, prior.finding)
    return Plan(config, corpus, arrays, folds, audit, origin, matrices, identity)


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


def _dialogue_models(names: Collection[str]) -> list[str]:
    """Those of the models that read whole dialogues."""
    return [name for name in names if lookup(MODELS, name, kind="model").reads_dialogues]


def _check_whole(corpus: Corpus, folds: tuple[Fold, ...], models: Collection[str]) -> None:
    """A model that reads dialogues needs them whole."""
    readers = _dialogue_models(models)
    if not readers:
        return
    dialogues = np.array(corpus.column("dialogue_id"))
    for fold in folds:
        parts = [set(dialogues[rows].tolist()) for rows in fold.parts().values()]
        torn = (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
        if torn:
            raise ConfigError(
                f"model {readers[0]} reads whole dialogues, but '{min(torn)}' is in two parts of fold "
                f"{fold.index}: set --folds.groups dialogue or session"
            )


def _normalised(store: FeatureStore, corpus: Corpus, config: Config) -> Mapping[str, Ragged]:
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
