"""Checks that stand between a reader and everything else: from `RawCorpus` to `Corpus`.

Each problem names the row, the rule and the remedy. Problems of single utterances can be moved to the quarantine list
(`corpus.skip_bad`); problems of the corpus as a whole always stop.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from raysys.corpus.audio import SILENT, Digests, Heard
from raysys.corpus.files import SourceConfig, file_under
from raysys.corpus.remarks import (
    look_at_audio,
    look_at_gaps,
    look_at_groups,
    look_at_labels,
    look_at_texts,
    look_at_votes,
    refuse_labels_alike,
)
from raysys.corpus.table import Corpus, Quarantined, RawCorpus, Utterance
from raysys.corpus.tables import in_one_line
from raysys.errors import CorpusError
from raysys.storage import Folder

_FILL = "fill the column '{0}', or set --features.precomputed.{0} FILE.npz"
_OTHER = {"text": "audio", "audio": "text"}
_SKIP = "fix it or pass --corpus.skip_bad true"


class Rules(ABC):
    """What a task asks of a corpus. Raises of all three: `CorpusError`."""

    @staticmethod
    @abstractmethod
    def check_names(names: tuple[str, ...]) -> None:
        """Refuse the names of what is predicted: emotions, or targets."""

    @staticmethod
    @abstractmethod
    def check_row(row: Utterance, names: tuple[str, ...], where: str) -> None:
        """Refuse an utterance that cannot be learnt from."""

    @staticmethod
    @abstractmethod
    def check_rows(rows: Sequence[Utterance], names: tuple[str, ...], corpus: str) -> None:
        """Refuse what is left of the corpus as a whole."""


@dataclass(frozen=True)
class _Checked:
    utterance: Utterance
    heard: Heard | None = None
    film: str = ""
    """Digest."""
    picture: str = ""


def check_corpus(
    raw: RawCorpus,
    config: SourceConfig,
    rules: type[Rules],
    *,
    modalities: tuple[str, ...],
    cache: Folder,
) -> Corpus:
    """Check every row and the corpus as a whole.

    Args:
        raw: what the reader found.
        config: `emotions` or `targets` choose and order what is predicted; `skip_bad` quarantines bad rows.
        rules: of the task.
        modalities: streams that the model will use; only those must be present and sound.
        cache: where digests of audio are kept, so that it is decoded once and not by every command.

    Raises:
        CorpusError: what is wrong, up to ten problems and the number of further ones.
    """
    targets = config.targets or raw.targets
    names = targets or config.emotions or raw.emotions
    refuse_labels_alike(raw)
    rules.check_names(names)
    _check_streams(raw, modalities)
    good: list[_Checked] = []
    bad: list[Quarantined] = []
    known: list[Quarantined] = []
    checked = _check_rows(raw, names, rules, modalities, Digests(cache, raw.root))
    for row, found in zip(raw.utterances, checked, strict=True):
        if isinstance(found, _Checked):
            good.append(found)
        elif row.utterance_id in raw.known_bad:
            reason = f"known: {raw.known_bad[row.utterance_id]}"
            known.append(Quarantined(row.utterance_id, reason))
        elif raw.has_silent and SILENT in str(found):
            known.append(Quarantined(row.utterance_id, f"known: {found}"))
        else:
            bad.append(Quarantined(row.utterance_id, str(found)))
    if bad and not config.skip_bad:
        raise CorpusError(f"{in_one_line([one.reason for one in bad])}: {_SKIP}")
    if not good:
        raise CorpusError(f"corpus {raw.name} at {raw.root} has no usable utterance")
    rows = [item.utterance for item in good]
    rules.check_rows(rows, names, raw.name)
    heard = {one.utterance.utterance_id: one.heard for one in good if one.heard}
    findings = (
        *raw.findings,
        *look_at_gaps(rows),
        *look_at_labels(rows),
        *look_at_groups(rows),
        *look_at_votes(rows, () if targets else names),
        *look_at_texts(rows if "text" in modalities else []),
        *look_at_audio(raw, heard),
    )
    return Corpus(
        name=raw.name,
        root=raw.root,
        emotions=() if targets else names,
        targets=targets,
        formats=raw.formats,
        equivalent=raw.equivalent,
        is_divided=raw.is_divided,
        official=raw.official,
        utterances=tuple(rows),
        audio_digests=tuple(one.heard.digest if one.heard else "" for one in good),
        findings=findings,
        quarantine=(*bad, *known),
        synthetic=raw.synthetic,
        video_digests=tuple(one.film for one in good) if "video" in modalities else (),
        image_digests=tuple(one.picture for one in good) if "image" in modalities else (),
    )


def check_dialogues(raw: RawCorpus) -> None:
    """What a model that reads whole dialogues needs: every turn once, in one session and part, and who speaks.

    Raises:
        CorpusError: the first dialogue with a missing or doubled turn, in two places, or with a turn without a speaker.
    """
    turns: dict[str, dict[int, str]] = {}
    places: dict[str, Utterance] = {}
    for row, where in zip(raw.utterances, raw.origin, strict=True):
        one = places.setdefault(row.dialogue_id, row)
        for column in ("session", "split"):
            here, there = getattr(row, column), getattr(one, column)
            if here != there:
                raise CorpusError(
                    f"{where}: dialogue '{row.dialogue_id}' is in {column} '{here}', but its turn {one.turn} is in "
                    f"'{there}': fix the column '{column}', or give the two dialogues different names"
                )
        if row.turn < 0:
            raise CorpusError(f"{where}: turn is {row.turn}, but must be 0 or more")
        known = turns.setdefault(row.dialogue_id, {})
        if row.turn in known:
            raise CorpusError(
                f"{where}: dialogue '{row.dialogue_id}' has turn {row.turn} twice (first at {known[row.turn]}), but "
                "the model reads whole dialogues: number every row's 'turn': 0, 1, 2, ..."
            )
        known[row.turn] = where
    for dialogue, known in turns.items():
        before = min(*known, 1) - 1
        for turn in sorted(known):
            if turn == before + 1:
                before = turn
                continue
            raise CorpusError(
                f"{known[turn]}: dialogue '{dialogue}' has a turn {turn} but no turn {before + 1}, and the "
                "model reads whole dialogues: add the row, or number the turns without gaps"
            )
    for row, where in zip(raw.utterances, raw.origin, strict=True):
        if not row.speaker and len(turns[row.dialogue_id]) > 1:
            raise CorpusError(
                f"{where}: turn {row.turn} of dialogue '{row.dialogue_id}' has no speaker, but the model uses who "
                "speaks: fill the column 'speaker'"
            )


def _check_streams(raw: RawCorpus, modalities: tuple[str, ...]) -> None:
    """Refuse a modality that no row has at all."""
    for modality in modalities:
        if any(getattr(row, modality) for row in raw.utterances):
            continue
        if modality == "audio" and raw.absent:
            name, wanted = next(iter(raw.absent.items()))
            raise CorpusError(
                f"corpus {raw.name} at {raw.root} has none of its recordings, first '{wanted}' of '{name}': set "
                f"--corpus.root to the folder that holds them, or leave audio out: --model.modalities "
                f"'{_without('audio', modalities)}'"
            )
        remedy = (
            _FILL.format(modality)
            if modality in ("video", "image")
            else f"add it, or leave it out: --model.modalities '{_without(modality, modalities)}'"
        )
        raise CorpusError(f"corpus {raw.name} at {raw.root} has no {modality}: {remedy}")


def _without(modality: str, modalities: tuple[str, ...]) -> str:
    """The others as a flag has them; what there may be, where there is no other."""
    left = [one for one in modalities if one != modality] or [_OTHER.get(modality, "text")]
    return f"[{','.join(left)}]"


def _check_rows(
    raw: RawCorpus,
    names: tuple[str, ...],
    rules: type[Rules],
    modalities: tuple[str, ...],
    digests: Digests,
) -> list[_Checked | CorpusError]:
    """What each row is, or what is wrong with it; several at a time, as decoding and hashing free Python's lock."""
    first: dict[str, int] = {}
    for k, row in enumerate(raw.utterances):
        first.setdefault(row.utterance_id, k)

    def check(k: int) -> _Checked | CorpusError:
        row, where = raw.utterances[k], raw.origin[k]
        try:
            if first[row.utterance_id] != k:
                raise CorpusError(
                    f"{where}: utterance_id '{row.utterance_id}' occurs twice, must be unique"
                )
            if not row.utterance_id:
                raise CorpusError(f"{where}: utterance_id is empty, but must name the utterance")
            rules.check_row(row, names, where)
            return _check_row(row, raw, modalities, digests, where=where)
        except CorpusError as problem:
            return problem

    rows = range(len(raw.utterances))
    if not {"audio", "video", "image"} & set(modalities):
        return [check(k) for k in rows]
    threads = ThreadPoolExecutor()
    try:
        checked = list(threads.map(check, rows))
    finally:  # also after Ctrl-C, when thousands of films may still be waiting
        threads.shutdown(cancel_futures=True)
    digests.save()
    return checked


def _check_row(
    row: Utterance,
    raw: RawCorpus,
    modalities: tuple[str, ...],
    digests: Digests,
    *,
    where: str,
) -> _Checked:
    if "text" in modalities and not row.text.strip():
        raise CorpusError(f"{where}: the text is empty, but the model reads text")
    heard, film, picture = None, "", ""
    if "audio" in modalities:
        if not row.audio:
            missing = _missing(row, raw, "no audio path")
            raise CorpusError(f"{where}: {missing}, but the model reads audio")
        row = replace(row, audio=file_under(row.audio, raw.root, f"{where}: audio"))
        heard = digests(row, where)
    if "video" in modalities:
        if not row.video:
            raise CorpusError(
                f"{where}: {_missing(row, raw, 'no video')}, but the model sees video: {_FILL.format('video')}"
            )
        row = replace(row, video=file_under(row.video, raw.root, f"{where}: video"))
        film = digests.of_film(row, where)
    if "image" in modalities:
        if not row.image:
            raise CorpusError(
                f"{where}: {_missing(row, raw, 'no image')}, but the model sees images: {_FILL.format('image')}"
            )
        row = replace(row, image=file_under(row.image, raw.root, f"{where}: image"))
        picture = digests.of_picture(row, where)
    return _Checked(row, heard, film, picture)


def _missing(row: Utterance, raw: RawCorpus, otherwise: str) -> str:
    """Why a row has no file: the name that its reader looked for, where there is one."""
    wanted = raw.absent.get(row.utterance_id)
    return f"'{wanted}' does not exist" if wanted else otherwise
