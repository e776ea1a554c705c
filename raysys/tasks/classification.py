"""Classification: one emotion an utterance, of those of the corpus.

    labels, votes -> target distributions -> logits -> class probabilities -> WA, UA, weighted F1
    test embeddings of all folds -> class-similarity matrices and their average

Distributions are one-hot labels or the annotators' shares (`loss.targets`). The SVM on pooled features is the baseline.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from raysys.balance.counts import BalanceConfig
from raysys.balance.plan import BalancePlan, plan_balance
from raysys.batches.batch import Part
from raysys.corpus.finding import Finding
from raysys.corpus.folds import Fold
from raysys.corpus.remarks import about_rare
from raysys.corpus.table import Corpus, Utterance
from raysys.errors import ConfigError, CorpusError, lookup, nearest
from raysys.losses import LossConfig, make_objective
from raysys.losses.classification import ClassificationLoss, balanced_class_weights, class_counts
from raysys.losses.objective import Objective
from raysys.predictions import Aggregation, Predictions, read_embeddings
from raysys.similarity.annotators import Annotators, annotators_of
from raysys.similarity.matrix import (
    SimilarityConfig,
    class_representatives,
    cosine_matrix,
    mean_known,
)
from raysys.similarity.prior import FoldPrior, Origin, SimilarityPrior, with_null
from raysys.similarity.psychology import agreement_with_annotators, agreement_with_vad, vad_distance
from raysys.similarity.summary import SimilaritySummary, summarise_folds
from raysys.tasks.baseline import Baseline, Pooled
from raysys.tasks.calibration import calibration, fit_temperature
from raysys.tasks.class_exhibits import (
    balance_exhibits,
    matrix_exhibits,
    matrix_pictures,
    summary_exhibits,
)
from raysys.tasks.class_scores import score_each_class
from raysys.tasks.class_targets import ClassTargets, target_distributions
from raysys.tasks.classification_summary import METRICS, ClassificationSummary
from raysys.tasks.classifiers import tuned_classifiers
from raysys.tasks.exhibits import ConfusionRow, Exhibit, Picture
from raysys.tasks.resampling import units_of
from raysys.tasks.task import LOSS, Metric, Scores, Task, by_speaker
from raysys.tasks.votes import score_votes


@dataclass(frozen=True)
class Classification(Task):
    """Classification of emotions."""

    outputs: tuple[str, ...]

    name: ClassVar = "classification"
    metrics: ClassVar = METRICS
    detail: ClassVar = Metric("f1", "F1 by emotion")
    main: ClassVar = "ua"
    fixed: ClassVar[Mapping[str, Any]] = {
        "corpus.targets": (),
        "loss.regression": "ccc",
        "loss.space": "",
        "loss.left_out": (),
    }
    needs: ClassVar[Mapping[str, str]] = {}
    stored: ClassVar = ("probabilities", "labels")
    baseline_name: ClassVar = "SVM"
    caption: ClassVar = "in % (F1 is weighted)"
    legend: ClassVar = (
        "WA: accuracy; UA: mean recall over the emotions; F1: weighted by utterances."
    )
    measures: ClassVar = True
    summary_type: ClassVar = ClassificationSummary

    @classmethod
    def of(cls, corpus: Corpus) -> "Classification":
        """The task of predicting the corpus' emotions."""
        return cls(corpus.emotions)

    @staticmethod
    def check_names(names: tuple[str, ...]) -> None:
        """Two or more different emotions."""
        if len(set(names)) != len(names) or len(names) < 2:
            raise CorpusError(f"corpus.emotions must be two or more different names, not {names}")

    @staticmethod
    def check_row(row: Utterance, names: tuple[str, ...], where: str) -> None:
        """A label among the emotions, and votes that count annotators."""
        if not row.label:
            raise CorpusError(f"{where}: the label is empty: fill it")
        if row.label not in names:
            raise CorpusError(
                f"{where}: unknown emotion '{row.label}' ({nearest(row.label, names)})"
            )
        for emotion, count in (row.votes or {}).items():
            if count < 0:
                raise CorpusError(
                    f"{where}: {count} votes for '{emotion}', but votes count annotators"
                )

    @staticmethod
    def check_rows(rows: Sequence[Utterance], names: tuple[str, ...], corpus: str) -> None:
        """An utterance for every emotion."""
        counts = Counter(row.label for row in rows)
        for emotion in names:
            if not counts[emotion]:
                raise CorpusError(
                    f"emotion '{emotion}' has no utterance in corpus {corpus}: leave it out of --corpus.emotions"
                )

    def look_at(self, corpus: Corpus, loss: LossConfig) -> list[Finding]:
        """How annotators agree, and how many utterances have no votes, where votes are the targets."""
        people = annotators_of(corpus.votes, corpus.votes_elsewhere, corpus.emotions)
        found = [Finding("note", "annotators", people.line())] if people else []
        if not people and corpus.votes.any():
            message = "votes are shares, or one an utterance: how far annotators agree is not known"
            found.append(Finding("note", "annotators", message))
        without = int((corpus.votes.sum(axis=1) == 0).sum()) if loss.targets == "votes" else 0
        if not without:
            return found
        if without == len(corpus):
            raise ConfigError(
                f"loss.targets is votes, but corpus {corpus.name} has none for its emotions: set --loss.targets label"
            )
        message = f"{without} of {len(corpus)} utterances have no votes that count: their label is the target"
        return [*found, Finding("note", "no_votes", message)]

    def strata(self, corpus: Corpus) -> Int64[np.ndarray, " utterance"]:
        """The class of every utterance."""
        return corpus.labels

    def check_folds(self, folds: Sequence[Fold], corpus: Corpus) -> None:
        """Every emotion in every train part."""
        for fold in folds:
            missing = set(range(len(self.outputs))) - set(corpus.labels[fold.train].tolist())
            if missing:
                rare = about_rare(self.outputs[min(missing)], corpus)
                raise CorpusError(f"fold {fold.index} trains without any {rare}")

    def targets(self, corpus: Corpus) -> ClassTargets:
        """Labels and votes."""
        return ClassTargets(corpus.labels, corpus.votes, corpus.votes_elsewhere)

    def teach(
        self, targets: ClassTargets, loss: LossConfig
    ) -> tuple[Float32[np.ndarray, "utterance output"], Int64[np.ndarray, " utterance"]]:
        """Target distributions, and classes."""
        taught = target_distributions(targets.labels, targets.votes, loss.targets)
        return taught, targets.labels

    def balance(
        self, targets: ClassTargets, config: BalanceConfig, fold: Fold, *, seed: int
    ) -> BalancePlan | None:
        """The mixtures of PDDS or one of its baselines."""
        if config.method == "off":
            return None
        return plan_balance(
            targets.labels[fold.train],
            targets.votes[fold.train],
            config,
            seed=seed,
            fold=fold.index,
            elsewhere=targets.elsewhere[fold.train] > 0,
            emotions=self.outputs,
        )

    def check_balance(self, config: BalanceConfig) -> None:
        """Emotions of the corpus in `balance.top_up`."""
        for name in config.top_up:
            lookup(dict.fromkeys(self.outputs), name, kind="emotion in balance.top_up")

    def objective(
        self,
        config: LossConfig,
        train: Part,
        fitted: Mapping[str, Tensor],
        *,
        prior: FoldPrior | None,
        label_smoothing: float,
    ) -> Objective:
        """KL, the emotion-aware term with `prior` as S, and the auxiliary losses."""
        n_classes, device = len(self.outputs), train.labels.device
        weights = torch.ones(n_classes, device=device)
        if config.class_weights:
            weights = balanced_class_weights(train.labels, n_classes)
        matrix = None
        if isinstance(prior, SimilarityPrior):
            matrix = torch.tensor(np.array(prior.matrix), dtype=torch.float32, device=device)
        main = ClassificationLoss(config.omega, weights, matrix, label_smoothing)
        return make_objective(config, main, class_counts(train.labels, n_classes))

    def read(self, logits: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """Class probabilities, at the temperature that was fitted, if one was."""
        temperature = fitted.get("temperature")
        return (logits if temperature is None else logits / temperature).softmax(dim=1)

    def calibrate(self, val: Predictions) -> dict[str, float]:
        """The temperature of least NLL on val."""
        return {"temperature": fit_temperature(val.outputs, val.truth)}

    def truth(self, part: Part) -> np.ndarray:
        """Classes."""
        labels: np.ndarray = part.labels.cpu().numpy()
        return labels

    def score(self, outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """WA, UA, F1 and worst recall of the most probable classes, and how far these are from the truth."""
        predicted = outputs.argmax(axis=1).astype(np.int64)
        scores, distances = score_classes(truth, predicted), vad_distance(self.outputs)
        if distances is not None:
            scores["vad_distance"] = float(distances[truth, predicted].mean())
        return scores

    def baselines(
        self, pooled: Pooled, targets: ClassTargets, folds: Sequence[Fold], *, choose: str
    ) -> list[Baseline]:
        """A tuned SVM, the same fitted on train and val, tuned logistic regression."""
        return tuned_classifiers(
            pooled,
            targets.labels,
            folds,
            score=score_classes,
            choose=self.main if choose in (LOSS.name, "vad_distance") else choose,
        )

    def measure(self, val: Predictions) -> list[list[float | None]]:
        """The class-similarity matrix of the val part: no label of the fold's test part is behind it."""
        means = class_representatives(val.embeddings, val.truth, len(self.outputs))
        return with_null(cosine_matrix(means).tolist())

    def with_measured(
        self, aggregate: SimilaritySummary, measured: Mapping[int, Sequence[Any]]
    ) -> SimilaritySummary:
        """With the matrices of the val parts, each the mean over the fold's seeds."""
        if any(one is None for of_fold in measured.values() for one in of_fold):
            return aggregate  # folds that an earlier raysys trained
        stacked = [mean_known(np.array(measured[k], dtype=np.float64)) for k in sorted(measured)]
        return replace(aggregate, val_per_fold=np.stack(stacked))

    def columns(self, outputs: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Emotions, whether they agree, and the probability of each: truth, predicted, right, p_EMOTION."""
        names, predicted = np.array(self.outputs), outputs.argmax(axis=1)
        shares = {f"p_{name}": outputs[:, k] for k, name in enumerate(self.outputs)}
        said = {"truth": names[truth], "predicted": names[predicted], "right": predicted == truth}
        return said | shares

    def aggregation(
        self,
        config: SimilarityConfig,
        seed: int,
        speakers: Mapping[int, Sequence[str]] | None = None,
    ) -> Aggregation:
        """Similarity matrices."""
        summarised = partial(
            summarise_folds,
            n_classes=len(self.outputs),
            resamples=config.resamples,
            confidence=config.confidence,
            seed=seed,
            speakers=speakers,
        )
        return Aggregation(partial(read_embeddings, names=self.stored), summarised)

    def summary(
        self,
        predictions: Sequence[Predictions],
        speakers: Sequence[str],
        aggregate: SimilaritySummary,
        baseline: Sequence[Scores] = (),
        *,
        targets: ClassTargets | None = None,
        rows: Int64[np.ndarray, " row"] | None = None,
    ) -> ClassificationSummary:
        """Scores by emotion and speaker, confusions, matrices, calibration, distance from the votes."""
        from sklearn.metrics import precision_recall_fscore_support

        outputs = np.concatenate([part.outputs for part in predictions])
        truth = np.concatenate([part.truth for part in predictions])
        predicted = outputs.argmax(axis=1)
        columns = precision_recall_fscore_support(
            truth, predicted, labels=range(len(self.outputs)), zero_division=0
        )
        confusion = np.zeros((len(self.outputs),) * 2, dtype=np.int64)
        np.add.at(confusion, (truth, predicted), 1)
        matrices = ("average", "unbiased", "per_fold", "low", "high", "fold_counts")
        return ClassificationSummary(
            self.outputs,
            self.score(outputs, truth),
            {
                emotion: {
                    "precision": float(precision),
                    "recall": float(recall),
                    "f1": float(f1),
                    "utterances": int(count),
                }
                for emotion, precision, recall, f1, count in zip(
                    self.outputs, *columns, strict=True
                )
            },
            confusion.tolist(),
            by_speaker(self, outputs, truth, speakers),
            {
                **{name: with_null(getattr(aggregate, name).tolist()) for name in matrices},
                "over": aggregate.over,
            },
            agreement_with_vad(aggregate.average, self.outputs),
            calibration(outputs, truth, units_of(speakers, "speakers", rows=rows)),
            {} if targets is None else score_votes(outputs, targets.votes[rows]),
            _val_distance(predictions, aggregate.val_per_fold),
            None
            if targets is None
            else agreement_with_annotators(aggregate.average, targets.votes[rows], self.outputs),
            self._people(targets, rows),
        )

    def _people(
        self, targets: ClassTargets | None, rows: Int64[np.ndarray, " row"] | None
    ) -> Annotators | None:
        """How the annotators of what was tested agree; None where that is not known."""
        if targets is None or rows is None:
            return None
        tested = np.unique(rows)  # a row comes once for each seed
        return annotators_of(targets.votes[tested], targets.elsewhere[tested], self.outputs)

    def show_balance(
        self, plans: Sequence[BalancePlan], folds: Sequence[Fold], corpus: Corpus
    ) -> list[Exhibit]:
        """Who is mixed with whom (CSV), and counts before and after."""
        return balance_exhibits(self.outputs, plans, folds, corpus)

    def show_aggregate(self, aggregate: SimilaritySummary, origin: Origin) -> list[Exhibit]:
        """The matrices: JSON, NPY, heat map, dendrogram."""
        return matrix_exhibits(self.outputs, aggregate, origin)

    def show_beside(
        self, row: str, summaries: Mapping[str, ClassificationSummary], file: str
    ) -> list[Exhibit]:
        """Confusions (Liang et al. 2023, arXiv:2302.08650, Fig. 5)."""
        counts = {column: np.array(one.confusion) for column, one in summaries.items()}
        title = f"{row}: all test utterances"
        return [ConfusionRow(f"confusion/{file}.png", title, self.outputs, counts)]

    def show_summary(
        self, summary: ClassificationSummary, predictions: Sequence[Predictions], corpus: str
    ) -> list[Exhibit]:
        """Confusions, reliability, and scores by emotion and speaker."""
        return summary_exhibits(summary, corpus)

    def show_similarity(self, summary: ClassificationSummary, corpus: str) -> list[Picture]:
        """Heat map and dendrogram of the averaged matrix."""
        return [*matrix_pictures(self.outputs, summary.similarity, corpus)]


def score_classes(
    labels: Int64[np.ndarray, " utterance"], predicted: Int64[np.ndarray, " utterance"]
) -> dict[str, float]:
    """WA, UA, weighted and macro F1 and the worst class' recall under their names in `METRICS`, in 0..1."""
    by_class = score_each_class(labels, predicted)
    return {
        "wa": float(np.average(labels == predicted)),
        "ua": float(by_class.recall.mean()),
        "weighted_f1": by_class.weighted_f1,
        "macro_f1": by_class.macro_f1,
        "worst_recall": float(by_class.recall.min()),
    }


def _val_distance(predictions: Sequence[Predictions], matrices: np.ndarray | None) -> float | None:
    """Mean 1 - S[truth, predicted] with S of each fold's own val part; None where that is not known.

    Args:
        predictions: of each fold's test part, seed by seed.
        matrices: of the folds.
    """
    if matrices is None:
        return None
    off = [
        1 - matrices[k % len(matrices)][part.truth, part.outputs.argmax(axis=1)]
        for k, part in enumerate(predictions)
    ]
    mean = float(np.concatenate(off).mean())
    return None if np.isnan(mean) else mean
