"""Label formats: which variables describe an emotion, what they may be, and which of them mean the same.

    format   va, vad, be5, be6, izard, plutchik8, fer7, affectnet8, or a corpus' own: variables, kind, range
    kind     numeric: a rating of each variable; binary: each is there or not; categorical: one of them is

A format may be rated from a perspective, NAME@PERSPECTIVE (vad@reader, vad@writer: what a text does to its readers, and
how its writer felt; Buechel & Hahn 2017, EACL). Those are formats of their own with the variables of NAME, which soft
sharing ties and nothing merges.

Ratings are brought to 0..1 when they are read, whatever their corpus' scale, so that one model serves many corpora.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raysys.errors import ConfigError, nearest

Kind = Literal["numeric", "binary", "categorical"]
PERSPECTIVE = "@"
"""Between a format's name and its perspective."""


@dataclass(frozen=True)
class Format:
    """One way of describing an emotion."""

    name: str
    variables: tuple[str, ...]
    kind: Kind = "numeric"
    low: float = 0.0
    """Smallest rating of a numeric variable, in the unit of its corpus."""
    high: float = 1.0
    """Largest."""
    generated: bool = False
    """Whether its ratings are a model's and no people's: learnt from, never tested on."""

    @property
    def base(self) -> str:
        """Its name without a perspective."""
        return self.name.partition(PERSPECTIVE)[0]

    def scaled(self, rating: float) -> float:
        """A rating as 0..1."""
        return (rating - self.low) / (self.high - self.low)


FORMATS: Mapping[str, Format] = {
    "va": Format("va", ("valence", "arousal"), low=1.0, high=9.0),
    "vad": Format("vad", ("valence", "arousal", "dominance"), low=1.0, high=9.0),
    "be5": Format("be5", ("joy", "anger", "sadness", "fear", "disgust"), low=1.0, high=5.0),
    "be6": Format(
        "be6", ("joy", "anger", "sadness", "fear", "disgust", "surprise"), low=0.0, high=100.0
    ),
    "izard": Format(
        "izard",
        ("joy", "anger", "sadness", "fear", "disgust", "shame", "guilt"),
        kind="categorical",
    ),
    "fer7": Format(
        "fer7",
        ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
        kind="categorical",
    ),
    "affectnet8": Format(
        "affectnet8",
        (
            "neutral",
            "happiness",
            "sadness",
            "surprise",
            "fear",
            "disgust",
            "anger",
            "contempt",
        ),
        kind="categorical",
    ),
    "plutchik8": Format(
        "plutchik8",
        ("anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"),
        kind="binary",
    ),
}
"""Known formats: valence, arousal, dominance (Russell & Mehrabian 1977; scale of Bradley & Lang 1999), five basic
emotions (Ekman 1992 without surprise; scale of Stadthagen-Gonzalez et al. 2018), Ekman's six (scale of Strapparava &
Mihalcea 2007), the seven of ISEAR that Izard's theory names (Scherer & Wallbott 1994), the seven classes of FER2013
(Goodfellow et al. 2013, arXiv:1307.0414), the eight of AffectNet (Mollahosseini et al. 2017, arXiv:1708.03985),
Plutchik's eight (1980; there or not, as in the NRC Emotion Lexicon, Mohammad & Turney 2013)."""

EQUIVALENT: tuple[tuple[str, ...], ...] = (
    ("anger", "angry"),
    ("boredom", "bored"),
    ("calm", "calmness"),
    ("disgust", "disgusted"),
    ("excitement", "excited"),
    ("fear", "fearful", "afraid"),
    ("frustration", "frustrated"),
    ("joy", "happiness", "happy"),
    ("sadness", "sad"),
    ("surprise", "surprised"),
)
"""Variables of different formats that mean the same, besides those of one name (seeds/002, section 3.2)."""


def named_like(base: str, formats: Iterable[Format]) -> str | None:
    """Name of the format `base`, else of the first one that is `base` from some perspective; None without one."""
    names = [one.name for one in formats if one.base == base]
    return base if base in names else next(iter(names), None)


def equivalents(
    formats: Sequence[Format], classes: Iterable[Sequence[str]] = ()
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of variables of different formats that mean the same, each as (format, variable) by position.

    Args:
        formats: whose variables are compared.
        classes: sets of names that mean the same, besides `EQUIVALENT`.

    Raises:
        ConfigError: a class names a variable that no format has.
    """
    known = {name for one in formats for name in one.variables}
    for one in classes:
        for name in one:
            if name not in known:
                raise ConfigError(
                    f"an equivalence class names '{name}', which no format has: {nearest(name, known)}"
                )
    meaning = dict[str, str]()
    for names in (*EQUIVALENT, *classes):
        same = {meaning.get(name, name) for name in names}  # a class may join others
        meaning |= {name: names[0] for name, what in meaning.items() if what in same}
        meaning |= dict.fromkeys(names, names[0])
    places = [
        ((f, v), meaning.get(name, name))
        for f, one in enumerate(formats)
        for v, name in enumerate(one.variables)
    ]
    return [
        (first, second)
        for k, (first, what) in enumerate(places)
        for second, other in places[k + 1 :]
        if what == other and first[0] != second[0]
    ]
