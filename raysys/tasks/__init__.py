"""Tasks: what is predicted, how it is trained, scored and reported."""

from collections.abc import Mapping

from raysys.tasks.classification import Classification
from raysys.tasks.emotion_embedding import EmotionEmbedding
from raysys.tasks.label_mapping import LabelMapping
from raysys.tasks.regression import Regression
from raysys.tasks.task import Task

TASKS: Mapping[str, type[Task]] = {
    "classification": Classification,
    "emotion_embedding": EmotionEmbedding,
    "label_mapping": LabelMapping,
    "regression": Regression,
}
"""Task name -> class. A new task is one module and one line here; what its loss needs is in `raysys.losses`."""
