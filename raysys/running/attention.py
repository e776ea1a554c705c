"""What a model of a finished trial looked at in test utterances, as heat maps of text tokens and audio time.

opened test predictions -> the most certain right and wrong ones of each emotion -> bundles of their folds -> maps
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from raysys.config import Config
from raysys.corpus.audio import read_audio
from raysys.corpus.folds import FoldKey
from raysys.corpus.table import Utterance
from raysys.errors import CorpusError
from raysys.predictions import Predictions
from raysys.running.plan import Plan
from raysys.storage import Folder
from raysys.tasks.exhibits import Attention, Exhibit, File
from raysys.training.arithmetic import settled
from raysys.training.attention import Maps, attention_maps
from raysys.training.bundle import load_bundle, unlabelled_part
from raysys.training.records import FoldResult

_TITLE_LETTERS = 60


@dataclass(frozen=True)
class Chosen:
    """A test utterance that is looked at."""

    utterance: str
    fold: int
    emotion: str
    predicted: str
    certainty: float
    """Probability of what was predicted."""
    row: int
    """In the corpus."""

    @property
    def is_right(self) -> bool:
        """Whether the prediction is."""
        return self.emotion == self.predicted


def show_attention(
    plan: Plan, config: Config, folds: Sequence[FoldResult], opened: Mapping[FoldKey, Predictions]
) -> list[Exhibit]:
    """Heat maps of `tracking.attention` utterances of each emotion, right and wrong; nothing where it is 0.

    Args:
        plan: of the command.
        config: of the trial, whose models attend between modalities.
        folds: of the trial; those of its first seed are looked at.
        opened: test predictions of every fold.
    """
    if not config.tracking.attention:
        return []
    first = min(fold.seed for fold in folds)
    chosen = choose(
        plan, {k: one for k, one in opened.items() if k[0] == first}, config.tracking.attention
    )
    shown: list[Exhibit] = [File("attention/utterances.json", [asdict(one) for one in chosen])]
    reads_text = "text" in config.model.modalities
    names = config.features.build("text").names if reads_text else _no_names
    for fold in [one for one in folds if one.seed == first]:
        own = [one for one in chosen if one.fold == fold.fold]
        if own:
            maps = _maps(plan, fold, [one.row for one in own])
            for one, found in zip(own, maps, strict=True):
                shown += _exhibits(plan, names, one, found)
    return shown


def _maps(plan: Plan, fold: FoldResult, rows: Sequence[int]) -> list[Maps]:
    bundle = load_bundle(Folder(fold.folder))
    part = unlabelled_part(bundle, plan.data.features, rows=np.array(rows), places=plan.data.places)
    with settled(bundle.config):
        return attention_maps(bundle, part)


def choose(plan: Plan, opened: Mapping[FoldKey, Predictions], most: int) -> list[Chosen]:
    """The most certain right and wrong utterances of each emotion, over all folds; equal ones by their names.

    Args:
        plan: of the command, whose task is classification.
        opened: seed and fold -> test predictions, of one seed.
        most: of each emotion, right and wrong.
    """
    every = [one for key, part in opened.items() for one in _judged(plan, key[1], part)]
    every.sort(key=lambda one: (-one.certainty, one.utterance))
    return [
        one
        for emotion in plan.task.outputs
        for right in (True, False)
        for one in [o for o in every if o.emotion == emotion and o.is_right == right][:most]
    ]


def _judged(plan: Plan, fold: int, part: Predictions) -> Iterator[Chosen]:
    names = plan.task.outputs
    for place, row in enumerate(plan.folds[fold].test):
        best = int(part.outputs[place].argmax())
        yield Chosen(
            plan.corpus.utterances[row].utterance_id,
            fold,
            names[int(part.truth[place])],
            names[best],
            float(part.outputs[place, best]),
            int(row),
        )


def _exhibits(
    plan: Plan, names: Callable[[Utterance], list[str]], one: Chosen, maps: Maps
) -> Iterator[Attention]:
    """A picture for text, or the first modality, and each other one."""
    modalities = sorted({m for pair in maps for m in pair})
    down = "text" if "text" in modalities else modalities[0]
    utterance = plan.corpus.utterances[one.row]
    known = names(utterance) if down == "text" else []
    title = f"{one.utterance}, {one.emotion}, predicted {one.predicted} ({one.certainty:.2f})"
    if utterance.text:
        title += f": {utterance.text[:_TITLE_LETTERS]}"
    kind = "right" if one.is_right else "wrong"
    folder, name = (re.sub(r"[^\w\-.]", "_", said) for said in (one.emotion, one.utterance))
    for across in [m for m in modalities if m != down]:
        panels = {
            f"{query} looks at {queried}": weights if query == down else weights.T
            for (query, queried), weights in maps.items()
            if {query, queried} == {down, across}
        }
        count = len(next(iter(panels.values())))
        yield Attention(
            f"attention/{folder}/{kind}_{name}_{across}.png",
            title,
            known if len(known) == count else [str(k) for k in range(1, count + 1)],
            across,
            _seconds(plan, utterance) if across == "audio" else None,
            panels,
        )


def _no_names(utterance: Utterance) -> list[str]:
    return []


def _seconds(plan: Plan, utterance: Utterance) -> float | None:
    """Length of the utterance's audio, where there is a file of it."""
    if not utterance.audio:
        return None
    try:
        path = plan.corpus.root / utterance.audio
        samples, rate = read_audio(utterance, path, utterance.utterance_id)
    except CorpusError:
        return None
    return len(samples) / rate
