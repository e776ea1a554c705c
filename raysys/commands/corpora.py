"""`jobs.corpora`: what can be read by name, and what each needs."""

from rich.console import Console

from raysys.corpus import READERS, recipe_text, recipes
from raysys.report.tables import as_rich
from raysys.tasks.exhibits import Table


def corpora_command(name: str) -> None:
    """Print all recipes, or one whole.

    Args:
        name: of a recipe; empty: all.

    Raises:
        CorpusError: there is no such recipe.
    """
    console = Console(highlight=False)
    if name:
        print(recipe_text(name), end="")
        return
    rows = [
        (
            one.name,
            str(len(set(one.emotions.values()))),
            "-" if one.utterances is None else str(one.utterances),
            one.licence,
        )
        for one in recipes().values()
    ]
    heads = ("recipe", "emotions", "files", "licence")
    console.print(as_rich(Table("", heads, rows)))
    others = ", ".join(one for one in READERS if one != "recipe")
    lines = (
        f"readers      {others}: --corpus.name NAME --corpus.root DIR",
        "next         python -m jobs.cross_validate configs/demo.yaml --corpus.name recipe --corpus.recipe.file NAME "
        "--corpus.root DIR",
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
