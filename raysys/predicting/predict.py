"""New utterances through an ensemble: encoded once, predicted by every member, averaged.

    rows -> portions that fit into memory -> frames by the run's encoders -> members -> mean of outputs -> Answers

An utterance that cannot be read costs itself alone. What the members were trained on speaks only through those that
have not learnt from it.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from raysys.batches.normalise import by_speaker
from raysys.config import Config
from raysys.corpus.audio import hear
from raysys.corpus.pictures import picture_digest, read_picture
from raysys.corpus.table import Utterance
from raysys.encoders.encoder import FRAMED, Encoder, Frames
from raysys.encoders.extraction import Unreadable, encode_portion, portions, read_portion
from raysys.encoders.ragged import Ragged
from raysys.errors import ConfigError, CorpusError, FeatureError
from raysys.predicting.members import Ensemble, check_encoders
from raysys.training.arithmetic import settled
from raysys.training.bundle import unlabelled_part

AT_ONCE = 256
"""Utterances whose frames are in memory together."""


@dataclass(frozen=True)
class Answer:
    """What is said of one utterance."""

    row: Utterance
    outputs: Float32[np.ndarray, " output"] | None
    """Mean of the members', as the task reads them; None where it could not be read."""
    agreement: float
    """Share of the members whose most probable output is that of the mean; NaN where outputs are no classes."""
    members: int
    """How many members answered."""
    note: str = ""
    """What a reader must know, or why there is no answer."""


def predict(
    ensemble: Ensemble,
    rows: Sequence[Utterance],
    *,
    told: Callable[[int], None] = lambda count: None,
    most_seconds: float = math.inf,
) -> Iterator[Answer]:
    """Answers in the order of the rows, portion by portion.

    Args:
        ensemble: of a run.
        rows: audio paths are absolute.
        told: called with how many further rows are done.
        most_seconds: of a recording; longer ones are not predicted.

    Raises:
        ConfigError: the run's model cannot read such rows.
        FeatureError: an encoder's model cannot be used.
    """
    _check(ensemble, rows)
    for portion in divided(ensemble, rows, AT_ONCE):
        yield from _portion(ensemble, portion, most_seconds)
        told(len(portion))


def dialogue_note(ensemble: Ensemble, rows: Sequence[Utterance]) -> str:
    """A note where a model of dialogues is given single utterances; empty where it is not."""
    if not ensemble.config.model.chosen.reads_dialogues or _has_dialogues(rows):
        return ""
    return (
        f"{ensemble.config.model.name} reads dialogues, and none was given (columns dialogue_id, turn and speaker of a "
        "table): each utterance is taken for a dialogue of its own"
    )


def check_reads(ensemble: Ensemble, *, alone: bool = False) -> None:
    """Refuse what predicts no recordings or texts.

    Args:
        ensemble: of a run.
        alone: whether each utterance comes by itself, so that nobody knows its speaker's others.

    Raises:
        ConfigError: it maps ratings, or reads features from a file, or needs all of a speaker.
    """
    config = ensemble.config
    if alone and _knows_speakers(config):
        raise ConfigError(
            f"{ensemble.name} normalises each speaker's frames, and one utterance does not show how its speaker "
            "speaks: take a run with --features.normalise train"
        )
    if ensemble.task.reads_formats:
        raise ConfigError(
            f"{ensemble.name} maps ratings between label formats and reads no recordings or texts: see "
            "raysys.load_space"
        )
    for modality in config.model.modalities:
        if config.features.encoder_of(modality) == "precomputed":
            raise ConfigError(
                f"{ensemble.name} reads {modality} features from a file, and nothing here can make such of new "
                "utterances: raysys.load(FOLD).predict(features) takes them"
            )


def _check(ensemble: Ensemble, rows: Sequence[Utterance]) -> None:
    check_reads(ensemble)
    kinds = {
        "audio": "audio files, or a table's column `audio` (--columns '{audio: ITS NAME}')",
        "text": "texts (--text, or a table's column `text`)",
        "video": "films",
        "image": "pictures, or a table's column `image`",
    }
    config = ensemble.config
    for modality in config.model.modalities:
        if not any(getattr(row, modality, "") for row in rows):
            raise ConfigError(
                f"the model of {ensemble.name} reads {' and '.join(config.model.modalities)}, but no row has "
                f"{modality}: give {kinds.get(modality, modality)} too"
            )
    if _knows_speakers(config) and not all(row.speaker for row in rows):
        raise ConfigError(
            f"{ensemble.name} normalises each speaker's frames: give a table with a column `speaker`, or take a run "
            "with --features.normalise train"
        )


def _knows_speakers(config: Config) -> bool:
    framed = set(FRAMED) & set(config.model.modalities)
    return config.features.normalise == "speaker" and bool(framed)


def divided(ensemble: Ensemble, rows: Sequence[Utterance], size: int) -> list[list[Utterance]]:
    """Portions of about so many rows; those that must be predicted together stay so.

    Args:
        ensemble: what its model looks at decides.
        rows: any.
        size: rows, at most, of groups that are smaller.
    """
    found: list[list[Utterance]] = []
    for group in _together(ensemble, rows):
        if not found or len(found[-1]) + len(group) > size:
            found.append([])
        found[-1].extend(group)
    return found


def _together(ensemble: Ensemble, rows: Sequence[Utterance]) -> list[list[Utterance]]:
    """Rows in groups that must be predicted together: all of a speaker, whole dialogues, or each by itself."""
    config = ensemble.config
    if _knows_speakers(config):
        return [list(rows)]
    looks_back = (
        any(encoder.turns_before for encoder in ensemble.encoders.values())
        or config.model.chosen.reads_dialogues
    )
    if not looks_back:
        return [[row] for row in rows]
    runs = [list(run) for _, run in itertools.groupby(rows, key=lambda row: row.dialogue_id)]
    in_one_piece = len(runs) == len({row.dialogue_id for row in rows})
    return runs if in_one_piece else [list(rows)]


def _has_dialogues(rows: Sequence[Utterance]) -> bool:
    return len({row.dialogue_id for row in rows}) < len(rows)


def _portion(ensemble: Ensemble, rows: Sequence[Utterance], most_seconds: float) -> list[Answer]:
    perceived, reasons = _perceive(ensemble, rows, most_seconds)
    frames = {m: _encode(one, rows, reasons) for m, one in ensemble.encoders.items()}
    good = [k for k in range(len(rows)) if k not in reasons]
    answers: dict[int, Answer] = {
        k: Answer(rows[k], None, float("nan"), 0, reason) for k, reason in reasons.items()
    }
    if good:
        kept = [rows[k] for k in good]
        outputs = _members(ensemble, {m: [f[k] for k in good] for m, f in frames.items()}, kept)
        for place, k in enumerate(good):
            speaking, note = ensemble.may_speak(rows[k], perceived.get(k, ""))
            answers[k] = _answer(ensemble, rows[k], outputs[speaking, place], note)
    return [answers[k] for k in range(len(rows))]


def _perceive(
    ensemble: Ensemble, rows: Sequence[Utterance], most_seconds: float
) -> tuple[dict[int, str], dict[int, str]]:
    """Digest of each row's samples, else of its picture, of what the model reads; and what cannot be used -> why."""
    perceived: dict[int, str] = {}
    reasons: dict[int, str] = {}
    modalities = ensemble.config.model.modalities
    for k, row in enumerate(rows):
        for modality in modalities:
            if not getattr(row, modality, ""):
                reasons.setdefault(
                    k, f"{row.utterance_id} has no {modality}, which the model reads"
                )
        if k in reasons:
            continue
        try:
            if "image" in modalities:
                picture = read_picture(Path(row.image), row.utterance_id)
                perceived[k] = picture_digest(picture)
            if "audio" in modalities:
                heard = hear(row, Path(row.audio), row.utterance_id)
                perceived[k] = heard.digest
                if heard.seconds > most_seconds:
                    told = (
                        f"{heard.seconds:.1f} s of audio, and at most {most_seconds:g} s are taken"
                    )
                    reasons[k] = f"{row.utterance_id}: {told}"
        except CorpusError as error:
            reasons[k] = str(error)
    return perceived, reasons


def _encode(
    encoder: Encoder, rows: Sequence[Utterance], reasons: dict[int, str]
) -> dict[int, Frames]:
    """Frames of the rows that have no reason against them; what cannot be encoded gets one."""
    found: dict[int, Frames] = {}
    chosen = [k for k in range(len(rows)) if k not in reasons]
    for portion in portions(rows, Path("/"), encoder, chosen):
        for k, what in encode_portion(encoder, portion, read_portion(encoder, portion, Path("/"))):
            if isinstance(what, Unreadable):  # remedies that set features.* are for training
                reasons[k] = what.reason.split(": set --features")[0]
            else:
                found[k] = what
    return found


def _members(
    ensemble: Ensemble, frames: dict[str, list[Frames]], rows: Sequence[Utterance]
) -> Float32[np.ndarray, "member row output"]:
    features: dict[str, Ragged] = {}
    for modality, every in frames.items():
        lengths = np.array([len(one) for one in every], dtype=np.int64)
        features[modality] = Ragged.of(np.concatenate(every), lengths)
    config, said = ensemble.config, []
    if config.features.normalise == "speaker":
        speakers = [row.speaker for row in rows]
        features = {
            m: by_speaker(one, speakers) if m in FRAMED else one for m, one in features.items()
        }
    places = _places(rows) if config.model.chosen.reads_dialogues and _has_dialogues(rows) else None
    for member in ensemble.members:
        check_encoders(member.bundle, ensemble.fingerprints)
        for modality, dim in member.bundle.dims.items():
            if features[modality].dim != dim:
                raise FeatureError(
                    f"{modality} features are {features[modality].dim} wide, but the model was trained on {dim}: its "
                    "encoder is another one now"
                )
        with settled(member.bundle.config):
            part = unlabelled_part(member.bundle, features, rows=None, places=places)
            said.append(member.bundle.predict(part).outputs)
    return np.stack(said)


def _places(rows: Sequence[Utterance]) -> np.ndarray:
    """Dialogue, turn and speaker as numbers."""
    dialogues = np.unique([row.dialogue_id for row in rows], return_inverse=True)[1]
    speakers = np.unique([row.speaker for row in rows], return_inverse=True)[1]
    turns = [row.turn for row in rows]
    return np.stack([dialogues, turns, speakers], axis=1).astype(np.int64)


def _answer(
    ensemble: Ensemble, row: Utterance, said: Float32[np.ndarray, "member output"], note: str
) -> Answer:
    mean = said.mean(axis=0, dtype=np.float64).astype(np.float32)
    agreement = float("nan")
    if ensemble.task.name == "classification":
        agreement = float((said.argmax(axis=1) == mean.argmax()).mean())
    return Answer(row, mean, agreement, len(said), note)
