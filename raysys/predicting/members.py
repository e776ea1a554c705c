"""The trained folds of a run, as one ensemble, and what each of them has learnt from.

run, or the folder of a trained fold -> bundles of its folds and seeds (of a study: of its choice)
folds.json, utterances.json -> which of them may speak of an utterance of the training corpus
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from raysys.config import Config
from raysys.config.running import TrackingConfig
from raysys.corpus.table import Utterance, text_key
from raysys.encoders.encoder import Encoder
from raysys.errors import ConfigError, FeatureError, StorageError
from raysys.report.headline import on_test_parts
from raysys.report.results import read_result
from raysys.sealed import read_sealed
from raysys.storage import Folder, named_folder
from raysys.tasks.task import Task
from raysys.training.bundle import Bundle, elsewhere, load_bundle

IN_MLFLOW = ("runs:/", "models:/")
"""What places there begin with."""


@dataclass(frozen=True)
class Member:
    """One trained fold."""

    fold: int
    seed: int
    bundle: Bundle


@dataclass(frozen=True)
class Ensemble:
    """Trained folds that predict together, by the mean of what they say."""

    name: str
    members: tuple[Member, ...]
    learnt: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Key of an utterance of the training corpus, by samples, picture or text -> folds that trained or chose by it."""
    tested: str = ""
    """How the run did on its test parts; empty where that is not known."""

    @property
    def config(self) -> Config:
        """The run's config."""
        return self.members[0].bundle.config

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.members[0].bundle.task

    @cached_property
    def encoders(self) -> Mapping[str, Encoder]:
        """Modality that is read -> its encoder, loaded once."""
        return {modality: self._built(modality) for modality in self.config.model.modalities}

    def _built(self, modality: str) -> Encoder:
        """An encoder, or where to say that its model has moved.

        Raises:
            FeatureError: it cannot be loaded.
        """
        features = self.config.features
        try:
            return features.build(modality)
        except FeatureError as error:
            if not hasattr(features.encoder(modality), "model"):
                raise
            raise elsewhere(error, modality) from error

    @cached_property
    def fingerprints(self) -> Mapping[str, Any]:
        """Modality that is read -> fingerprint of its encoder as it is now."""
        return {modality: encoder.fingerprint() for modality, encoder in self.encoders.items()}

    def may_speak(self, row: Utterance, perceived: str) -> tuple[list[int], str]:
        """Places of the members that have not learnt from an utterance, and what its reader must know.

        Args:
            row: the utterance.
            perceived: digest of its samples, or of its picture, where the model reads such; else its text counts.
        """
        everyone = list(range(len(self.members)))
        learnt = self.learnt.get(perceived[:16] or text_key(row.text))
        if not learnt:
            return everyone, ""
        others = [k for k in everyone if self.members[k].fold not in learnt]
        if not others:
            return everyone, "in the training corpus: every member has learnt from it"
        return others, "in the training corpus: by folds that did not learn from it"


def load_ensemble(
    place: str,
    runs: Folder,
    *,
    fold: int | None = None,
    encoders: Mapping[str, str] | None = None,
) -> Ensemble:
    """Members of a run, or one trained fold.

    Args:
        place: a run's name, its folder, that of a variant of an ablation, or that of a fold; or in MLflow: runs:/ID,
            models:/NAME@ALIAS, models:/NAME/VERSION.
        runs: folder of all runs.
        fold: to take alone; None: all.
        encoders: where encoders are now, see `with_encoders`.

    Raises:
        ConfigError: there is no such run or fold, it has no trained folds, or see `with_encoders`.
        StorageError: a bundle is damaged.
    """
    folder = run_of(place, runs)
    if folder.exists("bundle.json"):
        bundle = load_bundle(folder, encoders=encoders)
        return Ensemble(folder.path(), (Member(0, bundle.config.seed, bundle),))
    trial = chosen_trial(folder)
    places = trained_folds(trial)
    if not places:
        raise ConfigError(
            f"{folder.path()} holds no trained folds: give a finished run of jobs.cross_validate or jobs.tune, or a "
            "variant's folder in a run of jobs.ablate"
        )
    known = sorted({k for _, k, _ in places})
    if fold is not None and fold not in known:
        raise ConfigError(f"--fold is {fold}, but {folder.path()} has the folds {known}")
    members = tuple(
        Member(k, seed, load_bundle(one, encoders=encoders))
        for seed, k, one in places
        if fold in (None, k)
    )
    top = folder if folder.exists("folds.json") else Folder(folder.uri.rsplit("/", 1)[0])
    is_handed_on = folder.exists("folds.json") and not folder.exists("run.json")
    name = members[0].bundle.config.name if is_handed_on else folder.name
    title = name if fold is None else f"{name}, fold {fold}"
    return Ensemble(title, members, _learnt(top), _tested(folder))


def check_encoders(bundle: Bundle, fingerprints: Mapping[str, Any]) -> None:
    """Refuse encoders whose weights, or other files, are not those that a model was trained above.

    Versions and code may differ: a model outlives them.

    Args:
        bundle: of the model.
        fingerprints: modality -> that of its encoder as it is now.

    Raises:
        FeatureError: files are others.
    """
    for modality, trained in bundle.encoders.items():
        if _files(fingerprints[modality]) != _files(trained):
            group = bundle.config.features.encoder_of(modality)
            place = getattr(bundle.config.features.encoder(modality), "model", group)
            raise FeatureError(
                f"the {modality} encoder at {place} has other files than it had when the model was trained, so that "
                f"predictions would mean nothing: put those back there, or name their folder with --encoder {modality}="
                "FOLDER"
            )


def _files(fingerprint: Any) -> Any:
    """Digests of an encoder's files in its fingerprint, whatever it is wrapped in."""
    if not isinstance(fingerprint, Mapping):
        return None
    own = {name: fingerprint[name] for name in ("files", "weights") if name in fingerprint}
    return own or _files(fingerprint.get("of"))


def _tested(folder: Folder) -> str:
    """See `Ensemble`; a damaged or older result costs this line alone."""
    try:
        return on_test_parts(read_result(folder)) if folder.exists("result.json") else ""
    except StorageError:
        return ""


def run_of(place: str, runs: Folder) -> Folder:
    """The folder of a run, or of a trained fold.

    Args:
        place: as of `load_ensemble`.
        runs: folder of all runs.

    Raises:
        ConfigError: there is none.
    """
    if place.startswith(IN_MLFLOW):
        from raysys.tracking.models import fetch_model, find_model, reading_client  # seconds

        client = reading_client(TrackingConfig(), runs)
        return fetch_model(client, find_model(client, place))
    here = named_folder(place) if "/" in place else runs / place
    if not any(here.exists(name) for name in ("folds.json", "bundle.json", "result.json")):
        there = [name for name in runs.names() if (runs / name).exists("folds.json")]
        listed = f"; there are {', '.join(sorted(there)[:8])}" if there else ""
        raise ConfigError(
            f"{here.path()} is no run and no trained fold: give a name in {runs.path()}, or a folder{listed}"
        )
    return here


def chosen_trial(folder: Folder) -> Folder:
    """Folder of the trial whose folds speak: of a study that of its choice.

    Raises:
        ConfigError: the study has not ended.
    """
    if not folder.exists("trials"):
        return folder
    try:
        name = read_sealed(folder, "result.json")["chosen"]["name"]
    except (StorageError, KeyError) as error:
        raise ConfigError(
            f"the study in {folder.path()} has not ended: run it again with --resume"
        ) from error
    return folder / "trials" / str(name)


def trained_folds(trial: Folder) -> list[tuple[int, int, Folder]]:
    """(seed, fold, folder) of every trained fold."""
    found = []
    seeds = [name for name in trial.names() if name.startswith("seed_")]
    for place in [trial / name for name in seeds] or [trial]:
        for name in place.names():
            number = name.removeprefix("fold_")
            if name.startswith("fold_") and number.isdigit() and (place / name).exists("fold.json"):
                seed = read_sealed(place / name, "fold.json")["seed"]
                found.append((int(seed), int(number), place / name))
    return sorted(found, key=lambda one: one[:2])


def _learnt(folder: Folder) -> dict[str, frozenset[int]]:
    if not folder.exists("learnt.json"):  # of an earlier raysys
        return {}
    learnt = read_sealed(folder, "learnt.json")["learnt"]
    return {key: frozenset(folds) for key, folds in learnt.items()}
