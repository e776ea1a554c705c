"""`jobs.corpora`: what can be read by name, and what each needs."""

from rich.console import Console

from raysys.corpus import NEEDS, recipe_text, recipes
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
    for reader, needs in NEEDS.items():
        console.print(f"{reader:12} {needs}", markup=False, soft_wrap=True)
    line = "next         python -m jobs.cross_validate configs/recipe.yaml --corpus.recipe.file NAME --corpus.root DIR"
    console.print(line, markup=False, soft_wrap=True)
