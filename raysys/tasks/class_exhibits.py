"""What a classification shows: matrices, confusions, reliability, bars, and what was added to the train parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysys.balance.plan import BalancePlan
from raysys.corpus.folds import Fold
from raysys.corpus.table import Corpus
from raysys.similarity.annotators import Annotators
from raysys.similarity.prior import Origin, similarity_record
from raysys.similarity.summary import SimilaritySummary
from raysys.tasks.calibration import Calibration
from raysys.tasks.classification_summary import ClassificationSummary
from raysys.tasks.exhibits import (
    Bars,
    Confusions,
    Exhibit,
    File,
    HeatMap,
    PairCounts,
    Reliability,
    Tree,
    npy,
)


def balance_exhibits(
    emotions: Sequence[str], plans: Sequence[BalancePlan], folds: Sequence[Fold], corpus: Corpus
) -> list[Exhibit]:
    """Who is mixed with whom (CSV), and counts before and after.

    Args:
        emotions: the classes.
        plans: fold by fold.
        folds: of the corpus.
        corpus: its utterances.
    """
    rows = ["fold,major_emotion,minor_emotion,major_utterance,minor_utterance,p"]
    for fold, plan in zip(folds, plans, strict=True):
        for major, minor, share in zip(plan.major, plan.minor, plan.share, strict=True):
            pair = [corpus.utterances[fold.train[row]] for row in (major, minor)]
            names = [row.label for row in pair] + [row.utterance_id for row in pair]
            rows.append(",".join([str(fold.index), *names, f"{share:g}"]))
    counts = [{"before": plan.before.tolist(), "after": plan.after.tolist()} for plan in plans]
    title = f"{corpus.name}: utterances in a train part, mean of {len(plans)} folds"
    before = np.mean([plan.before for plan in plans], axis=0)
    after = np.mean([plan.after for plan in plans], axis=0)
    return [
        File("balance/plan.csv", ("\n".join(rows) + "\n").encode()),
        File("balance/counts.json", {"emotions": list(corpus.emotions), "folds": counts}),
        PairCounts("balance/counts.png", title, emotions, before, after),
    ]


def matrix_exhibits(
    emotions: tuple[str, ...], aggregate: SimilaritySummary, origin: Origin
) -> list[Exhibit]:
    """The similarity matrices: JSON, NPY, heat map, dendrogram.

    Args:
        emotions: the classes.
        aggregate: the matrices.
        origin: what they rest on.
    """
    arrays = ("average", "unbiased", "per_fold", "low", "high")
    return [
        File("similarity/average.json", similarity_record(aggregate, emotions, origin)),
        *(npy(f"similarity/{name}.npy", getattr(aggregate, name)) for name in arrays),
        *matrix_pictures(emotions, {**vars(aggregate)}, origin.corpus),
    ]


def matrix_pictures(
    emotions: Sequence[str], found: Mapping[str, Any], corpus: str
) -> list[HeatMap | Tree]:
    """Heat map and dendrogram.

    Args:
        emotions: the classes.
        found: average, low, high, per_fold and over, as of a `SimilaritySummary` or of what results hold of it.
        corpus: its name.
    """
    average, low, high = (np.array(found[name], dtype=float) for name in ("average", "low", "high"))
    folds = len(found["per_fold"])
    title = f"{corpus}: class similarity, mean of {folds} folds, intervals over {found['over']}"
    return [
        HeatMap("similarity/heat_map.png", title, emotions, average, low, high),
        Tree("similarity/dendrogram.png", f"{corpus}: emotions", emotions, average),
    ]


def summary_exhibits(summary: ClassificationSummary, corpus: str) -> list[Exhibit]:
    """Confusions, reliability, and scores by emotion and speaker.

    Args:
        summary: of opened test predictions.
        corpus: its name.
    """
    title = f"{corpus}: test predictions of all folds"
    groups = {
        "F1 by emotion in %": _bars(summary.per_class, "f1"),
        "weighted F1 by speaker in %": _bars(summary.speakers, "weighted_f1"),
    }
    counts = np.array(summary.confusion)
    return [
        Confusions("confusion/test.png", title, summary.emotions, counts),
        File("confusion/test.json", {"emotions": summary.emotions, "test": summary.confusion}),
        File("by_emotion.json", summary.per_class),
        File("by_speaker.json", summary.speakers),
        Bars("by_emotion_and_speaker.png", title, groups, "percent"),
        *([_reliability(summary.calibration, corpus)] if summary.calibration else []),
        *(_annotators(summary.people, corpus) if summary.people else []),
    ]


def _annotators(found: Annotators, corpus: str) -> list[Exhibit]:
    title = f"{corpus}: annotators of the test utterances, alpha {found.alpha:.3f}"
    counts = np.array(found.pairs)
    said = ("what one says", "what another says")
    return [
        Confusions("confusion/annotators.png", title, found.names, counts, *said),
        File("confusion/annotators.json", {**vars(found)}),
    ]


def _reliability(found: Calibration, corpus: str) -> Reliability:
    told = (
        f"ECE {100 * found.ece:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]\n"
        f"Brier {found.brier:.3f}, NLL {found.nll:.3f}"
    )
    bins = [(b.low, b.high, b.utterances, b.confidence, b.accuracy) for b in found.bins]
    title = f"{corpus}: reliability, test predictions of all folds"
    return Reliability("calibration/reliability.png", title, bins, told)


def _bars(rows: Mapping[str, Mapping[str, float]], score: str) -> dict[str, tuple[float, int]]:
    return {name: (100 * row[score], int(row["utterances"])) for name, row in rows.items()}
