"""A run as an MLflow model: what MLflow runs to load one, so that nothing is pickled (its models from code).

MLflow copies this file next to the run's folds, and the package `raysys` with it.
"""

from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from pandas import DataFrame


class RunModel(PythonModel):  # type: ignore[misc]
    """Predicts utterances with all trained folds of a run."""

    def load_context(self, context: Any) -> None:
        """Load the folds.

        Args:
            context: MLflow's; its artifact `run` is what `raysys.predicting.export` wrote.
        """
        import raysys  # from the model's own code

        self.model: Any = raysys.load(context.artifacts["run"])

    def predict(
        self, context: Any, model_input: DataFrame, params: dict[str, Any] | None = None
    ) -> DataFrame:
        """A row an utterance; see `raysys.predicting.model.Model.predict`.

        Args:
            context: not needed again.
            model_input: with `audio` (a file) or `audio_base64` (its bytes), `image` alike, `text`, as the
                model reads.
            params: `threshold`, below which an emotion is `not sure`.
        """
        return self.model.predict(model_input, threshold=float((params or {}).get("threshold", 0)))


set_model(RunModel())
