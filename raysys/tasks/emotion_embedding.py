"""Emotion embedding: a model's head speaks in an emotion space, whose frozen decoders answer in any label format.

    words, text, speech -> head = embedding in the space [dim] -> decoders, prototypes of classes -> ratings in 0..1

The corpus' own ratings or classes are its truth. A format that is trained on is supervised, one whose labels the space
supplies is augmented, any other is zero-shot. The epoch is chosen by the loss of the supervised ones alone.

Buechel, Modersohn & Hahn 2023, arXiv:2308.07871 (seeds/002), section 3.3.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from raysys.batches.batch import Part
from raysys.corpus.folds import Fold
from raysys.corpus.formats import Format, named_like
from raysys.corpus.table import Corpus, Utterance
from raysys.errors import ConfigError, CorpusError, nearest
from raysys.losses import LossConfig, make_objective
from raysys.losses.emotion_embedding import EmotionEmbeddingLoss
from raysys.losses.objective import Objective
from raysys.models.emotion_space import Answers, load_space
from raysys.models.output import ModelOutput
from raysys.predictions import Predictions
from raysys.similarity.prior import FoldPrior
from raysys.storage import Folder, with_nan
from raysys.tasks.emotion_embedding_summary import (
    METRICS,
    RIDGES,
    EmotionEmbeddingSummary,
    mean_known,
    score_format,
)
from raysys.tasks.exhibits import Bars, Exhibit, File
from raysys.tasks.rated import (
    WITHOUT_CLASSES,
    RatedTargets,
    RatedTask,
    columns_of,
    folders_of,
    format_strata,
    known_formats,
    ratings_in,
    space_of,
    variable_names,
)
from raysys.tasks.task import Metric, Scores

_FEWEST, _ALPHAS = 3, tuple(10.0**k for k in range(-1, 6))


@dataclass(frozen=True)
class EmotionEmbedding(RatedTask):
    """Embedding of content in a space of emotions."""

    outputs: tuple[str, ...]
    """FORMAT.VARIABLE; before the space is known, those of the corpus alone."""
    rated: tuple[Format, ...]
    """Formats of the corpus' ratings; its emotions count as one, too."""
    answers: tuple[Format, ...] = ()
    """All that are answered: the space's, then the corpus' own classes."""
    dim: int = 0
    """Width of the space."""
    spaces: tuple[str, ...] = ()
    """Folder of every fold's space, for the baseline."""

    name: ClassVar = "emotion_embedding"
    metrics: ClassVar = METRICS
    detail: ClassVar = Metric("score", "r (UA of classes) by variable", "number")
    main: ClassVar = "pearson"
    chooses: ClassVar = "loss"
    fixed: ClassVar[Mapping[str, Any]] = {
        **WITHOUT_CLASSES,
        "corpus.targets": (),
        "loss.left_out": (),
        "training.label_smoothing": 0.0,
    }
    needs: ClassVar = {"loss.space": "the run of python -m jobs.map_labels that learnt the space"}
    stored: ClassVar = ("values", "targets")
    baseline_name: ClassVar = "ridge"
    caption: ClassVar = "(r over numeric and binary variables, UA and weighted F1 over classes)"
    summary_type: ClassVar = EmotionEmbeddingSummary

    @classmethod
    def of(cls, corpus: Corpus) -> "EmotionEmbedding":
        """The task of predicting the corpus' ratings, or its emotions."""
        own = [Format(corpus.name, corpus.emotions, "categorical")] if corpus.emotions else []
        return cls(variable_names(rated := (*corpus.formats, *own)), rated)

    @property
    def width(self) -> int:
        """Width of the head, which is that of the space."""
        return self.dim

    def knowing(self, priors: Sequence[FoldPrior] | None) -> "EmotionEmbedding":
        """With the formats of the space.

        Raises:
            ConfigError: the corpus has a format that the space has not, or classes that have no place in it.
        """
        space = space_of(priors[0] if priors else None)
        known = {one.name: one for one in space.formats}
        if missing := [name for name in known if name not in space.taught]:
            remedy = "add it first, with python -m jobs.map_labels and --loss.space"
            raise ConfigError(f"the emotion space was not trained on {missing[0]}: {remedy}")
        classes = [one for one in self.rated if one.kind == "categorical" and one.name not in known]
        for one in self.rated:
            there = known.get(one.name)
            if there is None and one not in classes:
                raise ConfigError(
                    f"the corpus is rated in {one.name}, which the emotion space does not know: "
                    f"{nearest(one.name, known)}"
                )
            if there is not None and there.variables != one.variables:
                raise ConfigError(f"{one.name} has other variables in the emotion space: rename it")
            if there is None:
                space.prototypes(one.variables)
        answers = (*space.formats, *classes)
        found = replace(self, outputs=variable_names(answers), answers=answers, dim=space.dim)
        return replace(found, spaces=folders_of(priors or ()))

    @staticmethod
    def check_names(names: tuple[str, ...]) -> None:
        """Different names."""
        if len(set(names)) != len(names):
            raise CorpusError(f"corpus.emotions must be different names, not {names}")

    @staticmethod
    def check_row(row: Utterance, names: tuple[str, ...], where: str) -> None:
        """One of the emotions, or ratings, which the reader has checked."""
        if not row.values and row.label not in names:
            raise CorpusError(
                f"{where}: unknown emotion '{row.label}' ({nearest(row.label, names)})"
            )

    @staticmethod
    def check_rows(rows: Sequence[Utterance], names: tuple[str, ...], corpus: str) -> None:
        """Whatever emotions there are."""

    def strata(self, corpus: Corpus) -> Int64[np.ndarray, " utterance"]:
        """Which formats an item is rated in, or its class."""
        if corpus.emotions:
            return corpus.labels
        return format_strata(corpus.ratings, corpus.formats)

    def check_folds(self, folds: Sequence[Fold], corpus: Corpus) -> None:
        """Ratings that people gave, in every part."""
        known = known_formats(ratings_in(corpus, self.rated), self.rated)
        human = np.array([not one.generated for one in self.rated])
        for fold in folds:
            for part, rows in fold.parts().items():
                if known[rows][:, human].any(axis=1).sum() < _FEWEST:
                    raise CorpusError(
                        f"the {part} part of fold {fold.index} has fewer than {_FEWEST} items that people rated: set "
                        "fewer --folds.n_splits, or add items"
                    )

    def targets(self, corpus: Corpus) -> RatedTargets:
        """Ratings in every format that is answered, and strata."""
        return RatedTargets(ratings_in(corpus, self.answers), self.strata(corpus))

    def teach(
        self, targets: RatedTargets, loss: LossConfig
    ) -> tuple[Float32[np.ndarray, "utterance output"], Int64[np.ndarray, " utterance"]]:
        """The ratings, NaN where there are none, and strata."""
        return targets.ratings, targets.strata

    def fit(self, train: Part, prior: FoldPrior | None = None) -> dict[str, Tensor]:
        """The space's decoders and scales, and the places of the corpus' classes.

        Where the train part has VAD ratings, too, classes are placed on its scale.
        """
        space = space_of(prior)
        scale: dict[str, Tensor] = {}
        vad = named_like("vad", space.formats)
        for own, one in zip(columns_of(self.answers), self.answers, strict=True):
            rated = train.targets[:, own]
            rated = rated[~rated.isnan().any(dim=1)].cpu()
            if one.name == vad and len(rated) >= _FEWEST:
                scale = {"mean": rated.mean(dim=0), "std": rated.std(dim=0, correction=0)}
        classes = [one for one in self.answers if one not in space.formats]
        found = {"weight": space.weight, "mean": space.mean, "std": space.std}
        if classes:
            found["prototypes"] = torch.cat(
                [space.prototypes(one.variables, **scale) for one in classes]
            )
        return {name: value.to(train.labels.device) for name, value in found.items()}

    def objective(
        self,
        config: LossConfig,
        train: Part,
        fitted: Mapping[str, Tensor],
        *,
        prior: FoldPrior | None,
        label_smoothing: float,
    ) -> Objective:
        """The decoders' losses; `prior` names the space."""
        space = space_of(prior)
        space.network.to(train.labels.device)
        main = EmotionEmbeddingLoss(space, self._answers(fitted), *self._chosen(config))
        return make_objective(config, main, torch.ones(1), validation=main.validation)

    def read(self, logits: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """Ratings in 0..1 in every format; of binary ones chances, of categorical ones a distribution."""
        weights = {name: value.to(logits.dtype) for name, value in fitted.items()}
        return torch.cat(self._answers(weights).read(logits), dim=1)

    def embedding(self, output: ModelOutput) -> Tensor:
        """Where it lies in the emotion space."""
        return output.logits

    def truth(self, part: Part) -> np.ndarray:
        """Ratings; NaN where there are none."""
        values: np.ndarray = part.targets.cpu().numpy()
        return values

    def score(self, outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """R over the formats with numbers, UA and weighted F1 over those with classes; NaN where there are none."""
        found = [one for _, one in self._by_format(outputs, truth)]
        return {
            name: mean_known([one[name] for one in found])
            for name in ("pearson", "ua", "weighted_f1")
        }

    def baseline(self, pooled: np.ndarray, targets: RatedTargets, fold: Fold) -> dict[str, float]:
        """Ridge on standardised columns, for each format on the items of the train part that are rated in it.

        `ridge/FORMAT` is its r (UA of classes). `mapped/FORMAT` is that of a ridge that was trained on what the fold's
        space makes of the ratings in another format, the better one where there are several.
        """
        from sklearn.linear_model import RidgeCV  # a second, which workers are spared
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        truth = targets.ratings[fold.test]
        outputs, scores = np.full_like(truth, np.nan), dict[str, float]()
        for columns, one in self._scored():
            rated = ~np.isnan(targets.ratings[:, columns]).any(axis=1)
            rows = fold.train[rated[fold.train]]
            if len(rows) < _FEWEST:
                continue
            others = self._mapped(one, targets.ratings[rows][:, columns], fold)
            taught = np.concatenate([targets.ratings[rows][:, columns], *others.values()], axis=1)
            ridge = RidgeCV(alphas=_ALPHAS, alpha_per_target=True)
            model = make_pipeline(StandardScaler(), ridge).fit(pooled[rows], taught)
            said = model.predict(pooled[fold.test]).reshape(len(fold.test), -1)
            outputs[:, columns], rest = said[:, : len(columns)], said[:, len(columns) :]
            mapped = dict(self._by_format(self._spread(others, rest), truth))
            for name in others.keys() & mapped.keys():
                known = scores.get(f"mapped/{name}", -1.0)
                scores[f"mapped/{name}"] = max(known, mapped[name]["pearson"])
        for name, found in self._by_format(outputs, truth):
            r = found["pearson"]
            scores[f"ridge/{name}"] = found["ua"] if math.isnan(r) else r
        return {**self.score(outputs, truth), **scores}

    def _mapped(
        self, source: Format, ratings: Float32[np.ndarray, "item _"], fold: Fold
    ) -> dict[str, Float32[np.ndarray, "item _"]]:
        """What the space makes of ratings in one format, in the others that are scored by r."""
        if source.kind == "categorical":
            return {}
        space = load_space(Folder(self.spaces[fold.index]))
        found = space.map(source.name, torch.from_numpy(ratings))
        wanted = [one.name for _, one in self._scored() if one.kind != "categorical"]
        return {name: found[name].numpy() for name in wanted if name != source.name}

    def _spread(
        self, formats: Mapping[str, np.ndarray], values: np.ndarray
    ) -> Float32[np.ndarray, "item variable"]:
        """Values of some formats, side by side, in the columns of all; NaN elsewhere."""
        spread = np.full((len(values), len(self.outputs)), np.nan, dtype=np.float32)
        begin, columns = 0, {one.name: own for own, one in self._scored()}
        for name in formats:
            own = columns[name]
            spread[:, own] = values[:, begin : begin + len(own)]
            begin += len(own)
        return spread

    def summary(
        self,
        predictions: Sequence[Predictions],
        speakers: Sequence[str],
        aggregate: Any,
        baseline: Sequence[Scores] = (),
        *,
        targets: Any = None,
        rows: Int64[np.ndarray, " row"] | None = None,
    ) -> EmotionEmbeddingSummary:
        """Scores by format and variable, mean over folds and seeds."""
        found = [dict(self._by_format(one.outputs, one.truth)) for one in predictions]
        formats: dict[str, dict[str, float | None]] = {}
        for name in dict.fromkeys(name for one in found for name in one):
            own = [one[name] for one in found if name in one]
            keys = dict.fromkeys(key for one in own for key in one)
            formats[name] = {
                key: mean_known([one[key] for one in own if key in one]) for key in keys
            }
        ridge: dict[str, dict[str, float | None]] = {
            name: {
                kind: mean_known([fold.get(f"{kind}/{name}", float("nan")) for fold in baseline])
                for kind in RIDGES
            }
            for name in formats
        }
        return EmotionEmbeddingSummary(formats, ridge)

    def show_summary(
        self, summary: EmotionEmbeddingSummary, predictions: Sequence[Predictions], corpus: str
    ) -> list[Exhibit]:
        """Scores by variable."""
        rated = {
            one.name: sum(int((~np.isnan(p.truth[:, own])).all(axis=1).sum()) for p in predictions)
            for own, one in self._scored()
        }
        groups = {
            name: {n: (r, rated[name]) for n, r in with_nan(summary.variables(name)).items()}
            for name in summary.formats
        }
        title = f"{corpus}: r, or recall of classes, by variable, held-out"
        return [
            Bars("by_variable.png", title, groups, "correlation"),
            File("by_variable.json", summary.formats),
        ]

    def _answers(self, fitted: Mapping[str, Tensor]) -> Answers:
        return Answers(
            self.answers,
            self._of_space(fitted),
            fitted["weight"],
            fitted["mean"],
            fitted["std"],
            fitted.get("prototypes"),
        )

    def _of_space(self, fitted: Mapping[str, Tensor]) -> tuple[Format, ...]:
        """The first formats, as many as the decoders have variables."""
        ends = np.cumsum([len(one.variables) for one in self.answers]).tolist()
        return self.answers[: ends.index(len(fitted["weight"])) + 1]

    def check_loss(self, loss: LossConfig) -> None:
        """Formats that the corpus, or the space, has."""
        self._chosen(loss)

    def _chosen(self, loss: LossConfig) -> tuple[list[int], list[int]]:
        """Positions of the supervised formats and of the augmented ones.

        Raises:
            ConfigError: a format that the corpus, or the space, has not.
        """
        rated, names = [one.name for one in self.rated], [one.name for one in self.answers]
        for name in loss.supervised:
            if name not in rated:
                raise ConfigError(
                    f"loss.supervised: the corpus is not rated in '{name}': {nearest(name, rated)}"
                )
        for name in loss.augmented:
            if name not in names:
                raise ConfigError(
                    f"loss.augmented: the emotion space has no '{name}': {nearest(name, names)}"
                )
        human = [one.name for one in self.rated if not one.generated]
        if twice := [n for n in loss.augmented if n in human and not loss.supervised]:
            raise ConfigError(
                f"loss.augmented: the corpus is rated in {twice[0]}, which is supervised: name what is under "
                "loss.supervised"
            )
        taught = loss.supervised or tuple(human)
        return [names.index(name) for name in taught], [names.index(n) for n in loss.augmented]

    def taught(self, loss: LossConfig) -> dict[str, str]:
        """Formats that a run with this loss is trained on, each supervised or augmented; others are zero-shot."""
        supervised, augmented = ([self.answers[k].name for k in own] for own in self._chosen(loss))
        return {**dict.fromkeys(supervised, "supervised"), **dict.fromkeys(augmented, "augmented")}

    def _scored(self) -> list[tuple[list[int], Format]]:
        """Columns of the formats that people rated the corpus in."""
        human = {one.name for one in self.rated if not one.generated}
        places = zip(columns_of(self.answers), self.answers, strict=True)
        return [(list(range(own.start, own.stop)), one) for own, one in places if one.name in human]

    def _by_format(
        self, outputs: np.ndarray, truth: np.ndarray
    ) -> list[tuple[str, dict[str, float]]]:
        """Format -> its scores, of the items that are rated in it."""
        found = []
        for columns, one in self._scored():
            rows = ~np.isnan(truth[:, columns]).any(axis=1)
            ours, theirs = outputs[np.ix_(rows, columns)], truth[np.ix_(rows, columns)]
            if rows.sum() >= _FEWEST and not np.isnan(ours).any():
                found.append((one.name, score_format(one, ours, theirs)))
        return found
