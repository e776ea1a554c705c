"""Regression: numbers an utterance, from the manifest's columns that `corpus.targets` names, such as valence.

    values -> standardised by the train part -> logits -> values in the corpus' own units -> CCC, Pearson r, RMSE

Scores are means over the targets. Ridge regression on pooled features is the baseline.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int64
from torch import Tensor

from raysys.batches.batch import Part
from raysys.corpus.folds import Fold
from raysys.corpus.table import Corpus, Utterance
from raysys.errors import CorpusError
from raysys.losses import LossConfig, make_objective
from raysys.losses.classification import class_counts
from raysys.losses.objective import Objective
from raysys.losses.regression import RegressionLoss
from raysys.predictions import Predictions
from raysys.similarity.prior import FoldPrior
from raysys.tasks.baseline import STATISTICS, Baseline, Pooled, chosen
from raysys.tasks.exhibits import Exhibit, File, Scatter, Table
from raysys.tasks.rated import WITHOUT_CLASSES
from raysys.tasks.task import (
    LOSS,
    Metric,
    Scores,
    Task,
    by_speaker,
    score_shown,
    shown,
    speaker_table,
)

METRICS = (
    Metric("ccc", "CCC", "number"),
    Metric("pearson", "r", "number"),
    Metric("rmse", "RMSE", "number", higher_is_better=False),
    LOSS,
)
"""Concordance (Lin 1989), Pearson's correlation, root mean squared error in the corpus' units."""
_STRATA = 5
_ALPHAS = tuple(10.0**k for k in range(-1, 6))
_SMALLEST_STD = 1e-6


@dataclass(frozen=True)
class ValueTargets:
    """What is known of the numbers of every utterance."""

    values: Float32[np.ndarray, "utterance target"]
    strata: Int64[np.ndarray, " utterance"]


@dataclass(frozen=True)
class RegressionSummary:
    """What the mean over folds and targets hides, over the test utterances of all folds."""

    targets: tuple[str, ...]
    pooled: dict[str, float]
    per_target: dict[str, dict[str, int | float]]
    """Target -> CCC, r, RMSE, and the mean and standard deviation of the true values."""
    speakers: dict[str, dict[str, int | float]]
    """Speaker -> scores and utterances, the most frequent speaker first."""

    def tables(self) -> list[Table]:
        """Tables by target and by speaker."""
        rows = [
            (
                target,
                *(metric.show(row[metric.name]) for metric in shown(METRICS)),
                f"{row['mean']:.2f} +- {row['std']:.2f}",
            )
            for target, row in self.per_target.items()
        ]
        heads = ("target", *(metric.title for metric in shown(METRICS)), "true values")
        title = "by target, all test utterances"
        return [Table(title, heads, rows), *speaker_table(METRICS, self.speakers)]

    def scores(self) -> dict[str, float]:
        """CCC by target."""
        return {f"ccc/{target}": row["ccc"] for target, row in self.per_target.items()}

    def figures(self) -> dict[str, float]:
        """None."""
        return {}


@dataclass(frozen=True)
class Regression(Task):
    """Regression of numeric targets."""

    outputs: tuple[str, ...]

    name: ClassVar = "regression"
    metrics: ClassVar = METRICS
    detail: ClassVar = Metric("ccc", "CCC by target", "number")
    main: ClassVar = "ccc"
    fixed: ClassVar[Mapping[str, Any]] = {
        **WITHOUT_CLASSES,
        "corpus.emotions": (),
        "training.label_smoothing": 0.0,
        "loss.space": "",
        "loss.left_out": (),
    }
    needs: ClassVar = {"corpus.targets": "numeric columns of the manifest, as in [valence]"}
    stored: ClassVar = ("values", "targets")
    baseline_name: ClassVar = "ridge"
    caption: ClassVar = f"(mean over targets, {', '.join(m.title for m in shown(METRICS))})"
    summary_type: ClassVar = RegressionSummary

    @classmethod
    def of(cls, corpus: Corpus) -> "Regression":
        """The task of predicting the corpus' targets."""
        return cls(corpus.targets)

    @staticmethod
    def check_names(names: tuple[str, ...]) -> None:
        """Different targets."""
        if len(set(names)) != len(names):
            raise CorpusError(f"corpus.targets must be different names, not {names}")

    @staticmethod
    def check_row(row: Utterance, names: tuple[str, ...], where: str) -> None:
        """A finite value for every target."""
        values = row.values or {}
        for name in names:
            if name not in values:
                raise CorpusError(
                    f"{where}: no value for '{name}': fill the manifest's column, or leave it out of --corpus.targets"
                )
            if not math.isfinite(values[name]):
                raise CorpusError(f"{where}: '{name}' is {values[name]}, but must be a number")

    @staticmethod
    def check_rows(rows: Sequence[Utterance], names: tuple[str, ...], corpus: str) -> None:
        """Targets that vary."""
        for name in names:
            if len({(row.values or {})[name] for row in rows}) < 2:
                raise CorpusError(
                    f"'{name}' is the same for all utterances of corpus {corpus}: leave it out of --corpus.targets"
                )

    def strata(self, corpus: Corpus) -> Int64[np.ndarray, " utterance"]:
        """Five equal bins of the mean of the standardised targets."""
        values = self._values(corpus).astype(np.float64)
        level = (values / np.maximum(values.std(axis=0), _SMALLEST_STD)).mean(axis=1)
        ranks = np.argsort(np.argsort(level, kind="stable"), kind="stable")
        return (ranks * _STRATA // len(ranks)).astype(np.int64)

    def check_folds(self, folds: Sequence[Fold], corpus: Corpus) -> None:
        """Targets that vary in every train part."""
        values = self._values(corpus)
        for fold in folds:
            for k, name in enumerate(self.outputs):
                if np.ptp(values[fold.train, k]) == 0:
                    raise CorpusError(
                        f"'{name}' is the same for all utterances on which fold {fold.index} trains: choose other "
                        "--folds.groups"
                    )

    def targets(self, corpus: Corpus) -> ValueTargets:
        """Values and strata."""
        return ValueTargets(self._values(corpus), self.strata(corpus))

    def teach(
        self, targets: ValueTargets, loss: LossConfig
    ) -> tuple[Float32[np.ndarray, "utterance output"], Int64[np.ndarray, " utterance"]]:
        """The values in their own units, and strata."""
        return targets.values, targets.strata

    def fit(self, train: Part, prior: FoldPrior | None = None) -> dict[str, Tensor]:
        """Mean and standard deviation of the train part's values."""
        std = train.targets.std(dim=0, correction=0).clamp(min=_SMALLEST_STD)
        return {"mean": train.targets.mean(dim=0), "std": std}

    def objective(
        self,
        config: LossConfig,
        train: Part,
        fitted: Mapping[str, Tensor],
        *,
        prior: FoldPrior | None,
        label_smoothing: float,
    ) -> Objective:
        """Concordance or squared error of standardised values, and Soft-HGR where it is on."""
        main = RegressionLoss(config.regression, fitted["mean"], fitted["std"])
        counts = class_counts(train.labels, _STRATA)
        return make_objective(config, main, counts, validation=main.validation)

    def read(self, logits: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """Values in the corpus' units."""
        return logits * fitted["std"] + fitted["mean"]

    def truth(self, part: Part) -> np.ndarray:
        """Values."""
        values: np.ndarray = part.targets.cpu().numpy()
        return values

    def score(self, outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """CCC, r and RMSE, mean over the targets."""
        columns = [score_values(outputs[:, k], truth[:, k]) for k in range(truth.shape[1])]
        return {name: float(np.mean([one[name] for one in columns])) for name in columns[0]}

    def baselines(
        self, pooled: Pooled, targets: ValueTargets, folds: Sequence[Fold], *, choose: str
    ) -> list[Baseline]:
        """Ridge on standardised columns, its strength and columns chosen on val; the same fitted on train and val."""
        metric = next(
            m for m in METRICS if m.name == (self.main if choose == LOSS.name else choose)
        )
        settings = [(s, alpha) for s in STATISTICS for alpha in reversed(_ALPHAS)]

        def said(
            setting: tuple[str, float], fold: Fold, part: str, *, with_val: bool = False
        ) -> dict[str, float]:
            rows = np.concatenate([fold.train, fold.val]) if with_val else fold.train
            columns, target = pooled.of(setting[0]), fold.parts()[part]
            model = _ridge(setting[1]).fit(columns[rows], targets.values[rows])
            predicted = model.predict(columns[target]).reshape(len(target), -1)
            return self.score(predicted, targets.values[target])

        scores = [
            [metric.worth(said(s, fold, "val")[metric.name]) for fold in folds] for s in settings
        ]
        best = settings[chosen(np.nan_to_num(scores, nan=-np.inf).tolist())]
        title = f"alpha {best[1]:g}, {best[0]} over time"
        return [
            Baseline("ridge", title, tuple(said(best, fold, "test") for fold in folds)),
            Baseline(
                "ridge",
                title,
                tuple(said(best, fold, "test", with_val=True) for fold in folds),
                "train and val",
            ),
        ]

    def summary(
        self,
        predictions: Sequence[Predictions],
        speakers: Sequence[str],
        aggregate: Any,
        baseline: Sequence[Scores] = (),
        *,
        targets: Any = None,
        rows: Int64[np.ndarray, " row"] | None = None,
    ) -> RegressionSummary:
        """Scores by target and speaker."""
        outputs = np.concatenate([part.outputs for part in predictions])
        truth = np.concatenate([part.truth for part in predictions])
        per_target = {}
        for k, target in enumerate(self.outputs):
            level = {"mean": float(truth[:, k].mean()), "std": float(truth[:, k].std())}
            per_target[target] = {**score_values(outputs[:, k], truth[:, k]), **level}
        return RegressionSummary(
            self.outputs,
            score_shown(self, outputs, truth),
            per_target,
            by_speaker(self, outputs, truth, speakers),
        )

    def show_summary(
        self, summary: RegressionSummary, predictions: Sequence[Predictions], corpus: str
    ) -> list[Exhibit]:
        """Predicted against true values, and scores by target and speaker."""
        outputs = np.concatenate([part.outputs for part in predictions])
        truth = np.concatenate([part.truth for part in predictions])
        groups = {name: (truth[:, k], outputs[:, k]) for k, name in enumerate(self.outputs)}
        title = f"{corpus}: test predictions of all folds"
        return [
            Scatter("predicted_and_true.png", title, groups),
            File("by_target.json", summary.per_target),
            File("by_speaker.json", summary.speakers),
        ]

    def _values(self, corpus: Corpus) -> Float32[np.ndarray, "utterance target"]:
        rows = [[(row.values or {})[name] for name in self.outputs] for row in corpus.utterances]
        return np.array(rows, dtype=np.float32)


def _ridge(alpha: float) -> Any:
    from sklearn.linear_model import Ridge  # a second, which workers are spared
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge(alpha))


def score_values(outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """CCC (Lin 1989, Eq. 3, divisor n), Pearson r, and RMSE; CCC and r are 0 where either does not vary."""
    x, y = outputs.astype(np.float64), truth.astype(np.float64)
    covariance = float(((x - x.mean()) * (y - y.mean())).mean())
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    both = float(np.sqrt(x.var() * y.var()))
    return {
        "ccc": 2 * covariance / float(spread) if spread > 0 else 0.0,
        "pearson": covariance / both if both > 0 else 0.0,
        "rmse": float(np.sqrt(((x - y) ** 2).mean())),
    }
