"""What can be done: one verb a file, `python -m jobs.VERB`. Each imports its work after its arguments are right."""

import sys
from importlib.util import find_spec

_NEEDED = ("yaml", "jsonargparse", "jaxtyping", "torch")

if missing := [name for name in _NEEDED if find_spec(name) is None]:
    print(
        f"error: {sys.executable} has no {missing[0]}: activate the environment that raysys is installed in "
        "(. .venv/bin/activate in a checkout, after make demo), or install raysys there (pip install .)",
        file=sys.stderr,
    )
    sys.exit(2)
