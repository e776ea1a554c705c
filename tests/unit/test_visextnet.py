"""Video encoders: frames of films, faces of frames, and what a ResNet makes of them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.transforms import functional

from raysys.corpus.table import Utterance
from raysys.encoders import FeaturesConfig
from raysys.encoders.extraction import encode_rows
from raysys.encoders.faces import Box, FaceDetector, cut
from raysys.encoders.film import read_frames
from raysys.encoders.frames import FramesConfig
from raysys.encoders.visextnet import VisextnetConfig, spread
from raysys.errors import FeatureError
from tests.films import NO_FACE, ONE_FACE, TWO_FACES, small_resnet, write_film


def grey(level: int) -> np.ndarray:
    return np.full((64, 64, 3), level, dtype=np.uint8)


def levels(frames: list[np.ndarray]) -> list[int]:
    return [round(float(frame.mean()) / 10) for frame in frames]


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """20 frames at 10 a second; frame k is of grey 10 k."""
    return write_film(tmp_path / "ramp.mp4", [grey(10 * k) for k in range(20)])


def test_frames_are_taken_from_the_middles_of_equal_parts(ramp: Path):
    row = Utterance("u", video="ramp.mp4")
    assert levels(read_frames(row, ramp, 20)) == list(range(20))
    assert levels(read_frames(row, ramp, 4)) == [2, 7, 12, 17]
    assert levels(read_frames(row, ramp, 1)) == [10]


def test_a_short_film_gives_all_its_frames_once(ramp: Path):
    assert levels(read_frames(Utterance("u"), ramp, 50)) == list(range(20))


def test_frames_are_those_of_the_stretch(ramp: Path):
    row = Utterance("u", start=0.5, end=0.9)
    assert levels(read_frames(row, ramp, 20)) == [5, 6, 7, 8, 9]
    with pytest.raises(FeatureError, match="shows nothing between 5 and 6 s"):
        read_frames(Utterance("u", start=5.0, end=6.0), ramp, 3)


@pytest.mark.parametrize("content", [b"", b"no film at all" * 100])
def test_a_film_that_cannot_be_decoded_is_named(content: bytes, tmp_path: Path):
    file = tmp_path / "broken.mp4"
    file.write_bytes(content)
    with pytest.raises(FeatureError, match=r"cannot decode film .*broken.mp4"):
        read_frames(Utterance("u"), file, 3)


def test_real_faces_are_found_and_a_cat_is_none():
    detector = FaceDetector()
    (face,) = detector.find(ONE_FACE, least=0.8)
    assert 110 < face.left < 125  # measured by eye: the face begins about 115 from the left
    assert 55 < face.top < 75
    assert len(detector.find(TWO_FACES, least=0.8)) == 2
    assert detector.find(NO_FACE, least=0.8) == []
    assert detector.find(grey(0)[:4, :4], least=0.1) == []


def test_a_face_is_found_where_it_is_in_a_picture_that_is_made_smaller():
    large = np.tile(NO_FACE, (6, 6, 1))  # 1,536 x 2,304
    large[300:556, 800:1184] = ONE_FACE
    (face,) = FaceDetector().find(large, least=0.8)
    (own,) = FaceDetector().find(ONE_FACE, least=0.8)
    assert face.left == pytest.approx(800 + own.left, abs=8)
    assert face.top == pytest.approx(300 + own.top, abs=8)


def test_a_cut_keeps_its_margin_within_the_picture():
    picture = np.arange(100 * 100 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 100, 3)
    np.testing.assert_array_equal(
        cut(picture, Box(40.0, 30.0, 10.0, 20.0, 1.0), margin=0.5), picture[20:60, 25:65]
    )
    assert cut(picture, Box(-5.0, -5.0, 20.0, 20.0, 1.0), margin=0.0).shape == (15, 15, 3)
    assert cut(picture, Box(200.0, 200.0, 5.0, 5.0, 1.0), margin=0.0).size


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Utterance], Path]:
    """No face, one, two, and one that leaves."""
    root = tmp_path_factory.mktemp("films")
    empty = np.concatenate([NO_FACE, NO_FACE], axis=1)
    made = {
        "none": [NO_FACE] * 4,
        "one": [ONE_FACE] * 4,
        "two": [TWO_FACES] * 4,
        "leaves": [TWO_FACES] * 2 + [empty] * 2,
    }
    for name, frames in made.items():
        write_film(root / f"{name}.mp4", frames)
    return [Utterance(name, label="joy", video=f"{name}.mp4") for name in made], root


def encoded(config: Any, rows: list[Utterance], root: Path) -> list[np.ndarray]:
    return encode_rows(config.build("video"), rows, root)


def test_visextnet_averages_faces_over_faces_and_frames(films):
    rows, root = films
    config = VisextnetConfig(weights=small_resnet(), frames=4)
    none, one, two, leaves = encoded(config, rows, root)
    assert none.shape == one.shape == (1, 1000)
    assert not none.any()
    assert one.any()
    # the same face, whether alone, twice, or in half of the frames; films are compressed
    scale = float(np.abs(one).max())
    np.testing.assert_allclose(two, leaves, atol=0.05 * scale)
    (finding,) = config.seen([none, one, two, leaves], [])
    assert finding.message == "1 of 4 utterances show no face: their video features are zeros"
    assert config.seen([one, two], []) == []


def test_a_pictures_values_are_those_of_torchvision(films):
    rows, root = films
    picture = read_frames(rows[1], root / "one.mp4", 1)[0]
    network = ResNet(Bottleneck, [1, 1, 1, 1])
    weights = safetensors.torch.load_file(Path(small_resnet()) / "model.safetensors")
    network.load_state_dict(weights)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    resized = functional.resize(pixels, [224, 224], antialias=True)
    normal = functional.normalize(resized, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = network.eval()(normal)
    (ours,) = encoded(FramesConfig(weights=small_resnet(), frames=1), [rows[1]], root)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4)


def test_whole_frames_see_what_faces_leave_out(films):
    rows, root = films
    config = FramesConfig(weights=small_resnet(), frames=2)
    assert all(frames.any() for frames in encoded(config, rows, root))


def test_weights_that_do_not_fit_are_refused_with_the_remedy(tmp_path: Path, films):
    rows, root = films
    with pytest.raises(FeatureError, match=r"weights '' .*give a safetensors file"):
        VisextnetConfig().build("video")
    narrow = VisextnetConfig(weights=small_resnet(7)).build("video")
    with pytest.raises(FeatureError, match="its last layer gives 7 values instead of 1000"):
        encode_rows(narrow, rows[1:2], root)
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    broken = FramesConfig(weights=str(tmp_path / "w.safetensors")).build("video")
    with pytest.raises(FeatureError, match=r"cannot load features.frames.weights"):
        encode_rows(broken, rows[1:2], root)


def test_a_film_as_precomputed_features_is_refused_with_the_remedy(films):
    rows, root = films
    encoder = FeaturesConfig().build("video")
    with pytest.raises(FeatureError, match=r"is a film: set --features.video visextnet"):
        encode_rows(encoder, rows, root)


def test_frames_with_faces_alone_are_chosen_from():
    assert spread([3, 4, 9], 20) == [3, 4, 9]
    assert spread(list(range(100, 147)), 20) == list(range(100, 140, 2))  # every (47 div 20)-th


def test_faces_are_looked_for_in_every_frame(films, tmp_path: Path):
    """A face that shows in 2 of 40 frames is found, and the frames without it count nothing."""
    rows, root = films
    write_film(tmp_path / "rare.mp4", [NO_FACE] * 19 + [ONE_FACE] * 2 + [NO_FACE] * 19)
    config = VisextnetConfig(weights=small_resnet(), frames=2)
    (rare,) = encoded(config, [Utterance("rare", video="rare.mp4")], tmp_path)
    (always,) = encoded(config, [rows[1]], root)
    scale = float(np.abs(always).max())
    np.testing.assert_allclose(rare, always, atol=0.05 * scale)


def test_weights_by_the_names_of_the_authors_code_give_their_values(tmp_path: Path, films):
    """features_4_0_conv1 and the like are torchvision's layer1.0.conv1; pixels are scaled as theirs."""
    rows, root = films
    tensors = safetensors.torch.load_file(Path(small_resnet()) / "model.safetensors")
    theirs = {}
    for name, values in tensors.items():
        own = name.replace("downsample.", "downsample_")
        own = re.sub(r"^layer(\d)\.(\d+)\.", lambda m: f"features_{int(m[1]) + 3}_{m[2]}_", own)
        own = re.sub(r"^conv1\.", "features_0.", re.sub(r"^bn1\.", "features_1.", own))
        theirs[re.sub(r"^fc\.", "classifier_0.", own)] = values
    assert "features_4_0_downsample_1.running_mean" in theirs
    safetensors.torch.save_file(theirs, tmp_path / "theirs.safetensors")
    config = FramesConfig(weights=str(tmp_path / "theirs.safetensors"), frames=1)
    (ours,) = encoded(config, [rows[1]], root)
    network = ResNet(Bottleneck, [1, 1, 1, 1])
    network.load_state_dict(tensors)
    picture = read_frames(rows[1], root / "one.mp4", 1)[0]
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    scaled = (functional.resize(pixels, [224, 224], antialias=True) - 127.5) / 128
    with torch.no_grad():
        expected = network.eval()(scaled)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-3)
