"""A run as something that predicts, from Python: `raysys.load("runs/demo").predict(["a.wav"])`."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from raysys.predicting.inputs import read_inputs, rows_of_frame
from raysys.predicting.members import Ensemble
from raysys.predicting.predict import predict
from raysys.predicting.table import as_arrow, records

if TYPE_CHECKING:
    import pandas


class Model:
    """Predicts with all trained folds of a run.

    Args:
        ensemble: of the run.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble

    @property
    def outputs(self) -> tuple[str, ...]:
        """What is predicted: emotions, or targets."""
        return self.ensemble.task.outputs

    def predict(
        self,
        inputs: "Sequence[str] | pandas.DataFrame" = (),
        *,
        texts: Sequence[str] = (),
        columns: Mapping[str, str] | None = None,
        threshold: float = 0.0,
    ) -> "pandas.DataFrame":
        """A row an utterance: what is predicted, probabilities, agreement of the folds, and a note.

        Args:
            inputs: audio files, pictures, folders, tables; or a DataFrame with the columns of a table, in which
                `audio_base64` and `image_base64` may hold the bytes of files.
            texts: what is said: alone, or in as many audio files.
            columns: our name -> a table's.
            threshold: an emotion of less confidence is `not sure`.

        Raises:
            ConfigError: there is no such input, or the model reads another kind.
            CorpusError: a table cannot be read. A recording that cannot costs its row alone.
        """
        with ExitStack() as stack:
            if hasattr(inputs, "columns"):
                rows = stack.enter_context(rows_of_frame(inputs, columns=columns))
            else:
                inputs = [inputs] if isinstance(inputs, str) else inputs
                rows = read_inputs(list(inputs), list(texts), columns=columns)
            answers = list(predict(self.ensemble, rows))
        return as_arrow(list(records(self.ensemble, answers, threshold=threshold))).to_pandas()
