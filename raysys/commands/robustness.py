"""`jobs.robustness`: a run's trained folds, tested again on their own test parts with noise.

run -> corpus, folds, models -> test audio with white noise at each ratio -> the same encoder -> scores, next to
those of the audio as recorded

Nothing is chosen by it, and nothing is trained. Where features are normalised by speaker, a speaker's noisy frames are
normalised by their own mean and deviation, as they would be in use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
from rich.console import Console

from raysys.cluster.extraction import extractor
from raysys.cluster.session import ray_kept
from raysys.config import Config
from raysys.corpus.table import Corpus
from raysys.encoders import prepare_features
from raysys.encoders.augmentation import Noise
from raysys.encoders.ragged import Ragged
from raysys.errors import ConfigError, RaysysError
from raysys.predicting.members import (
    Member,
    check_encoders,
    chosen_trial,
    load_ensemble,
    run_of,
    trained_folds,
)
from raysys.predictions import read_predictions
from raysys.report.scores import Difference, PartScores
from raysys.report.statistics import paired_difference, part_scores
from raysys.report.tables import as_rich, interval, spread
from raysys.running.features import normalised, prepare_store
from raysys.running.plan import prepare_corpus
from raysys.sealed import read_sealed, write_sealed
from raysys.storage import Folder
from raysys.tasks.exhibits import Table
from raysys.tasks.task import Metric, Task, shown
from raysys.tracking.models import reading_client
from raysys.tracking.runs import add_to_ended
from raysys.training.bundle import Predictor

FILE = "robustness.json"
"""In the run's folder."""
FoldKey = tuple[int, int]


@ray_kept()
def robustness_command(
    place: str,
    *,
    levels: Sequence[float],
    root: str,
    runs: Folder,
    console: Console,
    encoders: Mapping[str, str] | None = None,
) -> dict[float, PartScores]:
    """Score a run's folds under noise, print it, and keep it in the run's folder.

    Args:
        place: of the run, as of `load_ensemble`.
        levels: signal-to-noise ratios in dB.
        root: of the corpus, where it is elsewhere now; empty: as the run had it.
        runs: folder of all runs.
        console: for progress and report.
        encoders: as of `load_ensemble`.

    Returns:
        Ratio -> test scores; infinity is the audio as recorded.

    Raises:
        ConfigError: no such run, a model that does not hear, or another corpus than the run's.
        FeatureError: an encoder has other files than it had when the run was trained.
        RaysysError: the corpus cannot be read.
    """
    _check(levels)
    folder = run_of(place, runs)
    ensemble = load_ensemble(place, runs, encoders=encoders)
    if not folder.exists("folds.json") or folder.exists("bundle.json"):
        raise ConfigError(f"{folder.path()} is no whole run: give one with all its folds")
    config, task = ensemble.config, ensemble.task
    if "audio" not in config.model.modalities:
        raise ConfigError(
            f"{ensemble.name} does not read audio, so noise in audio changes nothing for it"
        )
    check_encoders(ensemble.members[0].bundle, ensemble.fingerprints)
    if root:
        config = replace(config, corpus=replace(config.corpus, root=root))
    corpus, cache = prepare_corpus(config)
    corpus, store, _ = prepare_store(corpus, config, cache)
    tested = _tested(folder, corpus)
    truths = _truths(folder, task)
    clean = normalised(store, corpus, config)
    scores = {np.inf: _scores(ensemble.members, task, corpus, clean, tested, truths)}
    for level in sorted(levels, reverse=True):
        noisy = _noisy(corpus, config, cache, level)
        heard = normalised(replace(store, modalities=noisy), corpus, config)
        features = {**clean, "audio": heard["audio"]}
        scores[level] = _scores(ensemble.members, task, corpus, features, tested, truths)
    console.print(as_rich(_table(ensemble.name, task, scores, _share(folder))))
    found = {level: part_scores(one, _names(task)) for level, one in scores.items()}
    told = {_title(level): asdict(one) for level, one in found.items()}
    write_sealed(folder, FILE, {"noise": "white", "test": told})
    console.print(f"kept         {folder.path(FILE)}", markup=False, soft_wrap=True)
    console.print(
        f"MLflow       {_logged(folder, config, runs, found)}", markup=False, soft_wrap=True
    )
    return found


def _check(levels: Sequence[float]) -> None:
    if not levels or len(set(levels)) < len(levels) or not all(-20 <= x <= 80 for x in levels):
        raise ConfigError(
            f"--snr_db is {list(levels)}, but must be different ratios of -20 to 80 dB, such as --snr_db 20 10 0"
        )


def _noisy(corpus: Corpus, config: Config, cache: Folder, level: float) -> Mapping[str, Ragged]:
    """Features of the audio with white noise at a ratio."""
    return prepare_features(
        corpus,
        config.features,
        ("audio",),
        cache=cache,
        through=partial(extractor, config.features, config.cluster, len(corpus)),
        change=Noise(level),
    ).modalities


def _names(task: Task) -> list[str]:
    return [metric.name for metric in shown(task.metrics)]


def _tested(folder: Folder, corpus: Corpus) -> dict[int, np.ndarray]:
    """Fold -> rows of its test part.

    Raises:
        ConfigError: the corpus lacks an utterance that was tested.
    """
    place = {row.utterance_id: k for k, row in enumerate(corpus.utterances)}
    found = {}
    for one in folder.read_json("folds.json"):
        missing = [name for name in one["test"] if name not in place]
        if missing:
            raise ConfigError(
                f"the corpus at {corpus.root} lacks '{missing[0]}', which {folder.path()} was tested on: set --root to "
                "the corpus of the run"
            )
        found[int(one["fold"])] = np.array([place[name] for name in one["test"]], dtype=np.int64)
    return found


def _truths(folder: Folder, task: Task) -> dict[FoldKey, np.ndarray]:
    """Seed and fold -> what is true of its test part."""
    places = trained_folds(chosen_trial(folder))
    return {(s, k): read_predictions(place, task.stored).truth for s, k, place in places}


def _scores(
    members: Sequence[Member],
    task: Task,
    corpus: Corpus,
    features: Mapping[str, Ragged],
    tested: Mapping[int, np.ndarray],
    truths: Mapping[FoldKey, np.ndarray],
) -> dict[FoldKey, dict[str, float]]:
    """Seed and fold -> test scores."""
    found = {}
    for member in members:
        key = (member.seed, member.fold)
        rows = tested[member.fold]
        said = Predictor(member.bundle).predict(features, rows=rows, places=corpus.places)
        found[key] = task.score(said.outputs, truths[key])
    return found


def _share(folder: Folder) -> float:
    """Mean over folds of n_test / n_train."""
    folds = folder.read_json("folds.json")
    return float(np.mean([len(one["test"]) / max(1, len(one["train"])) for one in folds]))


def _loss(
    noisy: Mapping[FoldKey, Mapping[str, float]],
    clean: Mapping[FoldKey, Mapping[str, float]],
    metric: Metric,
    shared: float,
) -> Difference:
    """What noise costs, over folds; over seeds where there is one fold."""
    folds = sorted({fold for _, fold in clean})
    if len(folds) == 1:
        pairs = [[one[key][metric.name] for key in sorted(clean)] for one in (noisy, clean)]
        return paired_difference(*pairs, shared=0.0)
    means = [
        [np.mean([one[key][metric.name] for key in clean if key[1] == k]) for k in folds]
        for one in (noisy, clean)
    ]
    return paired_difference(np.array(means[0]), np.array(means[1]), shared=shared)


def _table(
    name: str,
    task: Task,
    scores: Mapping[float, Mapping[FoldKey, dict[str, float]]],
    shared: float,
) -> Table:
    metrics = shown(task.metrics)
    main = next(metric for metric in task.metrics if metric.name == task.main)
    rows = []
    for level, found in scores.items():
        parts = part_scores(found, _names(task))
        recorded = level == np.inf
        told = "" if recorded else interval(main, _loss(found, scores[np.inf], main, shared))
        rows.append((_title(level), *(spread(m, parts.mean, parts.std) for m in metrics), told))
    heads = ("noise", *(metric.title for metric in metrics), f"{main.title} lost")
    note = (
        "White noise in test parts alone; over folds, with a 95 % interval (Nadeau & Bengio 2003)."
    )
    return Table(f"{name}: test scores under noise", heads, rows, strong=(main.title,), note=note)


def _title(level: float) -> str:
    return "as recorded" if level == np.inf else f"{level:g} dB"


def _logged(folder: Folder, config: Config, runs: Folder, found: Mapping[float, PartScores]) -> str:
    """Put scores and file into the run's MLflow; what to say of it. The file is kept also where MLflow is away."""
    metrics = {
        f"test_noise/{_title(level)}/{name}": value
        for level, one in found.items()
        for name, value in one.mean.items()
    }
    try:
        run_id = read_sealed(folder, "run.json")["run_id"]
        client = reading_client(config.tracking, runs)
        files = {FILE: folder.read_bytes(FILE).decode()}
        add_to_ended(client, run_id, metrics=metrics, files=files)
    except RaysysError as error:
        return f"not there: {error}"
    return f"test_noise/... and {FILE} of the run's page"
