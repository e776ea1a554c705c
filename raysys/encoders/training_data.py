"""On which corpora of emotion a pretrained model was trained, so that its features have seen their test parts.

    the table below, and --features.trained_on     part of a model's name = corpus
    the model's own name                           that of a corpus in it
    the model's card (README.md)                   its list of datasets, and its text

What is missed passes for clean, so a card that only mentions the corpus is reported too, as such.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from raysys.corpus.finding import Finding

_EMOBOX = (
    "aesdd", "ased", "asvpesd", "cafe", "casia", "cremad", "emns", "emodb", "emovdb", "emovo", "emozionalmente",
    "enterface", "esd", "iemocap", "jlcorpus", "m3ed", "mead", "meld", "mer2023", "mesd", "msppodcast", "oreau",
    "pavoque", "polish", "ravdess", "resd", "savee", "shemo", "subesco", "tess", "turevdb", "urdu",
)  # fmt: skip
"""Ma et al. 2024, EmoBox (arXiv:2406.07162), in whose toolkit emotion2vec_plus was made."""
KNOWN: Mapping[str, Sequence[str]] = {
    "superb-er": ("iemocap",),
    "emotion-english-distilroberta": ("meld",),
    "emotion-english-roberta": ("meld",),
    "emoberta": ("meld", "iemocap"),
    "xlsr-en-speech-emotion-recognition": ("ravdess",),
    "emotion-msp-dim": ("msppodcast",),
    "emotion2vec_plus": _EMOBOX,
    "emotion2vec": ("iemocap", "meld", "mead", "cmumosei", "msppodcast"),
}
"""Part of a model's name -> corpora, written without hyphens, as its authors' cards and papers say."""
_LONG = 5
"""Letters of a corpus' name that are no part of another word."""
_ALIASES = {
    "emodb": ("emo-db", "berlin database of emotional speech"),
    "msppodcast": ("msp-podcast",),
    "cmumosei": ("mosei",),
    "cremad": ("crema",),
}
"""What else a corpus is called."""


def trained_on(
    model: str, corpus: str, extra: Mapping[str, Sequence[str]] | None = None
) -> list[Finding]:
    """What the audit says of a model that was, or may have been, trained on the corpus.

    Args:
        model: its name, or its folder.
        corpus: name of the corpus.
        extra: part of a model's name -> corpora, besides `KNOWN`.
    """
    name, wanted = model.lower(), _plain(corpus)
    table = {**KNOWN, **(extra or {})}
    listed = any(
        part.lower() in name and wanted in map(_plain, corpora) for part, corpora in table.items()
    )
    own = Path(name).name
    if listed or _mentions(own, corpus) or (len(wanted) >= _LONG and wanted in _plain(own)):
        return [_warning(f"encoder {name} was trained on {corpus}")]
    datasets, text = _card(model)
    if any(_mentions(one, corpus) for one in datasets):
        return [_warning(f"encoder {name} was trained on {corpus}, as its card's datasets say")]
    if _mentions(text, corpus):
        message = f"the card of encoder {name} mentions {corpus}: read whether it was trained on it"
        return [Finding("warning", "encoder_card_mentions_corpus", message)]
    return []


def _warning(what: str) -> Finding:
    message = f"{what}: its features have seen the test part"
    return Finding("warning", "encoder_trained_on_corpus", message)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _mentions(text: str, corpus: str) -> bool:
    """Whether the corpus, by one of its names, is a word of the text; hyphens and blanks do not matter."""
    for one in (corpus, *_ALIASES.get(_plain(corpus), ())):
        letters = re.split(r"[^a-z0-9]+", one.lower())
        pattern = r"[^a-z0-9]?".join(re.escape(part) for part in letters if part)
        if pattern and re.search(rf"(?<![a-z0-9]){pattern}(?![a-z0-9])", text.lower()):
            return True
    return False


def _card(model: str) -> tuple[list[str], str]:
    """The datasets of a model's card, and its text; nothing where there is none on this machine."""
    file = _card_file(model)
    if file is None:
        return [], ""
    text = file.read_text("utf-8", errors="replace")
    found = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(?:\n|$)", text, re.DOTALL)
    if not found:
        return [], text
    try:
        head = yaml.safe_load(found[1])
    except yaml.YAMLError:
        return [], text
    datasets = head.get("datasets") if isinstance(head, dict) else None
    if isinstance(datasets, str):
        datasets = [datasets]
    return [str(one) for one in datasets or ()], text[found.end() :]


def _card_file(model: str) -> Path | None:
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder / "README.md" if (folder / "README.md").is_file() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model, "README.md")
    except HFValidationError:  # no name of the hub
        return None
    return Path(cached) if isinstance(cached, str) else None
