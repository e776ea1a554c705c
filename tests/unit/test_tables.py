"""Tables in a terminal: whatever its width, nothing is cut."""

from collections import Counter
from collections.abc import Sequence
from io import StringIO

import pytest
from rich.console import Console

from raysys.report.tables import as_rich
from raysys.tasks.exhibits import Table


def confusions(names: Sequence[str]) -> Table:
    counts = [[f"{100 * i + k}" for k in range(len(names))] for i in range(len(names))]
    rows = [(name, *counts[i], "89.9") for i, name in enumerate(names)]
    return Table("confusions", ["true", *names, "recall"], rows, note="Rows add up.")


def printed(table: Table, width: int) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(as_rich(table), markup=False)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


EIGHT = ["anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
THIRTY = [f"{first}{second}motion" for first in "abcdef" for second in "vwxyz"]


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40, 25])
@pytest.mark.parametrize("names", [EIGHT, THIRTY], ids=["8", "30"])
def test_a_table_that_is_wider_than_the_terminal_loses_no_number(width: int, names: list[str]):
    table = confusions(names)
    text = printed(table, width)
    words = Counter(text.split())
    expected = Counter(cell for row in table.rows for cell in row[1:])
    assert not expected - words
    assert "Rows add up." in " ".join(text.split())


def test_heads_are_abbreviated_with_a_legend_before_columns_go_below_each_other():
    assert "ang anger, bor boredom" not in printed(confusions(EIGHT), 100)
    short = printed(confusions(EIGHT), 80)
    assert "ang  bor  dis  fea  hap" in short
    assert "ang anger, bor boredom, dis disgust" in short
    assert short.count("true") == 1
    scores = Table("scores", ["fold", *(f"val F{k}" for k in range(20))], [["0", *["1.5"] * 20]])
    assert printed(scores, 80).count("fold") > 1
