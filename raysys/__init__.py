"""raysys: cross-validate and tune emotion classifiers for speech and text on a Ray cluster."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from raysys.models.emotion_space import EmotionSpace
    from raysys.predicting.model import Model
    from raysys.training.bundle import Predictor

__version__ = "0.2.0"


def load(folder: "str | Path", *, device: str = "cpu") -> "Predictor | Model":
    """A run that predicts on recordings and texts, or a trained fold that does on features which its encoders made.

    Args:
        folder: of the run, such as `runs/demo`, or of a fold, such as `runs/demo/fold_0`; a URI of object storage; or a
            model in MLflow (`models:/NAME@champion`, `runs:/ID`), whose server MLFLOW_TRACKING_URI names.
        device: torch device, of a fold.

    Raises:
        StorageError: a fold holds no bundle, it is damaged, or of another version.
        ConfigError: the run has no trained folds.
    """
    from raysys.storage import named_folder
    from raysys.training.bundle import Predictor, load_bundle  # torch takes seconds

    is_elsewhere = str(folder).startswith(("models:/", "runs:/"))
    place = named_folder("runs" if is_elsewhere else folder)
    if is_elsewhere or place.exists("folds.json") or place.exists("result.json"):
        from raysys.predicting.members import load_ensemble
        from raysys.predicting.model import Model

        return Model(load_ensemble(str(folder) if is_elsewhere else place.uri, place))
    return Predictor(load_bundle(place, device=device))


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
