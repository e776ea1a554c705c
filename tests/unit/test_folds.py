"""No group in two parts of a fold, for every corpus and method; and the leak audit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysys.config import Config
from raysys.corpus import CorpusConfig
from raysys.corpus.audit import audit_folds
from raysys.corpus.demo import DemoConfig
from raysys.corpus.finding import Finding
from raysys.corpus.folds import Fold, FoldsConfig, groups_of
from raysys.corpus.table import Corpus, Utterance
from raysys.errors import CorpusError, LeakError
from raysys.models import ModelConfig
from tests.conftest import corpus_of, folds_of

TEXT = ModelConfig(modalities=("text",))


@pytest.fixture(scope="module", params=["demo", "emodb"])
def corpus(request: pytest.FixtureRequest, cache_root: Path) -> Corpus:
    root = str(request.getfixturevalue("emodb_root")) if request.param == "emodb" else ""
    config = CorpusConfig(name=request.param, root=root, demo=DemoConfig(utterances=150))
    return corpus_of(Config(corpus=config), cache_root)


@pytest.mark.parametrize("method", ["stratified_group", "leave_one_group_out"])
@pytest.mark.parametrize("groups", ["speaker", "session", "dialogue"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_group_is_in_two_parts_and_every_utterance_is_tested_once(
    corpus: Corpus, method: str, groups: str, seed: int
):
    if groups == "dialogue" and (method == "leave_one_group_out" or corpus.name == "emodb"):
        method = "stratified_group"
    config = FoldsConfig(method=method, groups=groups)
    folds = folds_of(corpus, replace(config, seed=seed))
    names = groups_of(corpus, config)
    for fold in folds:
        parts = [set(names[rows]) for rows in fold.parts().values()]
        assert all(parts)
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert sorted(np.concatenate(list(fold.parts().values()))) == list(range(len(corpus)))
        assert set(corpus.labels[fold.train]) == set(range(len(corpus.emotions)))
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested) == list(range(len(corpus)))


def audited(corpus: Corpus, folds: tuple[Fold, ...], config: Config) -> tuple[Finding, ...]:
    modalities = config.model.modalities
    notes = config.features.findings(modalities, corpus.name)
    return audit_folds(corpus, folds, config.folds, modalities=modalities, notes=notes)


def test_emodb_by_session_gives_the_usual_five_pairs_of_speakers(
    emodb_root: Path, cache_root: Path
):
    config = Config(corpus=CorpusConfig(name="emodb", root=str(emodb_root)))
    corpus = corpus_of(config, cache_root)
    folds = folds_of(corpus, FoldsConfig(method="leave_one_group_out", groups="session"))
    speakers = np.array(corpus.column("speaker"))
    pairs = [" ".join(sorted(set(speakers[fold.test]))) for fold in folds]
    assert pairs == ["03 08", "09 10", "11 12", "13 14", "15 16"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_session_validates_in_nearly_all_folds(corpus: Corpus, seed: int):
    config = FoldsConfig(method="leave_one_group_out", groups="session")
    names = groups_of(corpus, config)
    folds = folds_of(corpus, replace(config, seed=seed))
    chosen = [session for fold in folds for session in set(names[fold.val])]
    assert max(map(chosen.count, chosen)) <= 2


def tiny(n_groups: int, **columns: str) -> Corpus:
    rows = tuple(
        Utterance(f"u{g}{e}", e, text=f"{g} {e}", speaker=f"s{g}", dialogue_id=f"d{g}")
        for g in range(n_groups)
        for e in ("a", "b")
    )
    rows = tuple(replace(row, **columns) for row in rows)
    return Corpus("tiny", Path(), ("a", "b"), rows, ("",) * len(rows))


@pytest.mark.parametrize(
    "corpus_, config, message",
    [
        (tiny(4), FoldsConfig(n_splits=5), "4 speakers are fewer than 5 folds"),
        (tiny(2), FoldsConfig(n_splits=2), r"2 speaker\(s\) cannot fill train, val and test"),
        (tiny(5), FoldsConfig(groups="session"), "has no sessions: add a column"),
    ],
)
def test_groups_that_cannot_be_folded_are_refused(corpus_, config, message: str):
    with pytest.raises(CorpusError, match=message):
        folds_of(corpus_, config)


def test_a_class_of_one_speaker_is_refused_because_a_fold_would_train_without_it():
    corpus = tiny(5)
    rows = list(corpus.utterances)
    rows[0] = replace(rows[0], label="c")
    lonely = replace(corpus, emotions=("a", "b", "c"), utterances=tuple(rows))
    with pytest.raises(CorpusError, match="trains without any 'c'"):
        folds_of(lonely, FoldsConfig())


def test_the_audit_refuses_a_shared_group():
    corpus = tiny(5)
    folds = folds_of(corpus, FoldsConfig())
    moved = replace(folds[0], test=np.append(folds[0].test, folds[0].train[0]))
    with pytest.raises(LeakError, match=r"fold 0: speaker 's\d' is in train and in test"):
        audited(corpus, (moved, *folds[1:]), Config(model=TEXT))


def test_the_audit_counts_shared_transcripts_audio_and_speakers():
    corpus = tiny(6, text="the same words")
    corpus = replace(corpus, audio_digests=("x", "x", *map(str, range(10))))
    config = Config(folds=FoldsConfig(groups="dialogue"), model=TEXT)
    folds = folds_of(corpus, config.folds)
    rows = [replace(row, speaker="one") for row in corpus.utterances]
    findings = audited(replace(corpus, utterances=tuple(rows)), folds, config)
    kinds = {finding.kind: finding.message for finding in findings}
    assert kinds["shared_speaker"].startswith("12 of 12 test utterances share their speaker")
    assert kinds["shared_transcript"].startswith("12 of 12")
    assert "shared_audio" not in kinds  # both are in one dialogue
    corpus = replace(corpus, audio_digests=("x",) * 12)
    assert "shared_audio" in {f.kind for f in audited(corpus, folds, config)}


def test_the_audit_names_speaker_normalisation_and_encoders_trained_on_the_corpus():
    corpus = replace(tiny(5), name="iemocap")
    config = Config()
    features = replace(
        config.features,
        normalise="speaker",
        text="transformers",
        transformers=replace(config.features.transformers, model="someone/bert-iemocap"),
    )
    folds = folds_of(corpus, config.folds)
    kinds = {f.kind for f in audited(corpus, folds, replace(config, features=features))}
    assert {"speaker_normalisation", "encoder_trained_on_corpus"} <= kinds


def test_chosen_groups_alone_are_test_counted_in_the_order_of_their_names(cache_root: Path):
    config = Config(corpus=CorpusConfig(demo=DemoConfig(utterances=150)))
    corpus = corpus_of(config, cache_root)
    every = FoldsConfig(method="leave_one_group_out", groups="session")
    folds = folds_of(corpus, replace(every, tested=(5, 2)))
    names = groups_of(corpus, every)
    assert [set(names[fold.test]) for fold in folds] == [{"S2"}, {"S5"}]
    assert [fold.index for fold in folds] == [0, 1]
    with pytest.raises(
        CorpusError, match=r"folds.tested is \[6\], but '6' is none of the 5 sessions"
    ):
        folds_of(corpus, replace(every, tested=(6,)))
