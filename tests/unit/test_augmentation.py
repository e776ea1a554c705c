"""Changed copies of what is heard: each change does what it says, and only train parts get any."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.batches.normalise import BySpeaker
from raysys.config import Config
from raysys.corpus.table import Utterance
from raysys.encoders import FeaturesConfig
from raysys.encoders.augmentation import (
    AugmentConfig,
    Noise,
    at_speed,
    in_room,
    shifted,
    through_codec,
    with_noise,
)
from raysys.encoders.extraction import encode_rows
from raysys.encoders.precomputed import PrecomputedConfig
from raysys.errors import ConfigError, FeatureError
from raysys.running.plan import make_plan
from raysys.training.fold import run_fold
from raysys.training.parts import Parts
from raysys.training.records import FoldTask
from tests.here import tiny

RATE = 16000
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)


def loudest_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_is_as_loud_as_it_says(snr_db: float):
    noise = with_noise(TONE, snr_db, np.random.default_rng(0)) - TONE
    ratio = 10 * np.log10(np.mean(TONE**2) / np.mean(noise**2))
    assert ratio == pytest.approx(snr_db, abs=0.01)


def test_speed_changes_length_and_pitch():
    fast = at_speed(TONE, RATE, 1.1)
    assert len(fast) == pytest.approx(len(TONE) / 1.1, abs=2)
    assert loudest_hz(fast) == pytest.approx(484, abs=2)
    assert at_speed(TONE, RATE, 1.0) is TONE


def test_a_shift_changes_pitch_alone():
    up = shifted(TONE, RATE, 12.0)
    assert len(up) == len(TONE)
    assert loudest_hz(up) == pytest.approx(880, abs=5)


def test_a_room_keeps_length_and_power_and_adds_a_tail():
    click = np.zeros(RATE, dtype=np.float32)
    click[100] = 1
    heard = in_room(click, RATE, 0.3, np.random.default_rng(0))
    assert len(heard) == len(click)
    assert np.mean(heard**2) == pytest.approx(np.mean(click**2), rel=1e-4)
    assert np.abs(heard[:100]).max() < 1e-6
    early, late = (float(np.mean(heard[a : a + 800] ** 2)) for a in (101, 101 + 3200))
    assert 10 * np.log10(early / late) == pytest.approx(40, abs=3)


@pytest.mark.parametrize("codec", ["mp3", "vorbis", "ulaw"])
def test_a_codec_changes_samples_and_keeps_their_places(codec: str):
    coded = through_codec(TONE, RATE, codec)
    assert coded.shape == TONE.shape
    assert 0.99 < np.corrcoef(coded, TONE)[0, 1] < 1
    assert loudest_hz(coded) == pytest.approx(440, abs=1)


def test_a_copy_is_the_same_on_every_machine_and_another_for_each_utterance(tmp_path: Path):
    soundfile.write(tmp_path / "tone.wav", TONE, RATE)
    rows = [Utterance(name, audio="tone.wav") for name in ("a", "b")]
    features = FeaturesConfig()
    augment = AugmentConfig(copies=1, kinds=("noise",))

    def encoded(copy: int) -> list[np.ndarray]:
        encoder = features.build("audio", change=augment, copy=copy)
        return encode_rows(encoder, rows, tmp_path)

    first, again, other = encoded(1), encoded(1), encoded(2)
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])
    prints = [features.build("audio", change=augment, copy=k).fingerprint() for k in (1, 2)]
    assert prints[0] != prints[1]
    more = replace(augment, copies=5)
    assert features.build("audio", change=more).fingerprint() == prints[0]


@pytest.mark.parametrize("normalise", ["train", "speaker"])
def test_train_parts_alone_get_copies(normalise: str, small: Config):
    augment = AugmentConfig(copies=2, kinds=("noise", "speed"))
    features = replace(small.features, normalise=normalise)
    plain = make_plan(replace(small, features=features))
    plan = make_plan(replace(small, features=replace(features, augment=augment)))
    assert plan.identity != plain.identity
    assert [one.kind for one in plan.audit if one.kind == "augmentation"] == ["augmentation"]
    fold = plan.folds[0]
    part, own = (Parts.of(one.config, one.data, fold, "cpu") for one in (plan, plain))
    train = part.train(fold)
    assert len(train) == 3 * len(fold.train) == 3 * len(own.train(fold))
    count = len(fold.train)
    for modality in ("audio", "text"):
        kept = train.offsets[modality][count]
        assert (train.frames[modality][:kept] == own.train(fold).frames[modality]).all()
    heard = [train.batch(train.labels.new_tensor([k])).modalities for k in (0, count, 2 * count)]
    assert all((heard[0]["text"].frames == one["text"].frames).all() for one in heard)
    shapes = {tuple(one["audio"].frames.shape) for one in heard}
    sums = {float(one["audio"].frames.sum()) for one in heard}
    assert len(sums) == 3 or len(shapes) > 1
    assert train.labels.view(3, count).unique(dim=0).shape[0] == 1
    for rows in (fold.val, fold.test):
        assert (part(rows).frames["audio"] == own(rows).frames["audio"]).all()
    if normalise == "speaker":
        assert all(isinstance(one, BySpeaker) for one in plan.data.copies)


def test_a_fold_with_copies_is_repeatable_and_another_one(small: Config, tmp_path: Path):
    found = []
    for name, copies in (("one", 1), ("two", 1), ("none", 0)):
        features = replace(small.features, augment=AugmentConfig(copies=copies))
        plan = make_plan(replace(tiny(small), features=features))
        task = FoldTask(name, 0, plan.config, str(tmp_path / name))
        found.append(run_fold(task, plan.data, lambda record: True).history)
    first, second, plain = ([one.train_loss for one in history] for history in found)
    assert first == second
    assert first != plain


def test_what_cannot_be_changed_is_refused(small: Config, tmp_path: Path):
    augment = AugmentConfig(copies=1)
    with pytest.raises(ConfigError, match=r"features\.augment\.snr_db"):
        AugmentConfig(snr_db=(20.0, 5.0))
    with pytest.raises(ConfigError, match=r"features\.augment\.kinds"):
        AugmentConfig(kinds=())
    text = replace(small.model, modalities=("text",))
    deaf = replace(small, model=text, features=replace(small.features, augment=augment))
    with pytest.raises(ConfigError, match="which the model does not read"):
        make_plan(deaf)
    np.savez(tmp_path / "f.npz", u=np.zeros((2, 3)))
    stored = FeaturesConfig(
        audio="precomputed", precomputed=PrecomputedConfig(audio=str(tmp_path / "f.npz"))
    )
    with pytest.raises(FeatureError, match="set --features.audio to an encoder that hears them"):
        stored.build("audio", change=Noise(10.0))
