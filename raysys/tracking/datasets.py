"""What MLflow shows of a corpus as a dataset: its columns, and how much of what is in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from raysys.corpus.table import Corpus, Utterance

_TYPES = {"turn": "long", "start": "double", "end": "double"}
_LEFT_OUT = ("votes", "values", "metadata")
_MOST = 30
"""Labels that are counted by name."""


@dataclass(frozen=True)
class Profile:
    """A dataset's schema and profile, as MLflow keeps them: JSON."""

    schema: dict[str, Any]
    profile: dict[str, Any]


def profile_of(corpus: Corpus, rows: np.ndarray | None = None) -> Profile:
    """Columns that hold something, with MLflow's types; utterances, speakers, dialogues, and utterances by label.

    Args:
        corpus: checked.
        rows: of a part; None: all.
    """
    every = corpus.utterances
    own: Sequence[Utterance] = every if rows is None else [every[k] for k in rows.tolist()]
    names = [item.name for item in fields(Utterance) if item.name not in _LEFT_OUT]
    filled = [name for name in names if any(getattr(row, name) not in ("", None) for row in own)]
    columns = [
        {"name": name, "type": _TYPES.get(name, "string"), "required": True} for name in filled
    ]
    columns += [{"name": name, "type": "double", "required": False} for name in corpus.targets]
    profile: dict[str, Any] = {"num_rows": len(own)}
    for name in ("speaker", "dialogue_id"):
        count = len({getattr(row, name) for row in own} - {""})
        if count:
            profile[f"num_{name.removesuffix('_id')}s"] = count
    labels = Counter(row.label for row in own if row.label)
    profile |= {f"label {name}": count for name, count in labels.most_common(_MOST)}
    return Profile({"mlflow_colspec": columns}, profile)
