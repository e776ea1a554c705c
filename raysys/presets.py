"""Where the presets that come with raysys are: in a checkout its configs/, else share/raysys where pip put them."""

import sysconfig
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_SHARE = Path("share") / "raysys" / "configs"


@cache
def presets_folder() -> Path:
    """The folder of all presets; of a broken installation, one that is not there."""
    places = [_ROOT / "configs", Path(sysconfig.get_path("data")) / _SHARE, _ROOT / _SHARE]
    return next((one for one in places if (one / "demo.yaml").is_file()), places[0])


def find_preset(path: Path) -> Path:
    """A user's preset, or the one of that name that comes with raysys (`configs/demo.yaml`, `demo.yaml`, `demo`).

    Args:
        path: as it was given.

    Returns:
        The file; `path` itself where there is none.
    """
    if path.is_file() or path.is_absolute():
        return path
    inner = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
    for name in (inner, inner.with_name(f"{inner.name}.yaml")):
        if (presets_folder() / name).is_file():
            return presets_folder() / name
    return path
