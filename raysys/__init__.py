"""raysys: cross-validate and tune emotion classifiers for speech and text on a Ray cluster.

`cross_validate`, `tune`, `ablate` and `compare` do what the commands do; `load` and `load_space` open what they left.
Whatever can go wrong is a `raysys.errors.RaysysError` whose message says the remedy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from raysys.commands.compare import Comparison
    from raysys.config import Config
    from raysys.models.emotion_space import EmotionSpace
    from raysys.predicting.model import Model
    from raysys.report.results import AblationResult, StudyResult, TrialResult
    from raysys.training.bundle import Predictor

__version__ = "0.2.0"


def load(
    folder: "str | Path", *, device: str = "cpu", encoders: "Mapping[str, str] | None" = None
) -> "Predictor | Model":
    """A run that predicts on recordings and texts, or a trained fold that does on features which its encoders made.

    Args:
        folder: of the run, such as `runs/demo`, or of a fold, such as `runs/demo/fold_0`; a URI of object storage; or a
            model in MLflow (`models:/NAME@champion`, `runs:/ID`), whose server MLFLOW_TRACKING_URI names.
        device: torch device, of a fold.
        encoders: modality -> folder of its encoder's model, where that is elsewhere now, as on another machine.

    Raises:
        StorageError: a fold holds no bundle, it is damaged, or of another version.
        ConfigError: the run has no trained folds, or no such encoder.
    """
    from raysys.storage import named_folder
    from raysys.training.bundle import Predictor, load_bundle  # torch takes seconds

    is_elsewhere = str(folder).startswith(("models:/", "runs:/"))
    place = named_folder("runs" if is_elsewhere else folder)
    if is_elsewhere or place.exists("folds.json") or place.exists("result.json"):
        from raysys.predicting.members import load_ensemble
        from raysys.predicting.model import Model

        run = str(folder) if is_elsewhere else place.uri
        return Model(load_ensemble(run, place, encoders=encoders))
    return Predictor(load_bundle(place, device=device, encoders=encoders))


def load_space(folder: "str | Path") -> "EmotionSpace":
    """An emotion space that `jobs.map_labels` has learnt: it maps ratings between formats, and embeds them.

    Args:
        folder: of one of its folds, such as `runs/words/fold_0`, or a URI.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    from raysys.models import emotion_space  # torch takes seconds
    from raysys.storage import named_folder

    return emotion_space.load_space(named_folder(folder))


def cross_validate(
    source: "Config | str | Path", *, resume: bool = False, quiet: bool = False, **settings: Any
) -> "TrialResult":
    """Cross-validate one configuration: folds, baselines, report and MLflow, as `python -m jobs.cross_validate` does.

    Args:
        source: a preset (a path, or the name of one that comes with raysys, such as `demo`), or a `Config`.
        resume: go on with the latest unfinished run of the same settings, data and code.
        quiet: print nothing.
        settings: by their dotted names with `__` for the dots: `training__seeds=3`, `loss__mu1=0.2`.

    Returns:
        What result.json holds: `mean["test"]["ua"]` (0..1), folds, baselines, the averaged matrix, ...

    Raises:
        RaysysError: bad input (before any worker starts), lost workers, or folds that failed.
    """
    from raysys import api  # torch, Ray and MLflow take seconds

    return api.cross_validate(source, resume=resume, quiet=quiet, **settings)


def tune(
    source: "Config | str | Path", *, resume: bool = False, quiet: bool = False, **settings: Any
) -> "StudyResult":
    """Search settings with Optuna and confirm the choice on fresh seeds, as `python -m jobs.tune` does.

    Args:
        source: a preset with `search.space`; see `cross_validate`.
        resume: see `cross_validate`.
        quiet: print nothing.
        settings: see `cross_validate`.

    Returns:
        Trials, the choice (`chosen.values`), its test scores, and their difference from the untuned configuration.

    Raises:
        RaysysError: see `cross_validate`.
    """
    from raysys import api

    return api.tune(source, resume=resume, quiet=quiet, **settings)


def ablate(
    source: "Config | str | Path", *, resume: bool = False, quiet: bool = False, **settings: Any
) -> "AblationResult":
    """Compare configurations on the same folds, as `python -m jobs.ablate` does.

    Args:
        source: a preset with `ablation.variants`; see `cross_validate`.
        resume: see `cross_validate`.
        quiet: print nothing.
        settings: see `cross_validate`.

    Returns:
        A `VariantResult` each, with its difference from the first one.

    Raises:
        RaysysError: see `cross_validate`.
    """
    from raysys import api

    return api.ablate(source, resume=resume, quiet=quiet, **settings)


def compare(*places: "str | Path", runs: "str | Path" = "runs") -> "Comparison":
    """Compare finished runs on the same folds, the others against the first.

    Args:
        places: names of runs, their folders, or models in MLflow; two or more.
        runs: folder of all runs.

    Raises:
        ConfigError: no such run, or two that cannot be compared.
        StorageError: one has not ended.
    """
    from raysys import api

    return api.compare(*places, runs=runs)
