"""What a configuration's finished folds come to: their matrices from the actor, and the content of result.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from raysys.cluster.plan import Plan
from raysys.config import Config
from raysys.report import build_result
from raysys.similarity import SimilaritySummary
from raysys.storage import Folder
from raysys.training.predictions import read_predictions
from raysys.training.task import FoldResult


@dataclass(frozen=True)
class FinishedTrial:
    """A configuration all of whose folds have ended well."""

    name: str
    config: Config
    folder: Folder
    """Holds a folder for each fold."""
    results: Sequence[FoldResult]
    """In the order of the folds."""

    @property
    def fold_folders(self) -> dict[int, Folder]:
        """Fold -> its folder."""
        return {result.fold: self.folder / f"fold_{result.fold}" for result in self.results}

    def matrices(self, aggregator: Any) -> SimilaritySummary:
        """Ask the actor, which reads what it does not hold; needs Ray."""
        places = {fold: folder.uri for fold, folder in self.fold_folders.items()}
        summary: SimilaritySummary = ray.get(aggregator.summary.remote(self.name, places))
        return summary

    def score(
        self,
        plan: Plan,
        *,
        kind: str,
        similarity: SimilaritySummary,
        baseline: Sequence[Mapping[str, float]],
        seconds: Mapping[str, float],
        mlflow: Mapping[str, str],
    ) -> dict[str, Any]:
        """Open the test predictions, and write result.json.

        Args:
            plan: of the command.
            kind: of the result: cross_validation or trial.
            similarity: see `matrices`.
            baseline: the SVM's test scores, one dict a fold.
            seconds: where the time went.
            mlflow: where it is logged.

        Returns:
            What result.json holds.
        """
        content = build_result(
            kind=kind,
            corpus=plan.corpus.name,
            model=self.config.model.title,
            select=self.config.training.select,
            emotions=plan.corpus.emotions,
            results=self.results,
            predictions=[read_predictions(folder) for folder in self.fold_folders.values()],
            speakers=plan.test_speakers,
            baseline=baseline,
            similarity=similarity,
            seconds=seconds,
            audit=plan.audit,
            mlflow=mlflow,
        )
        self.folder.write_json("result.json", content)
        result: dict[str, Any] = self.folder.read_json("result.json")
        return result
