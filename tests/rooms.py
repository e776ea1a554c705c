"""Rooms of the house, as proofs name them: parts of raysys (`cluster`, `storage`), and `jobs`."""

import subprocess
from pathlib import Path, PurePath


def known_rooms(root: Path) -> set[str]:
    """Every room.

    Args:
        root: of the checkout.
    """
    package = root / "raysys"
    return {"jobs", *(p.stem for p in package.iterdir() if p.suffix == ".py" or p.is_dir())}


def changed_rooms(root: Path) -> set[str]:
    """Rooms that differ from what has landed (origin/main), uncommitted changes included; all without an origin.

    Args:
        root: of the checkout.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    landed = git("merge-base", "HEAD", "origin/main").strip()
    if not landed:
        return known_rooms(root)
    files = [
        *git("diff", "--name-only", landed).split(),
        *git("ls-files", "--others", "--exclude-standard").split(),
    ]
    return rooms_of(files) & known_rooms(root)


def rooms_of(files: list[str]) -> set[str]:
    """The rooms in which files lie.

    Args:
        files: relative to the root of the checkout.
    """
    found = set()
    for file in map(PurePath, files):
        if file.suffix == ".py" and file.parts[0] == "raysys" and len(file.parts) > 1:
            found.add(PurePath(file.parts[1]).stem)
        elif file.suffix == ".py" and file.parts[0] == "jobs":
            found.add("jobs")
    return found
