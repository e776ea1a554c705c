"""The guide's plug-ins as a module, and a corpus for them."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "raysys" / "PLUGINS.md"
_SAID = {
    "joy": ("what a lovely day!", "great, we won!", "i love it!"),
    "anger": ("get out of here", "stop that now", "who broke it"),
    "sadness": ("nobody came", "it is over", "i miss her"),
}


def write_plugins(folder: Path) -> Path:
    """`mine.py` of the guide's blocks, and `data/lines.txt`: six speakers, three emotions, three lines of each."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (folder / "mine.py").write_text("\n\n".join(blocks))
    (folder / "data").mkdir(parents=True)
    lines = [
        f"speaker{speaker} {label} {text}, says {speaker}"
        for speaker in range(6)
        for label, texts in _SAID.items()
        for text in texts
    ]
    (folder / "data" / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder / "mine.py"
