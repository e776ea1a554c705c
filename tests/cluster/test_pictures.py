"""Pictures through the commands: into an emotion space, asked about, predicted, with a worker killed on the way."""

import csv
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import raysys
from raysys.commands.nearest import nearest
from raysys.config import Config
from raysys.corpus import CorpusConfig
from raysys.corpus.folds import FoldsConfig
from raysys.corpus.ratings import RatingsConfig, RatingsTable
from raysys.encoders.image_transformers import ImageTransformersConfig
from raysys.errors import ConfigError
from raysys.predicting.inputs import read_inputs
from raysys.predicting.members import load_ensemble
from raysys.predicting.predict import predict
from raysys.predicting.table import records
from raysys.running import session
from raysys.settings import replaced
from raysys.storage import Folder
from tests.cluster.conftest import Ran, run
from tests.cluster.gate import Gate, gated_fold, kill_at
from tests.conftest import with_training
from tests.films import NO_FACE, ONE_FACE
from tests.pretrained import make_image_model

pytestmark = pytest.mark.cluster

TABLES = {
    "vad@viewer": RatingsTable(file="viewers.csv", image="picture"),
    "vad@painter": RatingsTable(file="painters.csv", image="picture"),
    "fer7": RatingsTable(file="classes.csv", image="picture"),
}


def write_corpus(root: Path) -> None:
    """90 pictures whose hue says how pleasant they are; painters are calmer than viewers; a face is among them."""
    random = np.random.default_rng(3)
    rows: dict[str, list[list[Any]]] = {"viewers": [], "painters": [], "classes": []}
    for k in range(90):
        v, a, d = random.uniform(0.1, 0.9, 3)
        pixels = np.empty((24, 24, 3), dtype=np.float64)
        pixels[..., 0], pixels[..., 1], pixels[..., 2] = 255 * v, 255 * a, 255 * d
        pixels += random.normal(0, 10, pixels.shape)
        name = f"{k}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name)
        viewed, painted = (v, a, d), (v, 0.6 * a, d)
        rows["viewers"].append([k, name, *(1 + 8 * x for x in viewed)])
        if k < 60:
            rows["painters"].append([k, name, *(1 + 8 * x for x in painted)])
            rows["classes"].append([k, name, "happiness" if v > 0.5 else "sadness"])
    heads = {name: ["valence", "arousal", "dominance"] for name in ("viewers", "painters")}
    heads["classes"] = ["label"]
    for name, body in rows.items():
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["item", "picture", *heads[name]], *body])
    Image.fromarray(ONE_FACE).save(root / "face.jpg")
    Image.fromarray(NO_FACE).save(root / "cat.jpg")


@pytest.fixture(scope="module")
def config(small_config: Callable[[Path], Config], tmp_path_factory: Any) -> Config:
    home = tmp_path_factory.mktemp("pictures")
    write_corpus(home)
    small = with_training(
        small_config(home), max_epochs=30, patience=30, learning_rate=0.01, batch_size=32
    )
    return replace(
        small,
        name="seen",
        task="label_mapping",
        corpus=CorpusConfig("ratings", str(home), ratings=RatingsConfig(TABLES)),
        folds=FoldsConfig(groups="dialogue", n_splits=3),
        model=replace(small.model, name="multiway", modalities=tuple(TABLES)),
    )


@pytest.fixture(scope="module")
def content(config: Config, tmp_path_factory: Any) -> Config:
    """A content encoder of the pictures, by a small vision transformer with random weights."""
    vit = make_image_model("vit", tmp_path_factory.mktemp("vit"))
    features = replace(config.features, image_transformers=ImageTransformersConfig(str(vit)))
    return with_training(
        replace(
            config,
            name="pictures",
            task="emotion_embedding",
            features=features,
            model=replace(config.model, name="cltnet", modalities=("image",)),
            loss=replace(config.loss, space="seen"),
        ),
        max_epochs=25,
        patience=25,
    )


shares_a_pool = pytest.mark.usefixtures("pool")
"""Tests in order: the space is learnt first."""


@shares_a_pool
def test_perspectives_are_formats_of_their_own_and_are_mapped(config: Config):
    ran = run(config)
    pairs = list(ran.result.summary.pairs)
    assert "vad@viewer to vad@painter" in pairs
    assert "vad@painter to fer7" in pairs
    assert ran.result.summary.pairs["vad@viewer to vad@painter"]["valence"]["pearson"] > 0.8
    assert "vad@viewer to vad@painter" in ran.printed


@pytest.mark.proof("tasks", "models", "losses")
@shares_a_pool
def test_a_perspective_is_added_to_a_space_whose_others_stay(config: Config):
    loss = replace(config.loss, left_out=("vad@painter",))
    training = replace(config.training, select="loss")
    run(replace(config, name="viewers", loss=loss, training=training))
    added = run(replace(config, name="both", loss=replace(config.loss, space="viewers")))
    assert added.result.mean["test"]["pearson"] > 0.5
    runs = Path(config.storage.runs)
    before, after = (raysys.load_space(runs / n / "fold_1") for n in ("viewers", "both"))
    assert before.taught == ("vad@viewer", "fer7")
    for name in before.taught:
        torch.testing.assert_close(
            after.network.decoders[name].weight, before.network.decoders[name].weight
        )
    viewed = torch.tensor([[0.8, 0.5, 0.5]])
    found = after.map("vad@viewer", viewed)
    assert not torch.allclose(found["vad@painter"], found["vad@viewer"])  # never merged


@shares_a_pool
def test_pictures_find_their_place_in_the_space(content: Config):
    ran = run(content)
    assert ran.result.mean["test"]["pearson"] > 0.5
    assert ran.result.summary.formats["fer7"]["ua"] > 0.6
    alone = run(
        replace(content, name="viewed", loss=replace(content.loss, supervised=("vad@viewer",)))
    )
    assert alone.result.summary.formats["vad@painter"]["pearson"] > 0.3  # zero-shot


@shares_a_pool
def test_what_is_nearest_to_a_picture_is_found(content: Config):
    root, runs = Path(content.corpus.root), Folder(content.storage.runs)
    face = str(root / "face.jpg")
    answers, items, seen = nearest("pictures", [face], count=4, runs=runs)
    told = {row[0].split(".")[0]: row[2] for row in answers.rows}
    assert told == dict.fromkeys(TABLES, "supervised")
    assert len(items.rows) == len(seen.rows) == 4
    (root / "broken.png").write_bytes(b"no picture")
    for query, said in (
        (str(root / "gone.png"), "looks like a picture, and there is none"),
        ("how nice", r"reads the path of one picture, but the query is how nice \(a text\)"),
        (str(root / "viewers.csv"), r"but the query is .*viewers.csv \(an audio file\)"),
    ):
        with pytest.raises(ConfigError, match=said):
            nearest("pictures", [query], count=4, runs=runs)


@shares_a_pool
def test_new_pictures_are_predicted(content: Config):
    root = Path(content.corpus.root)
    (root / "broken.png").write_bytes(b"no picture")
    files = [str(root / name) for name in ("face.jpg", "cat.jpg", "broken.png")]
    ensemble = load_ensemble("pictures", Folder(content.storage.runs))
    answers = list(predict(ensemble, read_inputs(files)))
    face, cat, broken = records(ensemble, answers)
    assert (face["utterance"], cat["utterance"]) == ("face.jpg", "cat.jpg")
    assert face["vad@viewer.valence"] != cat["vad@viewer.valence"]
    assert "cannot be read" in broken["note"]
    (root / "copies").mkdir()
    for k in range(4):  # under other names and in other files, of which each fold learnt but one
        Image.open(root / f"{k}.png").save(root / "copies" / f"copy_{k}.bmp")
    answers = predict(ensemble, read_inputs([str(root / "copies")]))
    known = list(records(ensemble, answers))
    assert {one["note"] for one in known} == {
        "in the training corpus: by folds that did not learn from it"
    }
    assert {one["members"] for one in known} == {1}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"loss.supervised": ("vad@listener",)}, "not rated in 'vad@listener'"),
        ({"loss.augmented": ("vad@listener",)}, "the emotion space has no 'vad@listener'"),
    ],
)
@shares_a_pool
def test_a_perspective_that_no_rating_has_is_refused(content: Config, changes: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        run(replaced(content, changes))


@pytest.mark.proof("cluster", "encoders", "training")
def test_a_worker_that_is_killed_among_pictures_changes_no_bit(
    own_pool: None,
    content: Config,
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    run(replace(config, name="seen"))
    whole = run(replace(content, name="whole"))
    gate = Gate(tmp_path / "gate")
    point = gate.hold("disturbed", 1, 7)
    monkeypatch.setattr(session, "run_fold", partial(gated_fold, gate))
    thread = threading.Thread(target=kill_at, args=(point,), daemon=True)
    thread.start()
    again: Ran = run(replace(content, name="disturbed"))
    thread.join(10)
    assert not point.exists()
    assert again.numbers.replace("disturbed", "whole") == whole.numbers
