"""Label formats through the commands: a space is learnt, searched, spoken in, asked, and carried to another corpus."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from rich.console import Console

import raysys
from raysys.commands.ablate import ablate
from raysys.commands.cross_validate import cross_validate
from raysys.commands.nearest import nearest
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.config.running import AblationConfig, Distribution, SearchConfig, Variant
from raysys.corpus import CorpusConfig
from raysys.corpus.across import AcrossConfig
from raysys.corpus.folds import FoldsConfig
from raysys.corpus.ratings import OwnFormat, RatingsConfig, RatingsTable
from raysys.errors import ConfigError, CorpusError, FoldFailedError
from raysys.report.results import TrialResult, plain
from raysys.running.plan import make_plan
from raysys.settings import replaced
from raysys.similarity.prior import SpacePrior
from raysys.storage import Folder
from tests.conftest import with_training

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("pool")]

SAID = {
    "splendid": (0.9, 0.6, 0.7),
    "calm": (0.8, 0.1, 0.8),
    "so": (0.5, 0.4, 0.5),
    "gloomy": (0.2, 0.2, 0.3),
    "furious": (0.1, 0.9, 0.5),
}
"""Word -> valence, arousal, dominance, in 0..1."""
EMOTION = {"splendid": "joy", "calm": "calm", "gloomy": "sadness", "furious": "anger"}
TABLES = {
    "vad": RatingsTable(file="vad.csv"),
    "mood": RatingsTable(file="mood.csv"),
    "made": RatingsTable(file="made.csv", generated=True),
}
FORMATS = {
    "mood": OwnFormat(("bright", "tense"), kind="binary"),
    "made": OwnFormat(("up", "down"), low=0.0, high=10.0),
}


def write_corpus(root: Path) -> None:
    """120 sayings of one to four words; 90 of them have moods, which follow from their valence and arousal."""
    random = np.random.default_rng(7)
    rows: dict[str, list[list[Any]]] = {"vad": [], "mood": [], "made": []}
    for k in range(120):
        words = random.choice(list(SAID), size=int(random.integers(1, 5)))
        v, a, d = (float(x) for x in np.mean([SAID[word] for word in words], axis=0))
        name = f"{' '.join(words)} {k}"
        rows["vad"].append([name, *(1 + 8 * x for x in (v, a, d))])
        rows["made"].append([name, 10 * v, 10 * (1 - v)])
        if k < 90:
            rows["mood"].append([name, int(v > 0.5), int(a > 0.4)])
    heads = {
        "vad": ["valence", "arousal", "dominance"],
        "mood": ["bright", "tense"],
        "made": ["up", "down"],
    }
    for name, body in rows.items():
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["item", *heads[name]], *body])
    with (root / "manifest.csv").open("w", newline="") as file:
        spoken = [[f"u{k}", EMOTION[w], f"{w} {w}"] for k, w in enumerate([*EMOTION] * 10)]
        csv.writer(file).writerows([["utterance_id", "label", "text"], *spoken])


@pytest.fixture(scope="module")
def config(small_config: Callable[[Path], Config], tmp_path_factory: Any) -> Config:
    home = tmp_path_factory.mktemp("labels")
    write_corpus(home)
    small = with_training(
        small_config(home), max_epochs=40, patience=40, learning_rate=0.01, batch_size=32
    )
    return replace(
        small,
        name="words",
        task="label_mapping",
        corpus=CorpusConfig("ratings", str(home), ratings=RatingsConfig(TABLES, FORMATS)),
        folds=FoldsConfig(groups="dialogue", n_splits=3),
        model=replace(small.model, name="multiway", modalities=tuple(TABLES)),
    )


def run(job: Callable[..., Any], config: Config, *, resume: bool = False) -> tuple[Any, str]:
    console = Console(file=StringIO(), width=120)
    return job(config, resume=resume, console=console), console.file.getvalue()


@pytest.fixture(scope="module")
def mapped(config: Config) -> tuple[TrialResult, str]:
    return run(cross_validate, config)


@pytest.fixture(scope="module")
def content(config: Config, mapped: tuple[TrialResult, str]) -> Config:
    """A content encoder of the sayings' text into the space."""
    return with_training(
        replace(
            config,
            name="content",
            task="emotion_embedding",
            model=replace(config.model, name="speechtext", modalities=("text",)),
            loss=replace(config.loss, space="words"),
        ),
        max_epochs=15,
        patience=15,
    )


def test_a_format_is_predicted_from_another_and_what_a_model_made_is_not_tested_on(
    mapped: tuple[TrialResult, str],
):
    result, printed = mapped
    assert list(result.summary.pairs) == ["vad to mood", "mood to vad"]
    assert result.mean["test"]["pearson"] > 0.6
    assert result.summary.pairs["vad to mood"]["bright"]["items"] == 90
    assert result.summary.pairs["vad to mood"]["bright"]["pearson"] > 0.6
    for word in ("vad to mood", "ridge r", "kNN (50) r", "mood to vad: valence"):
        assert word in printed
    assert "vad to made" not in printed


def test_mlflow_has_r_by_pair_and_variable_and_the_variables_in_the_space(
    config: Config, mapped: tuple[TrialResult, str]
):
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    run_id = mapped[0].mlflow.run_id
    metrics = client.get_run(run_id).data.metrics
    wanted = mapped[0].summary.pairs["mood to vad"]["valence"]["pearson"]
    assert metrics["test/pearson/mood to vad.valence"] == pytest.approx(wanted)
    files = {one.path for one in client.list_artifacts(run_id)}
    assert {"emotion_space.png", "by_variable.png", "by_variable.json"} <= files


@pytest.mark.proof("tasks", "models", "losses", "training")
def test_the_same_seed_gives_the_same_numbers(config: Config, mapped: tuple[TrialResult, str]):
    again, _ = run(cross_validate, config)
    for name in ("mean", "std"):
        assert json.dumps(plain(getattr(again, name))) == json.dumps(
            plain(getattr(mapped[0], name))
        )


def test_a_learnt_space_is_loaded_and_maps(config: Config, mapped: tuple[TrialResult, str]):
    import torch

    space = raysys.load_space(Path(config.storage.runs) / "words" / "fold_0")
    found = space.map("vad", torch.tensor([[0.9, 0.6, 0.7], [0.1, 0.9, 0.5]]))
    bright = found["mood"][:, 0].tolist()
    assert bright[0] > 0.6 > 0.4 > bright[1]


def test_settings_of_the_mapping_are_searched_as_any_other(config: Config):
    space = {
        "model.multiway.dim": Distribution(choices=(10, 20)),
        "loss.closeness": Distribution(low=0.1, high=2.0),
    }
    search = SearchConfig(space, num_trials=2, scheduler="none", confirm_seeds=0, concurrency=1)
    small = with_training(replace(config, name="searched", search=search), max_epochs=3)
    result, printed = run(tune, small)
    assert len(result.trials) == 2
    assert "closeness" in printed


def test_supervised_zero_shot_and_augmented_stand_beside_each_other(content: Config):
    taught = {"loss.supervised": ["vad"]}
    variants = {
        "both": Variant({"loss.supervised": ["vad", "mood"]}),
        "VAD alone": Variant(taught),
        "augmented": Variant({**taught, "loss.augmented": ["mood"]}),
    }
    ablated = replace(content, name="compared", ablation=AblationConfig(variants, metric="pearson"))
    result, printed = run(ablate, ablated)
    scores = {one.name: one.details for one in result.variants}
    assert not result.failed
    for name in variants:
        assert scores[name]["score/vad.valence"] > 0.6
        assert scores[name]["score/mood.bright"] > 0.4, "zero-shot"
    assert scores["both"] != scores["augmented"] != scores["VAD alone"]
    assert "zero" not in printed  # nothing claims what is for the reader to say


def test_each_fold_speaks_in_a_space_that_has_not_seen_its_test_items(
    content: Config, mapped: tuple[TrialResult, str]
):
    plan = make_plan(content)
    assert plan.prior is not None
    tests = [
        json.loads((Path(content.storage.runs) / "words" / "folds.json").read_text())[k]["test"]
        for k in range(3)
    ]
    ids = [row.utterance_id for row in plan.corpus.utterances]
    for fold, prior in zip(plan.folds, plan.prior, strict=True):
        assert isinstance(prior, SpacePrior)
        place = int(prior.folder[-1])
        assert {ids[k] for k in fold.test} <= set(tests[place])


def test_folds_of_which_every_space_has_seen_test_items_are_refused(content: Config):
    other = replaced(content, {"folds.n_splits": 2, "folds.seed": 5})
    with pytest.raises(
        ConfigError, match="has learnt from ratings of items that a fold tests here"
    ):
        make_plan(other)


def test_another_corpus_is_scored_in_its_own_labels(content: Config):
    across = AcrossConfig("ratings", content.corpus.root, "", "manifest", content.corpus.root)
    there = replace(
        content,
        name="across",
        corpus=replace(content.corpus, name="across", root="", across=across),
        folds=FoldsConfig(method="official", groups="dialogue"),
    )
    result, printed = run(cross_validate, there)
    assert result.mean["test"]["ua"] > 0.6  # of four classes, none of which was ever taught
    assert np.isnan(result.mean["test"]["pearson"])
    assert result.corpus == "ratings_to_manifest"
    assert "manifest.joy" in printed


def test_what_is_nearest_to_a_text_is_found(content: Config):
    result, _ = run(cross_validate, content)
    runs = Folder(content.storage.runs)
    answers, items, texts = nearest("content", ["furious furious"], count=5, runs=runs)
    values = {name: float(value) for name, value, _ in answers.rows}
    assert values["mood.bright"] < 0.5 < values["mood.tense"]
    assert {row[0].split(".")[0]: row[2] for row in answers.rows} == {
        "vad": "supervised",
        "made": "zero-shot",
        "mood": "supervised",
    }
    assert items.title == "nearest items of the space, by vad and mood"
    assert len(items.rows) == len(texts.rows) == 5
    assert "furious" in items.rows[0][0]
    distances = [float(row[1]) for row in texts.rows]
    assert distances == sorted(distances)
    for query, count, said in (
        (sys.executable, 5, r"reads one text, but the query is .* \(an audio file\)"),
        (" ", 5, "the query is empty"),
        ("gone.wav", 5, "looks like an audio file, and there is none"),
        ("furious", 0, "--count is 0, but must be 1 or more"),
    ):
        with pytest.raises(ConfigError, match=said):
            nearest("content", [query], count=count, runs=runs)
    with pytest.raises(
        ConfigError, match="only runs of jobs.embed_content lie in an emotion space"
    ):
        nearest("words", ["furious"], count=5, runs=runs)
    with pytest.raises(ConfigError, match="is no run"):
        nearest("nothing", ["furious"], count=5, runs=runs)
    assert result.task == "emotion_embedding"


def test_a_format_is_added_to_a_space_whose_others_stay(
    config: Config, mapped: tuple[TrialResult, str]
):
    import torch

    loss = replace(config.loss, left_out=("mood",))
    training = replace(config.training, select="loss")
    without = replace(config, name="without", loss=loss, training=training)
    run(cross_validate, without)
    added = replace(config, name="added", loss=replace(config.loss, space="without"))
    result, _ = run(cross_validate, added)
    assert result.mean["test"]["pearson"] > 0.5
    runs = Path(config.storage.runs)
    before, after = (raysys.load_space(runs / name / "fold_1") for name in ("without", "added"))
    assert before.taught == ("vad", "made")
    for name in ("vad", "made"):
        torch.testing.assert_close(
            after.network.encoders[name].state_dict(), before.network.encoders[name].state_dict()
        )
    apart = after.network.decoders["mood"].weight - before.network.decoders["mood"].weight
    assert apart.abs().max() > 0.1
    with pytest.raises(ConfigError, match="formats are added to a space of the same tables"):
        make_plan(replace(added, loss=replace(config.loss, space="words")))


def test_losses_of_the_mapping_are_switched_off_by_an_ablation(config: Config):
    variants = {"whole": Variant(), "without closeness": Variant({"loss.closeness": 0.0})}
    small = with_training(replace(config, ablation=AblationConfig(variants)), max_epochs=2)
    result, _ = run(ablate, replace(small, name="losses"))
    assert not result.failed
    assert result.variants[0].mean["test"] != result.variants[1].mean["test"]


def test_a_content_encoder_is_tuned_as_any_other(content: Config):
    search = SearchConfig(
        {"training.learning_rate": Distribution(low=0.001, high=0.02)},
        num_trials=1,
        scheduler="none",
        confirm_seeds=0,
    )
    small = with_training(replace(content, name="tuned", search=search), max_epochs=2)
    result, _ = run(tune, small)
    assert result.objectives == ("loss",)
    assert len(result.trials) == 1
    again, _ = run(tune, small, resume=True)  # what cannot be known is null in its files
    assert plain(again.trials[0].scores)["loss"] == result.trials[0].scores["loss"]


def test_a_study_of_a_score_that_cannot_be_known_ends_with_the_remedy(content: Config):
    search = SearchConfig(
        {"training.learning_rate": Distribution(low=0.001, high=0.02)},
        num_trials=1,
        scheduler="none",
        objectives=("ua",),
        confirm_seeds=0,
    )
    small = with_training(replace(content, name="unknown", search=search), max_epochs=2)
    for resume in (False, True):
        with pytest.raises(FoldFailedError, match="val has no ua, .* set --search.objectives to"):
            run(tune, small, resume=resume)


def test_what_would_mix_two_corpora_is_refused(content: Config):
    across = AcrossConfig("ratings", content.corpus.root, "", "manifest", content.corpus.root)
    there = replace(content, corpus=replace(content.corpus, name="across", root="", across=across))
    with pytest.raises(ConfigError, match="loss.augmented: the emotion space has no 'moods'"):
        make_plan(
            replace(
                there,
                folds=FoldsConfig(method="official", groups="dialogue"),
                loss=replace(there.loss, augmented=("moods",)),
            )
        )
    with pytest.raises(CorpusError, match="set --folds.method official"):
        make_plan(there)
    itself = replace(
        there,
        corpus=replace(
            there.corpus,
            across=AcrossConfig(
                "manifest", content.corpus.root, "", "ratings", content.corpus.root
            ),
        ),
        folds=FoldsConfig(method="official", groups="dialogue"),
    )
    with pytest.raises(
        ConfigError, match="has learnt from ratings of items that a fold tests here"
    ):
        make_plan(itself)
