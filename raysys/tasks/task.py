"""What a task is: what is predicted, how it is trained, scored and reported.

Nothing outside `tasks/` asks which task it has.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from raysys.balance.counts import BalanceConfig
from raysys.balance.plan import BalancePlan
from raysys.batches.batch import Part
from raysys.corpus.check import Rules
from raysys.corpus.finding import Finding
from raysys.corpus.folds import Fold
from raysys.corpus.table import Corpus
from raysys.losses import LossConfig
from raysys.losses.objective import Objective
from raysys.models.output import ModelOutput
from raysys.predictions import Aggregation, Predictions
from raysys.similarity.matrix import SimilarityConfig
from raysys.similarity.prior import FoldPrior, Origin
from raysys.tasks.baseline import Baseline, Pooled
from raysys.tasks.exhibits import Exhibit, Picture, Table

Scores = Mapping[str, float]
"""Metric name -> value."""


@dataclass(frozen=True)
class Metric:
    """A score, and how people read it."""

    name: str
    """Key in scores and metric names."""
    title: str
    """Head of its column."""
    format: Literal["percent", "number"] = "percent"
    higher_is_better: bool = True
    in_tables: bool = True

    def show(self, value: float | None, *, signed: bool = False) -> str:
        """For people; a dash for what cannot be known."""
        if value is None or math.isnan(value):
            return "-"
        sign = "+" if signed else ""
        return f"{100 * value:{sign}.1f}" if self.format == "percent" else f"{value:{sign}.3f}"

    def worth(self, value: float) -> float:
        """The score, turned so that larger is better."""
        return value if self.higher_is_better else -value

    def rank(self, val: Scores) -> tuple[float, float]:
        """What makes an epoch better: its score, then (small validation parts tie often) its loss."""
        return self.worth(val[self.name]), -val["loss"]


LOSS = Metric("loss", "loss", "number", higher_is_better=False, in_tables=False)
"""The task's main loss on the val part, known for every task."""


@runtime_checkable
class Summary(Protocol):
    """What a task says of a trial's opened test predictions, besides its scores; a dataclass of plain types."""

    def tables(self) -> list[Table]:
        """For people."""
        ...

    def scores(self) -> dict[str, float]:
        """The detail metric of every output, such as `f1/joy`."""
        ...

    def figures(self) -> dict[str, float]:
        """Further numbers, by name."""
        ...


class Task(Rules):
    """One object a corpus; small and picklable.

    Arguments that methods share: `targets` is what `targets` returned, `fitted` what `fit` did.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    """All scores that may choose epochs and configurations; those in tables in the order of their columns."""
    main: ClassVar[str]
    """The metric that chooses and compares where the config names none."""
    chooses: ClassVar[str] = ""
    """The metric that chooses instead of `main`, where that would look at what must not choose."""
    detail: ClassVar[Metric]
    """What `Summary.scores` hold for each output: their keys are `NAME/OUTPUT`."""
    fixed: ClassVar[Mapping[str, Any]]
    """Settings that would do nothing -> the value that they must have."""
    needs: ClassVar[Mapping[str, str]]
    """Settings that must be there -> what they are, for the message."""
    stored: ClassVar[tuple[str, str]]
    """What outputs and truth are called in files."""
    baseline_name: ClassVar[str]
    caption: ClassVar[str]
    """What a reader of a table of scores must know."""
    legend: ClassVar[str] = ""
    """What its scores are, in a sentence below the table."""
    summary_type: ClassVar[type]
    reads_formats: ClassVar[bool] = False
    """Whether its models read label formats, instead of what people say and look like."""
    measures: ClassVar[bool] = False
    """Whether `measure` has something to say."""
    shows_model: ClassVar[bool] = False
    """Whether trained models themselves are shown."""
    outputs: tuple[str, ...]
    """What the head's outputs are: emotions, or targets."""

    @classmethod
    @abstractmethod
    def of(cls, corpus: Corpus) -> "Task":
        """The task on a checked corpus."""

    @property
    def width(self) -> int:
        """Width of the head."""
        return len(self.outputs)

    def knowing(self, priors: Sequence[FoldPrior] | None) -> "Task":
        """The task when it is known what is known beforehand, see `objective`."""
        return self

    def look_at(self, corpus: Corpus, loss: LossConfig) -> list[Finding]:
        """What the audit must know of the corpus as the loss is going to use it.

        Raises:
            ConfigError: the corpus has nothing of what the loss asks for.
        """
        return []

    def check_loss(self, loss: LossConfig) -> None:
        """Refuse settings of the objective that do not fit the corpus.

        Raises:
            ConfigError: see the message.
        """

    @abstractmethod
    def strata(self, corpus: Corpus) -> Int64[np.ndarray, " utterance"]:
        """What the parts of folds should hold alike."""

    @abstractmethod
    def check_folds(self, folds: Sequence[Fold], corpus: Corpus) -> None:
        """Refuse folds that cannot be learnt from.

        Raises:
            CorpusError: see the message.
        """

    @abstractmethod
    def targets(self, corpus: Corpus) -> Any:
        """What is to be predicted, as arrays over all utterances; only the task looks inside."""

    @abstractmethod
    def teach(
        self, targets: Any, loss: LossConfig
    ) -> tuple[Float32[np.ndarray, "utterance output"], Int64[np.ndarray, " utterance"]]:
        """What the head is trained on, and the class (or stratum) of every utterance."""

    def balance(
        self, targets: Any, config: BalanceConfig, fold: Fold, *, seed: int
    ) -> BalancePlan | None:
        """What is added to a fold's train part, from the targets there alone: the same plan in any process."""
        return None

    def check_balance(self, config: BalanceConfig) -> None:
        """Refuse what `balance` cannot do on this corpus.

        Raises:
            ConfigError: see the message.
        """

    def fit(self, train: Part, prior: FoldPrior | None = None) -> dict[str, Tensor]:
        """What must be known to read the head's logits: of the train part, or beforehand.

        Args:
            train: the train part.
            prior: see `objective`.
        """
        return {}

    def begin(self, model: nn.Module, prior: FoldPrior | None) -> None:
        """Change an untrained model to what is known beforehand, see `objective`."""

    @abstractmethod
    def objective(
        self,
        config: LossConfig,
        train: Part,
        fitted: Mapping[str, Tensor],
        *,
        prior: FoldPrior | None,
        label_smoothing: float,
    ) -> Objective:
        """What training minimises.

        Args:
            config: weights and settings of the losses.
            train: the train part, for counts.
            fitted: see the class.
            prior: of this fold, see `raysys.trials.Trial`.
            label_smoothing: see `TrainingConfig`.
        """

    @abstractmethod
    def read(self, logits: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """Outputs from logits."""

    def calibrate(self, val: Predictions) -> dict[str, float]:
        """What makes outputs mean what they say, fitted on a val part; goes into `fitted`, see `read`.

        Args:
            val: predictions without it.
        """
        return {}

    def embedding(self, output: ModelOutput) -> Tensor:
        """What stands for an utterance: what its class representatives, or its neighbours, are found by."""
        return output.embedding

    @abstractmethod
    def truth(self, part: Part) -> np.ndarray:
        """What the outputs of a part should have been."""

    @abstractmethod
    def score(self, outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Every metric but the loss."""

    @abstractmethod
    def baselines(
        self, pooled: Pooled, targets: Any, folds: Sequence[Fold], *, choose: str
    ) -> list[Baseline]:
        """The simple baselines, the one that tables show first.

        Args:
            pooled: features over time of every utterance, see `raysys.tasks.baseline`.
            targets: see the class.
            folds: settings are chosen on their val parts, test parts are predicted once.
            choose: the model's own validation score; one that the baseline lacks, as the loss, is replaced by `main`.
        """

    def measure(self, val: Predictions) -> Any:
        """What a fold's model says of its val part, besides scores, as plain types."""
        return None

    def with_measured(self, aggregate: Any, measured: Mapping[int, Sequence[Any]]) -> Any:
        """The aggregate, with what the folds measured.

        Args:
            aggregate: see `aggregation`.
            measured: fold -> what `measure` returned, seed by seed.
        """
        return aggregate

    def columns(self, outputs: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Predictions of a part, by the names of a table's columns; here truth_OUTPUT and predicted_OUTPUT.

        Args:
            outputs: see `read`.
            truth: see `truth`.
        """
        named = {}
        for k, name in enumerate(self.outputs):
            named[f"truth_{name}"], named[f"predicted_{name}"] = truth[:, k], outputs[:, k]
        return named

    def aggregation(
        self,
        config: SimilarityConfig,
        seed: int,
        speakers: Mapping[int, Sequence[str]] | None = None,
    ) -> Aggregation | None:
        """What becomes of the folds' test embeddings; None where nothing does.

        Args:
            config: how its uncertainty is found.
            seed: of that.
            speakers: fold -> who speaks in its test part, in order.
        """
        return None

    @abstractmethod
    def summary(
        self,
        predictions: Sequence[Predictions],
        speakers: Sequence[str],
        aggregate: Any,
        baseline: Sequence[Scores] = (),
        *,
        targets: Any = None,
        rows: Int64[np.ndarray, " row"] | None = None,
    ) -> Summary:
        """Open the test predictions.

        Args:
            predictions: of each fold's test part, seed by seed.
            speakers: of all their utterances, in order; empty text where unknown.
            aggregate: see `aggregation`.
            baseline: what `baseline` said of each fold.
            targets: see the class; None, where no more is known than the truth of the predictions.
            rows: utterance of every prediction, in order.
        """

    def show_balance(
        self, plans: Sequence[BalancePlan], folds: Sequence[Fold], corpus: Corpus
    ) -> list[Exhibit]:
        """What was added to the folds' train parts."""
        return []

    def show_aggregate(self, aggregate: Any, origin: Origin) -> list[Exhibit]:
        """What is known of a trial without its test scores."""
        return []

    def show_beside(self, row: str, summaries: Mapping[str, Any], file: str) -> list[Exhibit]:
        """What the configurations of one line of an ablation show side by side.

        Args:
            row: the line's name.
            summaries: column -> summary.
            file: name for files, without an ending.
        """
        return []

    @abstractmethod
    def show_summary(
        self, summary: Any, predictions: Sequence[Predictions], corpus: str
    ) -> list[Exhibit]:
        """What opened test predictions look like."""

    def show_similarity(self, summary: Any, corpus: str) -> list[Picture]:
        """Pictures of the similarity of what is predicted, from a stored summary; none where there is no such thing."""
        return []

    def show_model(self, model: nn.Module) -> list[Exhibit]:
        """What a trained model looks like, where the task shows that."""
        return []


def shown(metrics: Sequence[Metric]) -> list[Metric]:
    """Those that stand in tables."""
    return [metric for metric in metrics if metric.in_tables]


def compared(metrics: Sequence[Metric], objective: Metric) -> list[Metric]:
    """Those that stand in tables, and the one that chose; the loss is no score of a test part."""
    chosen = objective.in_tables or objective.name == LOSS.name
    return shown(metrics) if chosen else [*shown(metrics), objective]


def by_speaker(
    task: Task, outputs: np.ndarray, truth: np.ndarray, speakers: Sequence[str]
) -> dict[str, dict[str, int | float]]:
    """Speaker -> scores and `utterances`, the most frequent speaker first; unknown speakers are left out."""
    who = np.array(speakers)
    names, counts = np.unique(who[who != ""], return_counts=True)
    ordered = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda n: -n[1])
    return {
        name: {**score_shown(task, outputs[who == name], truth[who == name]), "utterances": count}
        for name, count in ordered
    }


def score_shown(task: Task, outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores that stand in tables."""
    found = task.score(outputs, truth)
    return {metric.name: found[metric.name] for metric in shown(task.metrics)}


_SPEAKERS = 10
"""In a table, those with the most utterances; the others are in result.json."""


def speaker_table(metrics: Sequence[Metric], rows: Mapping[str, Scores]) -> list[Table]:
    """Scores by speaker; nothing for one speaker."""
    if len(rows) < 2:
        return []
    note = f"and {len(rows) - _SPEAKERS} more, in result.json" if len(rows) > _SPEAKERS else ""
    cells = [
        (name, f"{row['utterances']:.0f}", *(m.show(row[m.name]) for m in shown(metrics)))
        for name, row in list(rows.items())[:_SPEAKERS]
    ]
    heads = ("speaker", "n", *(metric.title for metric in shown(metrics)))
    return [Table("by speaker", heads, cells, note=note)]
