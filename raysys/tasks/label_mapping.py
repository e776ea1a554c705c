"""Label mapping: from the ratings of an item in one format to its ratings in another.

    ratings of every format -> logits of every format from every format -> ratings in 0..1 -> Pearson r, RMSE

An output is a variable of one format as another one (or itself) predicts it. Scores are means over the variables of a
format, then over the pairs of different formats that people rated. Ridge regression and k nearest neighbours on the
same ratings are the baseline, the better of the two by validation for each pair.

Buechel, Modersohn & Hahn 2023, arXiv:2308.07871 (seeds/002), section 3; r by variable and pair as they ask for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from raysys.batches.batch import Part
from raysys.corpus.folds import Fold
from raysys.corpus.formats import Format, equivalents
from raysys.corpus.table import Corpus, Utterance
from raysys.errors import ConfigError, CorpusError
from raysys.losses import LossConfig, make_objective
from raysys.losses.label_mapping import LabelMappingLoss
from raysys.losses.objective import Objective
from raysys.models.emotion_space import as_ratings
from raysys.predictions import Predictions
from raysys.similarity.prior import FoldPrior
from raysys.tasks.exhibits import Bars, Exhibit, File, Points
from raysys.tasks.label_mapping_summary import (
    BASELINES,
    METRICS,
    NEIGHBOURS,
    LabelMappingSummary,
    score_ratings,
)
from raysys.tasks.rated import (
    WITHOUT_CLASSES,
    RatedTargets,
    RatedTask,
    columns_of,
    format_strata,
    known_formats,
    space_of,
)
from raysys.tasks.task import Metric, Scores

_ALPHAS = tuple(10.0**k for k in range(-3, 4))
_SMALLEST_STD = 1e-6
_FEWEST = 3
"""Items with which a correlation means anything."""


@dataclass(frozen=True)
class LabelMapping(RatedTask):
    """Between label formats."""

    outputs: tuple[str, ...]
    """SOURCE to TARGET.VARIABLE, target by target of the first source, then of the next."""
    formats: tuple[Format, ...]
    equivalent: tuple[tuple[str, ...], ...]

    name: ClassVar = "label_mapping"
    metrics: ClassVar = METRICS
    detail: ClassVar = Metric("pearson", "r by pair and variable", "number")
    main: ClassVar = "pearson"
    fixed: ClassVar[Mapping[str, Any]] = {
        **WITHOUT_CLASSES,
        "corpus.emotions": (),
        "corpus.targets": (),
        "loss.mu2": 0.0,
        "training.label_smoothing": 0.0,
        "training.mask_time": 0.0,
        "training.mask_dims": 0.0,
    }
    needs: ClassVar = {"corpus.ratings.tables": "two or more tables, as in configs/labels/"}
    reads_formats: ClassVar = True
    shows_model: ClassVar = True
    stored: ClassVar = ("values", "targets")
    baseline_name: ClassVar = f"ridge or kNN ({NEIGHBOURS})"
    caption: ClassVar = "(mean over variables, then over pairs of formats that people rated)"
    summary_type: ClassVar = LabelMappingSummary

    @classmethod
    def of(cls, corpus: Corpus) -> "LabelMapping":
        """Between the corpus' formats."""
        outputs = tuple(
            f"{source.name} to {target.name}.{variable}"
            for source in corpus.formats
            for target in corpus.formats
            for variable in target.variables
        )
        return cls(outputs, corpus.formats, corpus.equivalent)

    @staticmethod
    def check_names(names: tuple[str, ...]) -> None:
        """Two formats."""
        if len({name.partition(".")[0] for name in names}) < 2:
            raise CorpusError(
                "labels are mapped between two formats or more: add a table to corpus.ratings.tables"
            )

    @staticmethod
    def check_row(row: Utterance, names: tuple[str, ...], where: str) -> None:
        """The reader has checked it."""

    @staticmethod
    def check_rows(rows: Sequence[Utterance], names: tuple[str, ...], corpus: str) -> None:
        """Formats that share items with others."""
        rated = [{n.partition(".")[0] for n, v in (r.values or {}).items() if v == v} for r in rows]
        for name in dict.fromkeys(name.partition(".")[0] for name in names):
            shared = sum(name in one and len(one) > 1 for one in rated)
            if shared < _FEWEST:
                raise CorpusError(
                    f"{shared} items of corpus {corpus} are rated in {name} and in another format: nothing can be "
                    "learnt of it; leave its table out, or name its items as the others are"
                )

    def strata(self, corpus: Corpus) -> Int64[np.ndarray, " utterance"]:
        """Which formats an item is rated in."""
        return format_strata(corpus.ratings, self.formats)

    def check_folds(self, folds: Sequence[Fold], corpus: Corpus) -> None:
        """Items of every scored pair in every part."""
        known = known_formats(corpus.ratings, self.formats)
        if not self._scored():
            raise CorpusError(
                "no two formats were rated by people (all but one are 'generated'): nothing could be tested"
            )
        for source, target in self._scored():
            both = known[:, source] & known[:, target]
            for fold in folds:
                for part, rows in fold.parts().items():
                    if both[rows].sum() < _FEWEST:
                        names = f"{self.formats[source].name} and {self.formats[target].name}"
                        raise CorpusError(
                            f"the {part} part of fold {fold.index} has {both[rows].sum()} items rated in {names}, but "
                            f"needs {_FEWEST}: set fewer --folds.n_splits, or add items"
                        )

    def targets(self, corpus: Corpus) -> RatedTargets:
        """Ratings and strata."""
        return RatedTargets(corpus.ratings, self.strata(corpus))

    def teach(
        self, targets: RatedTargets, loss: LossConfig
    ) -> tuple[Float32[np.ndarray, "utterance output"], Int64[np.ndarray, " utterance"]]:
        """Every output's rating; NaN where an item is not rated in both of its formats."""
        known = known_formats(targets.ratings, self.formats)
        blocks = [
            np.where(known[:, source, None], targets.ratings, np.float32(np.nan))
            for source in range(len(self.formats))
        ]
        return np.concatenate(blocks, axis=1), targets.strata

    def fit(self, train: Part, prior: FoldPrior | None = None) -> dict[str, Tensor]:
        """Mean and deviation of the train part's numeric ratings, the same from whatever format they are predicted."""
        width, formats = sum(len(one.variables) for one in self.formats), len(self.formats)
        own = [k for k, (source, target, _) in enumerate(self._columns()) if source == target]
        assert len(own) == width
        values = train.targets[:, own]
        count = (~values.isnan()).sum(dim=0).clamp(min=1)
        mean = values.nansum(dim=0) / count
        std = ((values - mean).square().nansum(dim=0) / count).sqrt().clamp(min=_SMALLEST_STD)
        kinds = [one.kind == "numeric" for one in self.formats for _ in one.variables]
        numeric = torch.tensor(kinds, device=values.device)
        mean = torch.where(numeric, mean, torch.zeros_like(mean))
        std = torch.where(numeric, std, torch.ones_like(std))
        if prior is not None:  # what is frozen keeps its scale
            space = space_of(prior)
            kept = [one.name in space.taught for one in self.formats for _ in one.variables]
            frozen = torch.tensor(kept, device=values.device)
            mean = torch.where(frozen, space.mean.to(values.device), mean)
            std = torch.where(frozen, space.std.to(values.device), std)
        return {"mean": mean.repeat(formats), "std": std.repeat(formats)}

    def begin(self, model: nn.Module, prior: FoldPrior | None) -> None:
        """Take over the formats of a space that is there already, frozen."""
        if prior is None:
            return
        space = space_of(prior)
        for part in ("encoders", "decoders"):
            ours: Any = getattr(model, part)
            theirs: Any = getattr(space.network, part)
            for name in space.taught:
                ours[name].load_state_dict(theirs[name].state_dict())
                ours[name].requires_grad_(False)

    def knowing(self, priors: Sequence[FoldPrior] | None) -> "LabelMapping":
        """As it is, if the space has the same formats.

        Raises:
            ConfigError: it has others, or was trained on all of them.
        """
        if priors is not None:
            space = space_of(priors[0])
            names = [one.name for one in self.formats]
            if space.formats != self.formats or set(space.taught) == set(names):
                raise ConfigError(
                    f"loss.space has the formats {', '.join(o.name for o in space.formats)} and was trained on "
                    f"{', '.join(space.taught)}, but here are {', '.join(names)}: formats are added to a space of the "
                    "same tables that was learnt with --loss.left_out"
                )
        return self

    def objective(
        self,
        config: LossConfig,
        train: Part,
        fitted: Mapping[str, Tensor],
        *,
        prior: FoldPrior | None,
        label_smoothing: float,
    ) -> Objective:
        """Mapping, autoencoding, closeness and soft parameter sharing."""
        pairs = equivalents(self.formats, self._shared_names())
        main = LabelMappingLoss(config, self.formats, pairs, fitted["mean"], fitted["std"])
        return make_objective(config, main, torch.ones(1), validation=main.validation)

    def read(self, logits: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """Ratings in 0..1; of binary formats chances, of categorical ones a distribution."""
        numbers = logits * fitted["std"] + fitted["mean"]
        sizes = [len(one.variables) for one in self.formats] * len(self.formats)
        read = []
        for k, block in enumerate(numbers.split(sizes, dim=1)):
            read.append(as_ratings(self.formats[k % len(self.formats)].kind, block))
        return torch.cat(read, dim=1)

    def truth(self, part: Part) -> np.ndarray:
        """What every output should be; NaN where nobody knows."""
        values: np.ndarray = part.targets.cpu().numpy()
        return values

    def score(self, outputs: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """R and RMSE: mean over variables, then over the scored pairs."""
        found = [self._by_variable(pair, outputs, truth) for pair in self._scored()]
        return {
            name: float(np.mean([np.mean([v[name] for v in one.values()]) for one in found]))
            for name in ("pearson", "rmse")
        }

    def baseline(self, pooled: np.ndarray, targets: RatedTargets, fold: Fold) -> dict[str, float]:
        """The scores of the better baseline of each pair by its r on val, and `ridge/PAIR`, `knn/PAIR`: r on test."""
        scores: dict[str, float] = {}
        chosen, places = [], columns_of(self.formats)
        for source, target in self._scored():
            ours, theirs = (targets.ratings[:, places[k]] for k in (source, target))
            both = ~np.isnan(ours).any(axis=1) & ~np.isnan(theirs).any(axis=1)
            parts = {part: rows[both[rows]] for part, rows in fold.parts().items()}
            pair = self._pair(source, target)
            baselines = {}
            for name, model in _rivals(len(parts["train"])).items():
                model.fit(ours[parts["train"]], theirs[parts["train"]])
                val, test = (
                    score_ratings(model.predict(ours[parts[p]]), theirs[parts[p]])
                    for p in ("val", "test")
                )
                scores[f"{name}/{pair}"] = test["pearson"]
                baselines[val["pearson"]] = test
            chosen.append(baselines[max(baselines)])
        means = {n: float(np.mean([one[n] for one in chosen])) for n in ("pearson", "rmse")}
        return {**means, **scores}

    def summary(
        self,
        predictions: Sequence[Predictions],
        speakers: Sequence[str],
        aggregate: Any,
        baseline: Sequence[Scores] = (),
        *,
        targets: Any = None,
        rows: Int64[np.ndarray, " row"] | None = None,
    ) -> LabelMappingSummary:
        """Correlations by pair and variable."""
        pairs: dict[str, dict[str, dict[str, int | float]]] = {}
        for source, target in self._scored():
            found = [
                self._by_variable((source, target), one.outputs, one.truth) for one in predictions
            ]
            by_variable = {
                name: {
                    "pearson": float(np.mean([one[name]["pearson"] for one in found])),
                    "rmse": float(np.mean([one[name]["rmse"] for one in found])),
                    "items": int(sum(one[name]["items"] for one in found)),
                }
                for name in self.formats[target].variables
            }
            pairs[self._pair(source, target)] = by_variable
        baselines = {
            pair: {
                name: float(np.mean([fold[f"{name}/{pair}"] for fold in baseline]))
                if baseline
                else None
                for name in BASELINES
            }
            for pair in pairs
        }
        return LabelMappingSummary(pairs, baselines)

    def show_summary(
        self, summary: LabelMappingSummary, predictions: Sequence[Predictions], corpus: str
    ) -> list[Exhibit]:
        """R by variable of every pair."""
        groups = {
            f"r, {pair}": {n: (float(one["pearson"]), int(one["items"])) for n, one in rows.items()}
            for pair, rows in summary.pairs.items()
        }
        title = f"{corpus}: held-out correlation by variable"
        return [
            Bars("by_variable.png", title, groups, "correlation"),
            File("by_variable.json", summary.pairs),
        ]

    def show_model(self, model: nn.Module) -> list[Exhibit]:
        """All variables of all formats in the emotion space."""
        decoders: Any = model.decoders
        weights = {name: one.weight.detach().cpu().numpy() for name, one in decoders.items()}
        title = "Variables of all formats in the emotion space (first two principal components)"
        names = {one.name: one.variables for one in self.formats}
        return [show_variables("emotion_space.png", title, weights, names)]

    def _shared_names(self) -> list[tuple[str, ...]]:
        """Equivalence classes, with the names that there are."""
        known = {name for one in self.formats for name in one.variables}
        there = [tuple(n for n in names if n in known) for names in self.equivalent]
        return [names for names in there if len(names) > 1]

    def _scored(self) -> list[tuple[int, int]]:
        """Pairs of different formats that people rated."""
        human = [k for k, one in enumerate(self.formats) if not one.generated]
        return [(a, b) for a in human for b in human if a != b]

    def _pair(self, source: int, target: int) -> str:
        return f"{self.formats[source].name} to {self.formats[target].name}"

    def _columns(self) -> list[tuple[int, int, int]]:
        """Source, target and variable of every output."""
        count = range(len(self.formats))
        return [
            (s, t, v) for s in count for t in count for v in range(len(self.formats[t].variables))
        ]

    def _by_variable(
        self, pair: tuple[int, int], outputs: np.ndarray, truth: np.ndarray
    ) -> dict[str, dict[str, float]]:
        """Variable of the target -> r, RMSE and items, of those that are rated in both."""
        own = [k for k, (s, t, _) in enumerate(self._columns()) if (s, t) == pair]
        rows = ~np.isnan(truth[:, own]).any(axis=1)
        ours, theirs = outputs[np.ix_(rows, own)], truth[np.ix_(rows, own)]
        names = self.formats[pair[1]].variables
        return {
            name: {**score_ratings(ours[:, [k]], theirs[:, [k]]), "items": int(rows.sum())}
            for k, name in enumerate(names)
        }


def show_variables(
    path: str,
    title: str,
    weights: Mapping[str, np.ndarray],
    names: Mapping[str, Sequence[str]],
) -> Points:
    """Weight vectors of decoders on their first two principal components, each of length 1 before.

    Args:
        path: of the picture.
        title: of the picture.
        weights: format -> [variable, dim].
        names: format -> variables.
    """
    vectors = np.concatenate(list(weights.values())).astype(np.float64)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    centred = unit - unit.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    places = iter((centred @ axes[:2].T).tolist())
    groups = {name: {one: tuple(next(places)) for one in names[name]} for name in weights}
    return Points(path, title, groups)


def _rivals(items: int) -> dict[str, Any]:
    from sklearn.linear_model import RidgeCV  # a second, which workers are spared
    from sklearn.neighbors import KNeighborsRegressor

    neighbours = min(NEIGHBOURS, items)
    return {"ridge": RidgeCV(_ALPHAS), "knn": KNeighborsRegressor(neighbours)}
