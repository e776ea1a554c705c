"""Learning curves: which part of a train part is trained on."""

from dataclasses import replace

import numpy as np
import pytest

from raysys.config import Config
from raysys.config.training import TrainingConfig
from raysys.corpus.folds import Fold
from raysys.errors import ConfigError
from raysys.training.share import share_of

LABELS = np.repeat([0, 1, 2], [60, 30, 10])
SPEAKERS = np.tile(np.arange(10), 10)
DIALOGUES = np.arange(100) // 4
PLACES = np.stack([DIALOGUES, np.arange(100) % 4, SPEAKERS], axis=1).astype(np.int64)
FOLD = Fold(0, train=np.arange(0, 100, 1), val=np.arange(0), test=np.arange(0))


def shared(share: float, kind: str = "utterances", *, seed: int = 0, fold: Fold = FOLD) -> Fold:
    config = Config(seed=seed, training=TrainingConfig(share=share, share_of=kind))
    return share_of(fold, config, strata=LABELS, places=PLACES)


def test_all_is_all():
    assert shared(1.0) is FOLD


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_utterances_are_drawn_within_classes_at_least_one_of_each(share: float):
    kept = shared(share).train
    counts = np.bincount(LABELS[kept], minlength=3)
    assert counts.tolist() == [max(1, round(share * n)) for n in (60, 30, 10)]
    assert np.all(np.diff(kept) > 0)


@pytest.mark.parametrize("kind, column", [("speakers", 2), ("dialogues", 0)])
def test_speakers_and_dialogues_come_whole(kind: str, column: int):
    kept = shared(0.4, kind).train
    units = np.unique(PLACES[kept, column])
    assert len(units) == round(0.4 * len(np.unique(PLACES[:, column])))
    assert set(kept) == set(np.flatnonzero(np.isin(PLACES[:, column], units)))
    assert len(np.unique(PLACES[shared(0.001, kind).train, column])) == 1


@pytest.mark.parametrize("kind", ["utterances", "dialogues", "speakers"])
def test_a_smaller_share_is_part_of_a_larger_one_and_other_seeds_draw_others(kind: str):
    small, large = (set(shared(share, kind).train) for share in (0.2, 0.6))
    assert small < large
    assert set(shared(0.2, kind, seed=1).train) != small
    assert set(shared(0.2, kind, fold=replace(FOLD, index=1)).train) != small


def test_val_and_test_stay_and_nothing_comes_from_them():
    fold = Fold(0, np.arange(50), np.arange(50, 70), np.arange(70, 100))
    found = shared(0.5, "speakers", fold=fold)
    assert found.val is fold.val
    assert found.test is fold.test
    assert set(found.train) < set(range(50))


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_out_of_range_is_refused(share: float):
    with pytest.raises(ConfigError, match=r"training.share is .*, but must be in \(0, 1\]"):
        TrainingConfig(share=share)
