"""Everything that must be right before a worker starts: corpus, features, folds, audit, prior, identity.

    Config -> Plan

Bad input ends here, with one line and nothing half-written in the run folder.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from raysys import gpu
from raysys.config import Config
from raysys.corpus import read_corpus
from raysys.corpus.audit import audit_folds
from raysys.corpus.finding import Finding
from raysys.corpus.folds import Fold, folds_record, inner_folds, learnt_record, make_folds
from raysys.corpus.table import Corpus
from raysys.encoders.cost import EncoderCost, encoder_cost
from raysys.encoders.encoder import STREAMS
from raysys.errors import ConfigError, lookup
from raysys.models import model_names
from raysys.models.plugged import try_model
from raysys.report.groups import check_groups
from raysys.running.code import own_code, plugin_code
from raysys.running.features import changed_copies, normalised, prepare_store
from raysys.running.gpu_share import with_gpu_share
from raysys.running.space import resolve_space
from raysys.running.starts import check_start, find_start
from raysys.sealed import write_sealed
from raysys.settings import digest, flat, to_dict
from raysys.similarity.prior import FoldPrior, Origin
from raysys.storage import Folder, resolve_folder
from raysys.tasks.exhibits import Exhibit
from raysys.tasks.resampling import Units, units_of
from raysys.tasks.task import Task
from raysys.tracking.client import tracking_uri
from raysys.tracking.priors import Prior, resolve_prior
from raysys.training.parts import FoldData
from raysys.training.share import check_share, shared_folds

_WHEREABOUTS: tuple[str, ...] = (
    "cluster.address",
    "cluster.workers",
    "cluster.max_workers",
    "cluster.placement",
    "cluster.max_attempts",
    "cluster.hello_seconds",
    "corpus.root",
    "search.seconds",
    "search.concurrency",
    "storage.",
    "tracking.",
    "training.checkpoint_every",
    "training.start_from",  # what it holds counts
)


def deciding(config: Config) -> dict[str, Any]:
    """Settings that decide what comes out, by their dotted names.

    Left out is where folds are done, how many at a time, where files are (what they hold counts) and what is logged:
    what was begun on one cluster may be resumed on another, or with more patience; a study of one round also with more
    trials. So is the name, which says which of several runs is meant. Cores of a fold stay, and whether it has a GPU:
    the last bits depend on them.
    """
    left_out = (*_WHEREABOUTS, "name")
    if config.search.rounds == 1:
        left_out += ("search.num_trials",)
    known = {**flat(to_dict(config)), "cluster.gpus_per_fold": float(config.cluster.gpus > 0)}
    return {name: value for name, value in known.items() if not name.startswith(left_out)}


@dataclass(frozen=True)
class Plan:
    """What a command is going to do its trials on."""

    config: Config
    corpus: Corpus
    task: Task
    data: FoldData
    folds: tuple[Fold, ...]
    audit: tuple[Finding, ...]
    origin: Origin
    """What a similarity matrix measured here rests on."""
    prior: Sequence[FoldPrior] | None
    """Fold by fold."""
    parts: Mapping[str, str]
    """Digests of `data` (corpus and features), `prior` and `code`."""
    inner: tuple[tuple[Fold, ...], ...]
    """For each fold: the folds that a nested search divides its train and val parts into; empty without one."""
    encoders: Mapping[str, EncoderCost]
    """Modality -> what its encoder costs."""
    identity: str
    """Digest of what decides (`deciding`) and the parts: equal identity, equal result on one machine."""

    @property
    def speakers(self) -> dict[int, list[str]]:
        """Fold -> who speaks in its test part; empty texts where that is not known."""
        names = self.corpus.column("speaker")
        return {fold.index: [names[k] for k in fold.test] for fold in self.folds}

    @property
    def test_speakers(self) -> list[str]:
        """Speaker of every test utterance, fold by fold."""
        return [name for names in self.speakers.values() for name in names]

    def test_rows(self, seeds: int) -> Int64[np.ndarray, " row"]:
        """Utterance of every test prediction, fold by fold, once for each seed."""
        return np.concatenate([fold.test for fold in self.folds] * seeds)

    @property
    def tested_units(self) -> Units | None:
        """What a bootstrap of the one test part draws: dialogues, else utterances; None with several folds."""
        if len(self.folds) > 1:
            return None
        names = self.corpus.column("dialogue_id")
        own = [names[k] for k in self.folds[0].test]
        return units_of(own if len(set(own)) < len(own) else [""] * len(own), "dialogues")

    def show_balance(self, config: Config) -> list[Exhibit]:
        """What a configuration adds to the train parts; nothing where it adds nothing."""
        folds = self.folds_of(config)
        plans = [
            self.task.balance(self.data.targets, config.balance, fold, seed=config.seed)
            for fold in folds
        ]
        known = [plan for plan in plans if plan is not None]
        return self.task.show_balance(known, folds, self.corpus) if known else []

    def folds_of(self, config: Config) -> tuple[Fold, ...]:
        """The folds, with what a configuration trains on of their train parts."""
        return shared_folds(self.folds, config, self.task, self.data.targets, self.corpus.places)

    def check_share(self, config: Config) -> list[Finding]:
        """See `raysys.training.share.check_share`."""
        return check_share(self.folds, config, self.task, self.data.targets, self.corpus)


def prepare_corpus(config: Config, *, models: Collection[str] = ()) -> tuple[Corpus, Folder]:
    """Read and check the corpus as the models need it; also the folder in which its features are kept.

    Raises:
        RaysysError: an unknown model, or anything wrong with the corpus.
    """
    cache = resolve_folder(config.storage.cache)
    from_file = config.features.comes_from_file
    corpus = read_corpus(
        config.corpus,
        config.task_type,
        modalities=tuple(m for m in config.model.modalities if m in STREAMS and not from_file(m)),
        cache=cache,
        dialogues=bool(_dialogue_models(models or (config.model.name,))),
    )
    return corpus, cache


def make_plan(
    config: Config,
    *,
    models: Collection[str] = (),
    ahead: Callable[[Config], None] = lambda config: None,
    whole: bool = False,
) -> Plan:
    """Read, check and extract everything that a config asks for.

    Args:
        config: everything.
        models: names of all models that will be trained; empty is `model.name` alone.
        ahead: looks at what comes later, before features are extracted, which may take hours.
        whole: everything will be trained on, so that changed copies are made of it.

    Raises:
        RaysysError: anything wrong with settings, corpus, features, folds or the prior.
    """
    models = models or (config.model.name,)
    tracking_uri(config.tracking, resolve_folder(config.storage.runs))  # refused before all work
    found, cache = prepare_corpus(config, models=models)
    divided = _divide(found, config, models)  # what is wrong is said before hours of extraction
    ahead(config)
    corpus, store, notes = prepare_store(found, config, cache)
    if len(corpus) < len(found):
        divided = _divide(corpus, config, models)
    task, folds, prior = divided.task, divided.folds, divided.prior
    features = normalised(store, corpus, config)
    every = tuple(itertools.chain(folds, *divided.inner))
    targets = task.targets(corpus)
    trained = [np.arange(len(corpus))] if whole else [_trained_on(fold, config) for fold in every]
    copies, copied = changed_copies(corpus, config, cache, trained, features)
    tops = config.features.tops(config.model.modalities)
    if config.model.is_plugin:
        dims = {m: features[m].dim - (m in tops) for m in config.model.modalities}
        settings, name = config.model.chosen, config.model.name
        try_model(settings, name, dims=dims, n_outputs=task.width)
    data = FoldData(task, features, store.encoders, targets, every, corpus.places, tops, copies)
    known = None if prior is None else list(prior.values)
    config = find_start(config, corpus, folds)
    started = check_start(config, len(folds), store.encoders)
    config = with_gpu_share(config, data, known)
    parts = {
        "data": digest(corpus.digest, store.digest),
        "prior": digest([asdict(one) for one in known or ()], started),
        "code": own_code(),
        **({"copies": digest(copied)} if copied else {}),
        **plugin_code(config),
    }
    identity = digest(deciding(config), parts)
    audit = (*divided.audit, *notes, *_refit_told(config))
    costs = {
        m: encoder_cost(corpus, m, config.features.build(m), cache)
        for m in config.model.modalities
        if m in STREAMS and config.features.encoder_of(m) != "precomputed"
    }
    gpu.release()  # what encoding kept of one: folds may need it
    plan = Plan(
        config,
        corpus,
        task,
        data,
        folds,
        audit,
        divided.origin,
        known,
        parts,
        divided.inner,
        costs,
        identity,
    )
    return replace(plan, audit=(*audit, *plan.check_share(config)))


def _trained_on(fold: Fold, config: Config) -> Int64[np.ndarray, " row"]:
    """Rows from which a fold's model gets gradients."""
    return np.concatenate([fold.train, fold.val]) if config.training.refit else fold.train


@dataclass(frozen=True)
class _Divided:
    """A corpus in folds."""

    task: Task
    folds: tuple[Fold, ...]
    inner: tuple[tuple[Fold, ...], ...]
    audit: tuple[Finding, ...]
    origin: Origin
    prior: Prior | None


def _divide(corpus: Corpus, config: Config, models: Collection[str]) -> _Divided:
    modalities = config.model.modalities
    task = config.task_type.of(corpus)
    check_groups(config.tracking.groups, corpus)
    folds = make_folds(corpus, task.strata(corpus), config.folds)
    task.check_folds(folds, corpus)
    _check_whole(corpus, folds, models)
    notes = config.features.findings(modalities, corpus.name)
    audit = audit_folds(corpus, folds, config.folds, modalities=modalities, notes=notes)
    ids = [row.utterance_id for row in corpus.utterances]
    origin = Origin(
        corpus.name,
        tuple(tuple(ids[k] for k in fold.test) for fold in folds),
        tuple(tuple(corpus.keys[k] for k in fold.test) for fold in folds),
        corpus.keys,
    )
    runs = resolve_folder(config.storage.runs)
    prior = resolve_space(config, origin, runs=runs) or resolve_prior(
        config, corpus.emotions, origin, runs=runs
    )
    task = task.knowing(prior.values if prior else None)
    task.check_loss(config.loss)
    task.check_balance(config.balance)
    audit = (*audit, *task.look_at(corpus, config.loss))
    if _dialogue_models(models) and len(set(corpus.column("dialogue_id"))) == len(corpus):
        message = "no dialogue has two utterances: a model of dialogues has no context here"
        audit = (*audit, Finding("warning", "no_dialogues", message))
    at_once = [name for name in models if model_names()[name].fits_at_once]
    if at_once:
        message = (
            f"{' and '.join(sorted(at_once))}: fitted at once, by its own objective with balanced classes; settings of "
            "the losses and of gradients do nothing there"
        )
        audit = (*audit, Finding("note", "fitted_at_once", message))
    if prior and prior.finding:
        audit = (*audit, prior.finding)
    inner = _inner(task, folds, corpus, config, models)
    return _Divided(task, folds, inner, tuple(audit), origin, prior)


def _inner(
    task: Task,
    folds: tuple[Fold, ...],
    corpus: Corpus,
    config: Config,
    models: Collection[str],
) -> tuple[tuple[Fold, ...], ...]:
    """Inner folds of every fold, for a nested search; none without one."""
    found: list[tuple[Fold, ...]] = []
    for fold in folds if config.search.nested else ():
        first = len(folds) + sum(map(len, found))
        inner = inner_folds(
            fold,
            corpus,
            task.strata(corpus),
            config.folds,
            n_splits=config.search.inner_folds,
            first=first,
        )
        task.check_folds(inner, corpus)
        _check_whole(corpus, inner, models)
        found.append(inner)
    return tuple(found)


def _refit_told(config: Config) -> list[Finding]:
    if not config.training.refit:
        return []
    message = (
        "each fold's model was trained again on its train and val parts before it was tested; val scores are those of "
        "the model before that"
    )
    return [Finding("note", "refit_on_val", message)]


def write_plan(plan: Plan, folder: Folder) -> None:
    """config.json, folds.json, learnt.json, audit.json, and quarantine.json if there is one, in the run folder."""
    folder.write_json("config.json", to_dict(plan.config))
    folder.write_json("folds.json", folds_record(plan.folds, plan.corpus))
    write_sealed(folder, "learnt.json", {"learnt": learnt_record(plan.folds, plan.corpus)})
    folder.write_json("audit.json", [asdict(finding) for finding in plan.audit])
    if plan.corpus.quarantine:
        folder.write_json("quarantine.json", [asdict(item) for item in plan.corpus.quarantine])


def _dialogue_models(names: Collection[str]) -> list[str]:
    """Those of the models that read whole dialogues."""
    return [name for name in names if lookup(model_names(), name, kind="model").reads_dialogues]


def _check_whole(corpus: Corpus, folds: tuple[Fold, ...], models: Collection[str]) -> None:
    """A model that reads dialogues needs them whole."""
    readers = _dialogue_models(models)
    if not readers:
        return
    dialogues = np.array(corpus.column("dialogue_id"))
    for fold in folds:
        train, val, test = (set(dialogues[rows].tolist()) for rows in fold.parts().values())
        held_out = set() if np.array_equal(fold.val, fold.test) else val & test  # of an inner fold
        torn = (train & val) | (train & test) | held_out
        if torn:
            raise ConfigError(
                f"model {readers[0]} reads whole dialogues, but '{min(torn)}' is in two parts of fold "
                f"{fold.index}: set --folds.groups dialogue or session"
            )
