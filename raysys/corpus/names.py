"""Names that people write by hand: of emotions, speakers, sessions, dialogues, utterances.

The same name must be the same text: blanks around it and its Unicode form do not count. Names that differ in less than
a reader would notice are named together; nothing is merged.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
"""Zero-width characters, which web pages and spreadsheets leave at the ends of cells."""


def clean_name(name: str) -> str:
    """The name without blanks around it, in Unicode's form NFC."""
    stripped = name.strip().strip(_INVISIBLE).strip()
    return stripped if stripped.isascii() else unicodedata.normalize("NFC", stripped)


def label_key(name: str) -> str:
    """What two labels share that differ in case, blanks, hyphens, quotes or invisible characters alone."""
    shown = "".join(
        c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf"
    )
    return re.sub(r"[\s_'\"`-]+", "", _whole(shown)).casefold()


def group_key(name: str) -> str:
    """What two groups share that look nearly alike: as `label_key`, without signs and leading zeros (3 and 03)."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]+", "", _whole(name)).casefold())


def _whole(name: str) -> str:
    """A whole number without the .0 that a table of floats gives it."""
    return re.sub(r"(?<=\d)\.0+$", "", name)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts names as people count: 2 before 10, `s2` before `s10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p)


def alike(names: Iterable[str], key: Callable[[str], str] = label_key) -> list[list[str]]:
    """Different names that share a key, in groups, each sorted."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(key(name), set()).add(name)
    return [sorted(group) for group in found.values() if len(group) > 1]
