"""What readers share: which corpus is asked for, and where its files are."""

import difflib
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysys.corpus.arrow import embedded
from raysys.corpus.names import clean_name
from raysys.errors import CorpusError
from raysys.settings import require


@dataclass(frozen=True)
class SourceConfig:
    """What every reader is asked for."""

    name: str = "demo"
    """Reader: demo (generated, synthetic); of your own data manifest (CSV or Parquet), recipe (names of files, by
    configs/corpora), huggingface (Parquet, audiofolder, saved datasets), audformat (audEERING's databases) or ratings
    (of words or texts, in several formats); emobox (EmoBox' metadata and folds), emodb, iemocap, meld; across (one
    corpus to learn from, another to be tested on)."""
    root: str = ""
    """Folder of the corpus; audio paths are relative to it. The demo needs none."""
    manifest: str = ""
    """For `manifest`: the table (.csv, .tsv, .txt, .parquet), relative to root. Empty: manifest.csv, .parquet, .tsv."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For manifest, huggingface, audformat: what the table calls a column, as in {audio: filename, label: emotion}."""
    emotions: tuple[str, ...] = ()
    """Emotions in the order of the classes. Empty: the reader's own order (manifest: sorted)."""
    targets: tuple[str, ...] = ()
    """For the task regression: numeric columns of the manifest, such as [valence,arousal]."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a reader of your own, package.module:function (raysys/PLUGINS.md)."""
    skip_bad: bool = False
    """Move unusable utterances to a quarantine list in the report instead of stopping at the first."""

    def __post_init__(self) -> None:
        for name in ("emotions", "targets"):
            given = getattr(self, name)
            plain = all(one == clean_name(one) for one in given)
            require(
                plain, f"corpus.{name}", given, "names without blanks around them, in Unicode NFC"
            )
        readers = {
            "manifest": ("manifest", "across"),
            "columns": ("manifest", "across", "huggingface", "audformat"),
        }
        for name, allowed in readers.items():
            given = getattr(self, name)
            rule = f"empty unless corpus.name is {' or '.join(allowed)}"
            require(not given or self.name in allowed, f"corpus.{name}", given, rule)


def corpus_root(config: SourceConfig) -> Path:
    """The corpus root as a path.

    Raises:
        CorpusError: it is not set, or not a folder.
    """
    if not config.root:
        raise CorpusError(f"corpus '{config.name}' needs its folder: set --corpus.root DIR")
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise CorpusError(f"corpus.root {root} is not a folder: set --corpus.root to the corpus")
    return root.resolve()


def file_under(name: str, root: Path, what: str) -> str:
    """A file's path relative to the corpus root, below which it stands; links are followed.

    Args:
        name: as the corpus has it, relative to the root, or absolute.
        root: of the corpus.
        what: names row and column, for messages.

    Raises:
        CorpusError: it leaves the root, is no file, or is not there; the message names the nearest one.
    """
    inside = os.path.normpath(name)
    if os.path.isabs(name):
        below = any(Path(inside).is_relative_to(one) for one in (root, root.resolve()))
        inside = os.path.relpath(inside if below else os.path.realpath(inside), root.resolve())
    if inside.split(os.sep)[0] == os.pardir:
        raise CorpusError(f"{what} path '{name}' leaves the corpus root {root}")
    path = root / inside
    table = embedded(path)
    if path.is_file() or (table and table[0].is_file()):
        return inside
    raise CorpusError(f"{what} {_why_no_file(name, path)}")


def _why_no_file(name: str, path: Path) -> str:
    if path.is_dir():
        return f"path '{name}' is a folder, but must be a file"
    if path.is_symlink():
        return f"file '{name}' is a link to {os.readlink(path)}, which does not exist"
    if "\\" in name:
        return f"path '{name}' does not exist: write / where it has backslashes"
    there = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
    alike = {unicodedata.normalize("NFC", one): one for one in there}
    if unicodedata.normalize("NFC", path.name) in alike:
        return (
            f"file '{name}' does not exist, but '{path.name}' in another Unicode form: rename the file, or write the "
            "name in that form (NFC or NFD)"
        )
    same = [one for one in there if _plain_numbers(one) == _plain_numbers(path.name)]
    near = same or difflib.get_close_matches(path.name, there, n=2)
    close = " or ".join(f"'{one}'" for one in near[:2])
    hint = f": did you mean {close}?" if close else f" under {path.parent}"
    return f"file '{name}' does not exist{hint}"


def _plain_numbers(name: str) -> str:
    """A name without zeros before its numbers: 7 and 007 are often the same recording."""
    return re.sub(r"\d+", lambda number: str(int(number[0])), name)
