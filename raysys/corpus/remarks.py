"""What a corpus holds that a reader of a result must know: nothing of it is changed, all of it is said.

rows -> labels that are alike (refused), groups that look alike, votes that do not count, texts with lost
characters, audio that is not as published -> findings of the audit
"""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from raysys.corpus.audio import Heard
from raysys.corpus.finding import Finding
from raysys.corpus.names import alike, group_key, label_key
from raysys.corpus.table import Corpus, Facts, RawCorpus, Utterance
from raysys.errors import CorpusError

_MANY = 5000
"""Groups, beyond which nobody compares their names."""
_NAMED = 3
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
"""Control characters, of which 0x80 to 0x9f are what Windows-1252's quotes and dashes become when read as Latin-1."""
_NOTHING = {"nan", "none", "null", "na", "n/a", "<na>", "#n/a", "undefined"}
"""What programs write where they have no value; a text may also say it."""
_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK"}
_FEW = 20
_EMPTY = 0.4
_HOURS_OFF = 0.05
_LATE_SECONDS = 5.0


def refuse_labels_alike(raw: RawCorpus) -> None:
    """Refuse labels that differ in case, blanks or hyphens alone.

    Raises:
        CorpusError: there are such.
    """
    counts = Counter(row.label for row in raw.utterances)
    for group in alike(label for label in counts if label):
        told = ", ".join(f"'{label}' ({counts[label]} rows)" for label in group)
        last = min(group, key=lambda label: counts[label])
        where = next(
            where
            for row, where in zip(raw.utterances, raw.origin, strict=True)
            if row.label == last
        )
        raise CorpusError(
            f"{where}: labels {told} differ in case, blanks, hyphens or invisible characters alone: write them alike"
        )


def look_at_groups(rows: Sequence[Utterance]) -> list[Finding]:
    """Speakers, sessions and dialogues whose names are nearly alike, and may be one."""
    found = []
    for column in ("speaker", "session", "dialogue_id"):
        names = {str(getattr(row, column)) for row in rows} - {""}
        if len(names) > _MANY:
            continue
        for group in alike(names, group_key):
            told = " and ".join(f"'{name}'" for name in group)
            message = f"{column} {told} are nearly alike, but count as {len(group)}: if they are one, write them alike"
            found.append(Finding("warning", "nearly_alike", message))
    return found


def look_at_gaps(rows: Sequence[Utterance]) -> list[Finding]:
    """Cells that say that there is nothing, in words: they are taken as they are."""
    found = []
    for column in ("label", "text", "speaker", "session"):
        there = [row for row in rows if str(getattr(row, column)).strip().lower() in _NOTHING]
        if there:
            word = getattr(there[0], column)
            message = (
                f"{len(there)} rows have the {column} '{word}', first {there[0].utterance_id}: if it stands for a "
                "missing value, leave the cell empty"
            )
            found.append(Finding("warning", "words_for_nothing", message))
    return found


def look_at_labels(rows: Sequence[Utterance]) -> list[Finding]:
    """Classes of one utterance, and names in two scripts, which only look like another one."""
    found, counts = [], Counter(row.label for row in rows if row.label)
    single = [label for label, count in counts.items() if count == 1]
    if single:
        message = f"classes of one utterance, as a slip of the pen makes them: {', '.join(single[:_NAMED])}"
        found.append(Finding("warning", "single_utterance", message))
    for label, count in counts.items():
        if (other := misspelt(label, counts)) and count > 1:
            message = f"emotion '{label}' ({count} utterances) may be '{other}' ({counts[other]}) misspelt"
            found.append(Finding("warning", "misspelt", message))
    if 1 < len(counts) <= _FEW:
        told = ", ".join(f"{label} {count}" for label, count in counts.most_common())
        found.append(Finding("note", "emotions", f"{len(rows)} utterances: {told}"))
    for label in counts:
        scripts = {unicodedata.name(c, "?").split()[0] for c in label if c.isalpha()}
        if len(scripts & _SCRIPTS) > 1:
            told = " and ".join(sorted(map(str.title, scripts)))
            message = f"label '{label}' mixes letters of {told}, which look alike"
            found.append(Finding("warning", "mixed_scripts", message))
    return found


def misspelt(label: str, counts: Mapping[str, int]) -> str:
    """A much more frequent label of nearly the same letters, which may be meant; empty where there is none.

    Args:
        label: one of the corpus.
        counts: label -> utterances.
    """
    frequent = [one for one in counts if one[:1] == label[:1] and counts[one] >= 3 * counts[label]]
    close = difflib.get_close_matches(label, frequent, n=1, cutoff=0.8)
    return close[0] if close else ""


def about_rare(emotion: str, corpus: Corpus) -> str:
    """How often a corpus has an emotion that is too rare, and what to do about it.

    Args:
        emotion: one of the corpus.
        corpus: checked.
    """
    counts = Counter(row.label for row in corpus.utterances)
    first = next(row.utterance_id for row in corpus.utterances if row.label == emotion)
    other = misspelt(emotion, counts)
    fix = f"write '{other}' where that is meant, " if other else ""
    left = ",".join(one for one in corpus.emotions if one != emotion)
    return (
        f"'{emotion}' ({counts[emotion]} in the corpus, first in '{first}'): {fix}choose other --folds.groups, or "
        f"leave it out by --corpus.emotions '[{left}]' --corpus.skip_bad true"
    )


def look_at_votes(rows: Sequence[Utterance], emotions: Sequence[str]) -> list[Finding]:
    """Votes that do not count towards the targets, and labels that most annotators did not give.

    Args:
        rows: of the corpus.
        emotions: the classes; none where numbers are predicted.

    Raises:
        CorpusError: votes name an emotion in another case or with other blanks than the labels do.
    """
    known, keys = set(emotions), {label_key(one): one for one in emotions}
    others: Counter[str] = Counter()
    against: list[str] = []
    for row in rows if emotions else ():
        votes = row.votes or {}
        for name, count in votes.items():
            if name in known:
                continue
            if label_key(name) in keys:
                raise CorpusError(
                    f"utterance '{row.utterance_id}': votes for '{name}', but the emotion is "
                    f"'{keys[label_key(name)]}': write them alike"
                )
            others[name] += 1 if count else 0
        if votes and votes.get(row.label, 0) < max(votes.values()):
            against.append(row.utterance_id)
    found = []
    if others:
        told = ", ".join(f"{name} ({count})" for name, count in others.most_common(_NAMED))
        message = (
            f"votes for emotions that are no classes, in {sum(others.values())} places: {told}; they are no targets, "
            "but where they stand an utterance is not clear (balance)"
        )
        found.append(Finding("note", "votes_without_class", message))
    if against:
        message = (
            f"{len(against)} of {len(rows)} utterances have a label that fewer annotators gave than another emotion, "
            f"first {against[0]}"
        )
        found.append(Finding("note", "votes_against_label", message))
    return found


def look_at_texts(rows: Sequence[Utterance]) -> list[Finding]:
    """Texts with characters that were lost on their way here; they are left as they are."""
    lost = [row for row in rows if _CONTROL.search(row.text)]
    if not lost:
        return []
    marks = "".join(_CONTROL.findall(lost[0].text))
    message = (
        f"{len(lost)} texts hold control characters (0x{ord(marks[0]):02x} in {lost[0].utterance_id}), as letters and "
        "quotes become when a file is read in another encoding: they are left as they are"
    )
    return [Finding("note", "control_characters", message)]


def look_at_audio(raw: RawCorpus, heard: Mapping[str, Heard]) -> list[Finding]:
    """Audio that is not as published, or not as long as the corpus' own tables say."""
    found = []
    if raw.facts:
        found += _against_facts(raw.name, len(raw.utterances), raw.facts, list(heard.values()))
    lengths = Counter(round(one.seconds * one.rate_hz) for one in heard.values())
    if len(heard) >= _FEW and not any(row.end for row in raw.utterances):
        length, count = lengths.most_common(1)[0]
        if 2 * count > len(heard):
            seconds = length / next(iter(heard.values())).rate_hz
            message = (
                f"{count} of {len(heard)} recordings are exactly {seconds:.3f} s long: if they were cut to that, "
                "words are missing"
            )
            found.append(Finding("warning", "equal_lengths", message))
    empty = [name for name, one in heard.items() if one.empty_share > _EMPTY]
    if empty:
        message = (
            f"{len(empty)} recordings hold nothing but zeros in more than {100 * _EMPTY:.0f} % of their length, at the "
            f"end: {', '.join(empty[:_NAMED])}: a file that was not fetched whole looks so"
        )
        found.append(Finding("warning", "zeros_at_the_end", message))
    long = [
        name
        for name, said in raw.seconds.items()
        if name in heard and heard[name].seconds > said + _LATE_SECONDS
    ]
    if long:
        message = (
            f"{len(long)} recordings are more than {_LATE_SECONDS:g} s longer than the corpus' table says: "
            f"{', '.join(long[:_NAMED])}"
        )
        found.append(Finding("warning", "longer_than_table", message))
    return found


def _against_facts(
    name: str, utterances: int, facts: Facts, heard: Sequence[Heard]
) -> list[Finding]:
    told = []
    if facts.utterances not in (None, utterances):
        told.append(f"{utterances} utterances instead of {facts.utterances}")
    if heard and facts.rate_hz is not None:
        rates = Counter(one.rate_hz for one in heard)
        if set(rates) != {facts.rate_hz}:
            rate = next(one for one, _ in rates.most_common() if one != facts.rate_hz)
            told.append(f"{rates[rate]} files at {rate} Hz instead of {facts.rate_hz}")
    if heard and facts.hours is not None and facts.utterances in (None, utterances):
        hours = sum(one.seconds for one in heard) / 3600
        if abs(hours - facts.hours) > _HOURS_OFF * facts.hours:
            told.append(f"{hours:.2f} hours of audio instead of {facts.hours:.2f}")
    if not told:
        return []
    message = f"this copy of {name} is not as published ({facts.source}): {'; '.join(told)}"
    return [Finding("warning", "not_as_published", message)]
