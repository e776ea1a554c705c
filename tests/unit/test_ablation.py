"""An ablation before and after it runs: what is refused, and how variants are compared."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from raysys.commandline import parse
from raysys.commands.ablate import ablate
from raysys.config import Config
from raysys.config.running import AblationConfig, StorageConfig, Variant
from raysys.corpus import CorpusConfig
from raysys.corpus.folds import Fold, FoldsConfig, fold_of_group
from raysys.corpus.table import Corpus, Utterance
from raysys.errors import ConfigError
from raysys.report.ablation import ablation_pictures, compare_variants, recommend
from raysys.report.results import AblationResult, RunIds
from raysys.report.scores import Spread
from raysys.report.statistics import part_scores
from raysys.report.terminal import print_result
from raysys.running.plan import make_plan
from raysys.running.variants import make_ablation
from raysys.settings import replaced
from raysys.tasks.classification_summary import METRICS
from tests.behaviour.test_bad_input import make_corpus
from tests.here import do_folds_here, tiny

BAD = {
    "nothing": ({}, "ablation.variants is empty"),
    "unknown": ({"a": {"loss.mu3": 0.1}}, "a: unknown setting 'loss.mu3': did you mean 'loss.mu2'"),
    "no such model": (
        {"a": {"model.name": "multiemoo"}},
        "a: unknown model 'multiemoo': did you mean 'multiemo'",
    ),
    "group": ({"a": {"loss": 0.1}}, "'loss' is a group of settings"),
    "other folds": ({"a": {"folds.n_splits": 3}}, "'folds.n_splits' is the same for all"),
    "other features": ({"a": {"features.text": "hashed"}}, "'features.text' is the same for all"),
    "wrong type": (
        {"a": {"loss.mu1": "much"}},
        "a: 'loss.mu1' cannot be 'much': it is of type float",
    ),
    "wrong word": ({"a": {"model.modalities": ["txt"]}}, "'txt': did you mean 'text'"),
    "out of range": ({"a": {"loss.mu1": 2}}, "a: loss.mu1 is 2.0, but must be in [0, 1]"),
    "together": (
        {"whole": {}, "text": {"loss.mu2": 0.1, "model.modalities": ["text"]}},
        "text: loss.mu2 is 0.1, but must be 0 with a single modality",
    ),
    "one folder": ({"no SWFC": {}, "no  swfc": {"loss.mu1": 0.1}}, "would share a folder"),
    "no name": ({"..": {}}, "'..' needs a letter (a-z) or digit, to name its folder"),
    "no list": ({"a": {"model.modalities": "text"}}, "give a list, as in [text]"),
    "no effect": ({"a": {"loss.tau": 0.5}}, "a: 'loss.tau' does nothing while loss.mu1 is 0.0"),
    "no patience": (
        {"a": {"training.keep": "last", "training.patience": 3}},
        "a: 'training.patience' does nothing while training.keep is 'last'",
    ),
    "other model": (
        {"a": {"model.multiemo.fusion": False}},
        "does nothing while model.name is 'cltnet'",
    ),
    "the same twice": ({"a": {}, "b": {"loss.mu1": 0.0}}, "b: is the same configuration as 'a'"),
    "matrix": (
        {"a": {"loss.similarity": "s.json"}},
        "(but not loss.similarity, loss.space, training.device, training.seeds, training.start_from, ",
    ),
    "unknown model": ({"a": {"model.name": "multimeo"}}, "did you mean 'multiemo'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_variant_is_refused_in_one_line(case: str):
    variants, message = BAD[case]
    ablation = AblationConfig(variants={name: Variant(s) for name, s in variants.items()})
    with pytest.raises(ConfigError) as caught:
        make_ablation(Config(ablation=ablation))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def result(*tests: list[float], keep: str = "best") -> Any:
    """A result with these test scores, a list a seed."""
    folds = [
        SimpleNamespace(fold=k, seed=seed, test=dict.fromkeys(("wa", "ua", "weighted_f1"), score))
        for seed, scores in enumerate(tests)
        for k, score in enumerate(scores)
    ]
    over = part_scores({(f.seed, f.fold): f.test for f in folds}, ["wa", "ua", "weighted_f1"])
    return SimpleNamespace(
        folds=folds,
        seeds=range(len(tests)),
        mean={"val": over.mean, "test": over.mean},
        std={"val": over.std, "test": over.std},
        seed_std={"val": over.seed_std, "test": over.seed_std},
        summary=SimpleNamespace(
            scores=lambda: {"f1/calm": tests[0][0], "f1/joy": 0.5}, figures=lambda: {"ece": 0.1}
        ),
        keep=keep,
        cost=None,
        baselines=[SimpleNamespace(mean=over.mean)],
    )


def folds(count: int) -> list[Fold]:
    return [Fold(k, np.arange(40), np.arange(40, 50), np.arange(50, 60)) for k in range(count)]


def test_variants_are_compared_fold_by_fold_with_the_mean_of_their_seeds():
    ablation = AblationConfig(
        {"whole": Variant(published=70.5), "less": Variant()}, source="a paper"
    )
    results = {
        "whole": result([0.6, 0.8, 0.7], [0.8, 0.6, 0.7]),
        "less": result([0.5, 0.7, 0.6], [0.7, 0.3, 0.6]),
    }
    whole, less = compare_variants(Config(ablation=ablation), results, folds(3))
    assert whole.difference is None
    assert whole.mean["test"]["ua"] == pytest.approx(0.7)
    assert whole.std["test"]["ua"] == pytest.approx(0.0)  # the seeds cancel out
    assert less.seed_std["test"]["ua"] == pytest.approx(np.std([0.6, 1.6 / 3], ddof=1))
    difference = np.array([-0.1, -0.2, -0.1])
    half = stats.t.ppf(0.975, 2) * difference.std(ddof=1) * np.sqrt(1 / 3 + 10 / 40)
    assert less.difference["ua"].mean == pytest.approx(difference.mean())
    assert less.difference["ua"].high == pytest.approx(difference.mean() + half)
    assert less.details == {"f1/calm": 0.5, "f1/joy": 0.5}


def test_with_one_fold_the_interval_is_over_seeds():
    ablation = AblationConfig(variants={"whole": Variant(), "less": Variant()})
    results = {
        "whole": result([0.6], [0.62], [0.61]),
        "less": result([0.5], [0.55], [0.54]),
    }
    _, less = compare_variants(Config(ablation=ablation), results, folds(1))
    difference = np.array([-0.1, -0.07, -0.07])
    half = stats.t.ppf(0.975, 2) * difference.std(ddof=1) / np.sqrt(3)
    assert less.difference["ua"].low == pytest.approx(difference.mean() - half)


@pytest.mark.parametrize(
    "selected_on, head, keep, own, line",
    [
        ("test", "best on test", "best", "best on val", "epochs chosen on validation, test read"),
        ("unknown", "how chosen?", "last", "last epoch", "the last epochs, none chosen, test read"),
    ],
)
def test_the_papers_numbers_stand_beside_ours_and_say_how_they_were_selected(
    selected_on: str, head: str, keep: str, own: str, line: str
):
    ablation = AblationConfig(
        {"whole": Variant(published=66.74), "less": Variant()}, source="a paper"
    )
    results = {"whole": result([0.612], keep=keep), "less": result([0.587], keep=keep)}
    config = Config(ablation=replace(ablation, metric="weighted_f1"))
    report = AblationResult(
        task="classification",
        corpus="meld",
        metric="weighted_f1",
        source="Shi & Huang 2023, Table 2",
        selected_on=selected_on,  # type: ignore[arg-type]
        seeds=1,
        n_folds=1,
        variants=compare_variants(config, results, folds(1)),
        failed=("wild, fold 0: the loss is NaN",),
        baseline=Spread({"wa": 0.5, "ua": 0.4, "weighted_f1": 0.45}, {}),
        seconds={"total": 12.0},
        audit=(),
        mlflow=RunIds("1", "a"),
    )
    console = Console(file=StringIO(), width=120)
    print_result(console, report, folder="runs/x", ui="mlflow ui")
    lines = console.file.getvalue().splitlines()
    (whole,) = [line.split() for line in lines if line.split()[:2] == ["whole", "66.74"]]
    assert whole[2] == "61.2"
    (less,) = [line.split() for line in lines if line.split()[:2] == ["less", "-"]]
    assert less[2:4] == ["58.7", "-2.5"]
    (heads,) = [k for k, line in enumerate(lines) if "published," in line and "ours," in line]
    assert lines[heads + 1].index(head) < lines[heads + 1].index(own)
    assert "published    Shi & Huang 2023, Table 2" in lines
    assert any(one.startswith(f"ours         {line} once; one fold, one seed") for one in lines)
    assert "failed       wild, fold 0: the loss is NaN" in lines
    assert "difference   from the first line" in lines  # one fold and one seed: no interval


def test_a_variant_that_failed_is_left_out_of_the_comparison():
    ablation = AblationConfig({name: Variant() for name in ("whole", "wild", "less")})
    results = {"whole": result([0.6, 0.7]), "less": result([0.5, 0.7])}
    assert [one.name for one in compare_variants(Config(ablation=ablation), results, folds(2))] == [
        "whole",
        "less",
    ]


def test_published_figures_need_their_source_and_are_per_cents():
    with pytest.raises(ConfigError, match=r"ablation\.source is '', but must be where"):
        AblationConfig({"whole": Variant(published=70.0)})
    with pytest.raises(ConfigError, match=r"published is 0\.7, but must be in per cent"):
        Config(ablation=AblationConfig({"whole": Variant(published=0.7)}, source="a paper"))


def test_every_variant_runs_in_every_column_and_is_compared_with_itself_in_the_first():
    published = {"plain": {"ua": 50.0, "wa": 60.0}, "mixed": {"ua": 55.0, "wa": 61.0}}
    ablation = AblationConfig(
        {"one": Variant({"loss.mu1": 0.1}, published), "two": Variant()},
        columns={"plain": {}, "mixed": {"balance.method": "pdds"}},
        source="a paper",
    )
    assert [cell.name for cell in ablation.cells] == [
        f"{row}, {column}" for row in ("one", "two") for column in ("plain", "mixed")
    ]
    assert ablation.cells[1].settings == {"loss.mu1": 0.1, "balance.method": "pdds"}
    results = {
        "one, plain": result([0.5, 0.6]),
        "one, mixed": result([0.6, 0.8]),
        "two, mixed": result(
            [0.9, 0.9]
        ),  # its first column failed: there is nothing to compare with
    }
    found = {
        one.name: one for one in compare_variants(Config(ablation=ablation), results, folds(2))
    }
    assert found["one, plain"].difference is None
    assert found["one, mixed"].difference["ua"].mean == pytest.approx(0.15)
    assert found["one, mixed"].published == {"ua": 55.0, "wa": 61.0}
    assert found["two, mixed"].difference is None
    elsewhere = Config(ablation=replace(ablation, published_on="iemocap"))
    assert not any(one.published for one in compare_variants(elsewhere, results, folds(2)))


def test_columns_and_curves_that_cannot_be_are_refused_in_one_line():
    with pytest.raises(ConfigError, match="published is for 'mixd', which is no column: did you"):
        AblationConfig(
            {"one": Variant({}, {"mixd": 50.0})}, columns={"plain": {}, "mixed": {}}, source="it"
        )
    with pytest.raises(ConfigError, match="is scored otherwise: did you mean 'ua'"):
        Config(ablation=AblationConfig({"one": Variant({}, {"uaa": 50.0})}, source="it"))
    curved = AblationConfig({"low": Variant({"loss.mu1": 0.1}), "off": Variant()}, curve="loss.mu1")
    with pytest.raises(ConfigError, match="'off' gives it no number"):
        make_ablation(Config(ablation=curved))


def test_settings_that_are_not_there_are_named(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("ablation: {variants: {a: {}, b: {settings: }}}\n")
    with pytest.raises(ConfigError, match="'settings:' must be followed by|an entry is NAME"):
        make_ablation(parse([str(tmp_path / "a.yaml")], program="test")[0])


def test_a_slip_in_a_variants_yaml_is_answered_with_its_shape(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("ablation: {variants: {text: {model.modalities: [text]}}}\n")
    with pytest.raises(ConfigError, match="an entry is NAME: {settings: {setting: value}"):
        parse([str(tmp_path / "a.yaml")], program="test")


def test_all_variants_see_the_utterances_that_every_one_can_use(tmp_path: Path):
    make_corpus(tmp_path / "corpus")
    (tmp_path / "corpus/wav/0calm.wav").unlink()
    corpus = CorpusConfig(name="manifest", root=str(tmp_path / "corpus"), skip_bad=True)
    storage = StorageConfig(runs=str(tmp_path / "runs"), cache=str(tmp_path / "cache"))
    variants = {"text": Variant({"model.modalities": ["text"]}), "both": Variant()}
    config = Config(corpus=corpus, storage=storage, ablation=AblationConfig(variants))
    plan, trials = make_ablation(config)
    assert len(plan.corpus) == 11
    assert plan.data.features["text"].starts.shape == (11,)
    assert [trial.config.model.modalities for trial in trials] == [("text",), ("audio", "text")]


def test_the_identity_is_that_of_all_variants(small: Config):
    def identity(variants: dict[str, Variant], **changes: Any) -> str:
        config = replaced(replace(small, ablation=AblationConfig(variants)), changes)
        return make_ablation(config)[0].identity

    first, second = Variant({"loss.mu1": 0.3}), Variant()
    same = identity({"a": first, "b": second})
    assert identity({"a": first, "b": second}) == same
    assert identity({"b": second, "a": first}) != same  # the first is what others are compared with
    assert identity({"a": first, "b": second}, **{"loss.mu1": 0.2}) != same
    assert identity({"a": first, "b": second}, seed=1) != same
    assert identity({"a": second}) != make_plan(small).identity


def test_details_that_do_not_fit_beside_each_other_stand_below_each_other():
    names = [f"f1/feeling_{k}" for k in range(12)]
    one, other = result([0.6]), result([0.5])
    for k, found in enumerate((one, other)):
        found.summary.scores = lambda k=k: dict.fromkeys(names, 0.1 * (k + 1))
    ablation = AblationConfig({"whole": Variant(), "less": Variant()})
    variants = compare_variants(Config(ablation=ablation), {"whole": one, "less": other}, folds(1))
    report = AblationResult(
        task="classification",
        corpus="made",
        metric="ua",
        source="",
        selected_on="unknown",
        seeds=1,
        n_folds=1,
        variants=variants,
        failed=(),
        baseline=Spread({"wa": 0.5, "ua": 0.4, "weighted_f1": 0.45}, {}),
        seconds={"total": 1.0},
        audit=(),
        mlflow=RunIds("1", "a"),
    )
    console = Console(file=StringIO(), width=80)
    print_result(console, report, folder="runs/x", ui="mlflow ui")
    printed = console.file.getvalue()
    rows = [line.split() for line in printed.splitlines() if line.strip().startswith("feeling_")]
    assert rows == [[name.removeprefix("f1/"), "10.0", "20.0"] for name in names]
    assert "1: whole; 2: less" in printed


def costed(name: str, parameters: int, *val: list[float]) -> Any:
    one = result(*val)
    one.cost, one.select, one.metrics = SimpleNamespace(parameters=parameters), "ua", METRICS
    for fold in one.folds:
        fold.val = {"ua": fold.test["ua"], "loss": 1 - fold.test["ua"]}
    return one


def test_the_simplest_that_val_cannot_tell_from_the_best_is_recommended():
    metric = next(one for one in METRICS if one.name == "ua")
    results = {
        "large": costed("large", 1000, [0.60, 0.62, 0.64, 0.61, 0.63]),
        "even": costed("even", 100, [0.61, 0.60, 0.63, 0.62, 0.62]),
        "poor": costed("poor", 10, [0.40, 0.41, 0.42, 0.40, 0.41]),
    }
    found = recommend(metric, results, folds(5))
    assert found is not None
    assert (found.name, found.best) == ("even", "large")
    assert found.difference is not None
    assert found.difference.low < found.difference.mean < 0 < found.difference.high
    loss = next(one for one in METRICS if one.name == "loss")
    by_loss = recommend(loss, results, folds(5))  # lower is better
    assert by_loss is not None
    assert (by_loss.name, by_loss.best) == ("even", "large")
    assert by_loss.difference is not None
    assert by_loss.difference.mean > 0
    del results["even"]
    alone = recommend(metric, results, folds(5))
    assert alone is not None
    assert (alone.name, alone.difference) == ("large", None)
    one_draw = {name: costed(name, 10 * k, [0.5 + k / 9]) for k, name in enumerate("ab")}
    assert recommend(metric, one_draw, folds(1)) is None


def test_what_the_paper_tested_stands_beside_the_mean_over_folds():
    ablation = AblationConfig(
        {"whole": Variant(published=70.5), "less": Variant()},
        published_test="5",
        source="a paper",
    )
    results = {"whole": result([0.6, 0.8, 0.7]), "less": result([0.5, 0.7, 0.6])}
    variants = compare_variants(Config(ablation=ablation), results, folds(3), alike=1)
    assert [one.tested_alike["ua"] for one in variants] == [0.8, 0.7]
    plain = compare_variants(Config(ablation=ablation), results, folds(3))
    assert plain[0].tested_alike == {}


def test_a_fold_is_found_by_the_one_group_that_it_tests():
    rows = tuple(Utterance(f"u{k}", "joy", session=s) for k, s in enumerate("44554"))
    corpus = Corpus("made", Path(), ("joy",), rows, ("",) * 5)
    config = FoldsConfig(method="leave_one_group_out", groups="session")
    none = np.arange(0)
    made = [Fold(0, none, none, np.array([0, 1, 4])), Fold(1, none, none, np.array([2, 3]))]
    assert fold_of_group(made, corpus, config, "5") == 1
    assert fold_of_group(made, corpus, config, "3") is None
    assert fold_of_group([Fold(0, none, none, np.arange(5))], corpus, config, "5") is None


def learning_curve(small: Config, *, kind: str = "utterances", **settings: Any) -> Config:
    variants = {
        "all": Variant({"training.share": 1.0}),
        "a third": Variant({"training.share": 0.34, **settings}),
    }
    ablation = AblationConfig(variants, curve="training.share")
    share = replace(small.training, share_of=kind, seeds=2)
    return replace(small, name="curve", training=share, ablation=ablation)


def test_a_learning_curve_has_the_baselines_of_its_shares_and_intervals(
    small_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    config = learning_curve(tiny(small_config(tmp_path)))
    console = Console(file=StringIO(), width=140)
    found = ablate(config, resume=False, console=console)
    every, third = found.variants
    assert every.baseline["ua"] > third.baseline["ua"]
    assert every.interval["ua"].low < every.mean["test"]["ua"] < every.interval["ua"].high
    printed = console.file.getvalue()
    assert "same share" in printed
    curve = tmp_path / "runs" / "curve" / "report.html"
    assert "share" in curve.read_text()
    (picture,) = ablation_pictures(found, "training.share")
    assert list(picture.lines) == ["model", "SVM"]
    assert [point[0] for point in picture.lines["model"]] == [1.0, 0.34]


def test_a_share_of_one_configuration_is_told_in_its_audit(small_config: Any, tmp_path: Path):
    small = small_config(tmp_path)
    plan = make_plan(replace(small, training=replace(small.training, share=0.25)))
    (note,) = [one.message for one in plan.audit if one.kind == "share"]
    assert note.startswith("trained on 25 % of the utterances of each train part")


def test_a_share_that_cannot_be_is_refused_before_any_training(small_config: Any, tmp_path: Path):
    small = tiny(small_config(tmp_path))
    dialogues = {"model.name": "multiemo", "training.batch_size": 4}
    with pytest.raises(ConfigError, match="a third: .*multiemo reads whole dialogues: set"):
        make_ablation(learning_curve(small, kind="utterances", **dialogues))
    with pytest.raises(
        ConfigError, match="share is 0.001, and fold . trains without any .*raise it"
    ):
        make_ablation(learning_curve(small, kind="dialogues", **{"training.share": 0.001}))
