"""Pictures: how files become pixels, and what vision models make of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from raysys.config import Config
from raysys.corpus import CorpusConfig
from raysys.corpus.audit import audit_folds
from raysys.corpus.folds import FoldsConfig
from raysys.corpus.pictures import read_picture
from raysys.corpus.table import Utterance, _deciding
from raysys.encoders import FeaturesConfig
from raysys.encoders.extraction import encode_rows
from raysys.encoders.image_transformers import ImageTransformersConfig
from raysys.encoders.pooled import Pooled
from raysys.errors import ConfigError, CorpusError, FeatureError
from raysys.models import ModelConfig
from raysys.predicting.inputs import read_inputs
from tests.conftest import corpus_of, folds_of
from tests.films import NO_FACE, ONE_FACE
from tests.pretrained import IMAGE_TYPES, make_image_model, make_text_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vision")
    return {kind: make_image_model(kind, root / kind) for kind in IMAGE_TYPES}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Utterance], Path]:
    """A real face, a cat, and both in other sizes."""
    root = tmp_path_factory.mktemp("faces")
    rows = []
    for k, pixels in enumerate([ONE_FACE, NO_FACE, ONE_FACE[::2], NO_FACE[:, ::3]]):
        Image.fromarray(np.ascontiguousarray(pixels)).save(root / f"{k}.png")
        rows.append(Utterance(f"u{k}", image=f"{k}.png"))
    return rows, root


def encoded(model: Path, rows: list[Utterance], root: Path, **settings: object) -> list[np.ndarray]:
    config = ImageTransformersConfig(model=str(model), **settings)
    return encode_rows(config.build("image"), rows, root)


@pytest.mark.parametrize("kind", IMAGE_TYPES)
def test_values_are_those_of_transformers(kind: str, models, faces):
    rows, root = faces
    pooled = encoded(models[kind], rows, root)
    patches = encoded(models[kind], rows, root, output="patches")
    processor = transformers.AutoImageProcessor.from_pretrained(models[kind])
    loader = transformers.CLIPVisionModel if kind == "clip" else transformers.AutoModel
    model = loader.from_pretrained(models[kind]).eval()
    for row, one, parts in zip(rows, pooled, patches, strict=True):
        read = processor(images=Image.open(root / row.image).convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            theirs = model(**read)
        if kind == "resnet":
            wanted, every = (
                theirs.pooler_output[0, :, 0, 0],
                theirs.last_hidden_state[0].flatten(1).T,
            )
        else:
            states = theirs.last_hidden_state[0]
            wanted, every = states[0], states[1:]
        if kind == "clip":
            wanted = theirs.pooler_output[0]
        assert one.shape == (1, len(wanted))
        np.testing.assert_allclose(one[0], wanted.numpy(), atol=1e-4)
        np.testing.assert_allclose(parts, every.numpy(), atol=1e-4)


def test_a_face_and_a_cat_differ_whatever_their_size(models, faces):
    rows, root = faces
    face, cat, small_face, narrow_cat = (one[0] for one in encoded(models["vit"], rows, root))
    assert np.linalg.norm(face - small_face) < np.linalg.norm(face - cat)
    assert np.linalg.norm(cat - narrow_cat) < np.linalg.norm(cat - small_face)


def test_pictures_are_read_upright_and_in_three_colours(tmp_path: Path):
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:, :10] = (200, 30, 60)
    picture = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held on its side
    picture.save(tmp_path / "turned.png", exif=turned)
    assert read_picture(tmp_path / "turned.png", "x").shape == (30, 20, 3)
    np.testing.assert_array_equal(
        read_picture(tmp_path / "turned.png", "x"), np.rot90(pixels, k=-1)
    )
    for mode, file in (
        ("L", "grey.png"),
        ("RGBA", "clear.png"),
        ("P", "few.gif"),
        ("CMYK", "ink.jpg"),
    ):
        picture.convert(mode).save(tmp_path / file)
        found = read_picture(tmp_path / file, "x")
        assert (found.shape, found.dtype) == ((20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "cannot be read"),
        (b"no picture" * 50, "cannot be read"),
        (None, "does not exist"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named_with_the_remedy(
    content: bytes | None, said: str, tmp_path: Path
):
    if content is not None:
        (tmp_path / "face.png").write_bytes(content)
    with pytest.raises(CorpusError, match=rf"row 3: image .*face\.png {said}") as caught:
        read_picture(tmp_path / "face.png", "row 3")
    assert content is None or "give a PNG" in str(caught.value)


def test_a_picture_that_was_cut_short_is_refused_not_filled_up(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for suffix in ("png", "jpg"):
        whole = tmp_path / f"whole.{suffix}"
        Image.fromarray(noise).save(whole)
        (tmp_path / f"half.{suffix}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(CorpusError, match="cannot be read"):
            read_picture(tmp_path / f"half.{suffix}", "x")


def test_a_model_that_sees_nothing_is_refused(tmp_path: Path, models):
    folder = make_text_model("bert", tmp_path / "bert")
    with pytest.raises(FeatureError, match="is a bert model: give one of vit, dinov2, clip"):
        ImageTransformersConfig(model=str(folder)).build("image")
    with pytest.raises(ConfigError, match="unknown image encoder 'logmel'"):
        FeaturesConfig(image="logmel").encoder("image")
    (models["vit"] / "preprocessor_config.json").rename(tmp_path / "kept.json")
    try:
        with pytest.raises(FeatureError, match="preprocessor_config.json is missing"):
            ImageTransformersConfig(model=str(models["vit"])).build("image")
    finally:
        (tmp_path / "kept.json").rename(models["vit"] / "preprocessor_config.json")


def test_patches_are_not_averaged_as_moments_are(models):
    config = FeaturesConfig(
        pool_frames=4, image_transformers=ImageTransformersConfig(model=str(models["vit"]))
    )
    assert not isinstance(config.build("image"), Pooled)


def manifest(root: Path, rows: list[str]) -> Config:
    (root / "manifest.csv").write_text("\n".join(["utterance_id,label,speaker,image", *rows]))
    return Config(
        corpus=CorpusConfig(name="manifest", root=str(root)),
        model=ModelConfig(name="probe", modalities=("image",)),
    )


def test_a_corpus_of_pictures_is_checked_and_audited(tmp_path: Path):
    random = np.random.default_rng(0)
    rows = []
    for k in range(12):
        pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        rows.append(f"u{k},{('joy', 'anger')[k % 2]},s{k // 4},{k}.png")
    Image.open(tmp_path / "0.png").save(tmp_path / "11.bmp")  # the same pixels in another file
    rows[11] = "u11,anger,s2,11.bmp"
    corpus = corpus_of(manifest(tmp_path, rows), tmp_path)
    assert len(set(corpus.image_digests)) == 11
    config = FoldsConfig(n_splits=3)
    found = audit_folds(corpus, folds_of(corpus, config), config, modalities=("image",), notes=[])
    assert any("image" in one.message and one.level == "warning" for one in found)
    (tmp_path / "3.png").write_bytes(b"gone")
    with pytest.raises(CorpusError, match=r"csv:5: image .*3\.png cannot be read.*skip_bad true"):
        corpus_of(manifest(tmp_path, rows), tmp_path)
    rows[4] = "u4,joy,s1,"
    (tmp_path / "3.png").unlink()
    with pytest.raises(CorpusError, match="no image, but the model sees images: fill the column"):
        corpus_of(manifest(tmp_path, rows), tmp_path)
    without = [row.rpartition(",")[0] + "," for row in rows]
    with pytest.raises(CorpusError, match="has no image: fill the column 'image'"):
        corpus_of(manifest(tmp_path, without), tmp_path)


def test_a_corpus_without_pictures_has_the_digest_that_it_had():
    """Of a row as it was hashed before there was a column for pictures."""
    row = Utterance("u", "joy", text="so")
    assert "image" not in _deciding(row)
    assert "image" in _deciding(Utterance("u", "joy", image="a.png"))


def test_pictures_and_recordings_are_told_apart_by_their_names(tmp_path: Path):
    Image.fromarray(ONE_FACE).save(tmp_path / "face.PNG")
    (tmp_path / "said.wav").write_bytes(b"x")
    found = {Path(row.utterance_id).name: row for row in read_inputs([str(tmp_path)])}
    assert found["face.PNG"].image.endswith("face.PNG")
    assert not found["face.PNG"].audio
    assert found["said.wav"].audio.endswith("said.wav")
    (tmp_path / "table.csv").write_text("image\nface.PNG\n")
    (row,) = read_inputs([str(tmp_path / "table.csv")])
    assert row.image == str(tmp_path / "face.PNG")
    assert row.utterance_id == "face.PNG"
