"""Leak audit: what the parts of the folds share, looked for before any training.

A shared group is an error. Shared speakers, identical audio and identical transcripts are warnings with counts: some
corpora have them by design (EmoDB's ten sentences, IEMOCAP's scripts), and readers of a result should know.
"""

from collections.abc import Sequence

import numpy as np

from raysys.corpus.audio import SILENT
from raysys.corpus.finding import Finding
from raysys.corpus.folds import Fold, FoldsConfig, groups_of, tested_groups
from raysys.corpus.table import Corpus, Official
from raysys.errors import LeakError


def audit_folds(
    corpus: Corpus,
    folds: tuple[Fold, ...],
    config: FoldsConfig,
    *,
    modalities: Sequence[str],
    notes: Sequence[Finding] = (),
) -> tuple[Finding, ...]:
    """Look for leaks and list what a reader of the result must know.

    Args:
        corpus: checked.
        folds: of it.
        config: says what a group is.
        modalities: that the model reads.
        notes: of the encoders (see `raysys.encoders`).

    Raises:
        LeakError: a group, or an utterance, is in two parts of a fold.
    """
    published = corpus.official if config.method == "official" else None
    if published is None:
        _refuse_shared("group", groups_of(corpus, config), folds, config.groups)
    _refuse_shared("row", np.arange(len(corpus)), folds, "utterance")
    findings = [
        *_as_published(published, folds),
        *_shared("speaker", np.array(corpus.column("speaker")), folds, corpus),
        *_shared("audio", np.array(corpus.audio_digests), folds, corpus),
    ]
    if corpus.video_digests:
        findings += _shared("video", np.array(corpus.video_digests), folds, corpus)
    if corpus.image_digests:
        findings += _shared("image", np.array(corpus.image_digests), folds, corpus)
    if "text" in modalities:
        texts = np.array([" ".join(text.lower().split()) for text in corpus.column("text")])
        findings += _shared("transcript", texts, folds, corpus)
    findings += [*_tested(corpus, config), *corpus.findings, *notes]
    if corpus.synthetic:
        findings.append(
            Finding("note", "synthetic", "the corpus is synthetic: no claim about people")
        )
    if corpus.quarantine:
        silent = sum(SILENT in one.reason for one in corpus.quarantine)
        told = f", {silent} of them silent" if silent else ""
        message = (
            f"{len(corpus.quarantine)} bad utterances were left out{told} (see quarantine.json)"
        )
        findings.append(Finding("warning", "quarantine", message))
    return tuple(findings)


def _as_published(published: Official | None, folds: tuple[Fold, ...]) -> list[Finding]:
    """A finding on who published the folds, and what is known of them."""
    if published is None:
        return []
    message = f"{len(folds)} published fold{'s'[: len(folds) > 1]} ({published.source})"
    known = f"; {published.scores}" if published.scores else ""
    honest = "speakers held out: --folds.method stratified_group --folds.groups speaker"
    return [Finding("note", "published_folds", f"{message}{known}; {honest}")]


def _tested(corpus: Corpus, config: FoldsConfig) -> list[Finding]:
    """Which groups the folds test, where each tests one."""
    if config.method != "leave_one_group_out" or not config.tested:
        return []
    groups = groups_of(corpus, config)
    names, every = tested_groups(groups, config), set(groups.tolist())
    message = f"tested: {config.groups} {', '.join(names)} alone, of {len(every)}: the score says nothing of the others"
    return [Finding("note", "tested", message)]


def _refuse_shared(kind: str, values: np.ndarray, folds: tuple[Fold, ...], name: str) -> None:
    for fold in folds:
        parts = list(fold.parts().items())
        for k, (first, rows) in enumerate(parts):
            for second, others in parts[k + 1 :]:
                both = set(values[rows].tolist()) & set(values[others].tolist())
                if both:
                    raise LeakError(
                        f"fold {fold.index}: {name} {sorted(both)[0]!r} is in {first} and in {second}: every {kind} "
                        "must be in one part: set --folds.groups to what the parts hold apart, or --folds.method to "
                        "another one"
                    )


def _shared(
    kind: str, values: np.ndarray, folds: tuple[Fold, ...], corpus: Corpus
) -> list[Finding]:
    """Test utterances whose value also occurs in their fold's train or val part."""
    count, worst = 0, ""
    for fold in folds:
        known = set(values[np.concatenate([fold.train, fold.val])].tolist()) - {""}
        hits = [k for k in fold.test if values[k] in known]
        count += len(hits)
        worst = worst or (corpus.utterances[hits[0]].utterance_id if hits else "")
    if not count:
        return []
    total = sum(len(fold.test) for fold in folds)
    message = (
        f"{count} of {total} test utterances share their {kind} with train or val, first {worst}"
    )
    return [Finding("warning", f"shared_{kind}", message)]
