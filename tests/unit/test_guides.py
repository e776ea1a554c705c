"""The front page is short; what it and the guides point to is there; figures printed twice are the same."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (
    "README.md",
    "jobs/README.md",
    "configs/README.md",
    "configs/CLUSTER.md",
    "raysys/README.md",
    "raysys/corpus/README.md",
    "raysys/encoders/README.md",
    "raysys/models/README.md",
    "raysys/EVALUATION.md",
    "configs/kubernetes/README.md",
    "raysys/PYTHON.md",
    "raysys/PLUGINS.md",
    "tests/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
)
_SCRIPTS = ("raysys/PYTHON.md", "raysys/PLUGINS.md")
"""Each one script in blocks, which `tests/cluster/test_python.py` and `test_plugins.py` run."""


def read(guide: Path | str) -> str:
    return (ROOT / guide).read_text()


def prose(text: str) -> str:
    """Text without code, in which brackets and # mean other things."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)


def anchors(text: str) -> set[str]:
    """Names by which GitHub links to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def results(guide: str) -> list[str]:
    """Rows, with their head, of the first table of a page."""
    return re.findall(r"(?:^\|.*\n)+", read(guide), re.M)[0].splitlines()


def test_the_front_page_is_short():
    text = read("README.md")
    assert len(text.splitlines()) <= 160
    assert len(text.split()) <= 1400


@pytest.mark.parametrize("guide", GUIDES)
def test_every_link_points_to_what_is_there(guide: str):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(read(guide))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / guide).parent / target if target else ROOT / guide
        assert path.resolve().is_relative_to(ROOT), f"{guide}: {link}"
        assert path.exists(), f"{guide}: {link}"
        assert not anchor or anchor in anchors(path.read_text()), f"{guide}: {link}"


@pytest.mark.parametrize("guide", GUIDES)
def test_every_preset_that_a_guide_names_exists(guide: str):
    code = re.findall(r"```.*?```|`[^`\n]*`", read(guide), re.S)
    for name in re.findall(r"\bconfigs/[\w./-]*", "\n".join(code)):
        assert (ROOT / name).exists(), f"{guide}: {name}"


def test_every_guide_is_linked_from_the_front_page():
    linked = re.findall(r"\]\(([^)#\s]+)", prose(read("README.md")))
    assert set(GUIDES[1:]) <= set(linked)


def test_results_of_the_front_page_are_those_of_the_whole_table():
    shown, all_of_them = results("README.md"), results("configs/README.md")
    assert len(shown) == 8  # head, rule, six results
    assert set(shown) <= set(all_of_them)


def python_blocks() -> list[tuple[str, str]]:
    """(guide, code) of every Python block."""
    return [
        (guide, textwrap.dedent(code))
        for guide in GUIDES
        if guide not in _SCRIPTS
        for code in re.findall(r"^ *```python\n(.*?)^ *```$", read(guide), re.S | re.M)
    ]


def test_what_python_blocks_import_and_use_is_there():
    blocks = python_blocks()
    assert blocks
    for guide, code in blocks:
        tree = ast.parse(code)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names: dict[str, object] = {}
        exec(compile(ast.Module(imports, []), guide, "exec"), names)
        assert imports, guide
        for call in ast.walk(tree):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id in names
            ):
                given = {word.arg: None for word in call.keywords if word.arg}
                inspect.signature(names[call.func.id]).bind(*call.args, **given)  # type: ignore[arg-type]
