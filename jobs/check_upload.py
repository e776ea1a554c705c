"""Check what `ray job submit --working-dir FOLDER` would upload.

python -m jobs.check_upload .
python -m jobs.check_upload FOLDER
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from raysys.commandline import run_job
from raysys.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Say how much it is; 0 when Ray would take it.

    Raises:
        ConfigError: more than a folder is given.
        StorageError: the folder is too large, or is not there.
    """
    if "--help" in argv or "-h" in argv:
        print(__doc__)
        return 0
    if len(argv) > 1 or any(argument.startswith("-") for argument in argv):
        raise ConfigError("give one folder, or none for this one")
    from raysys.cluster.upload import check_upload, mib

    sizes = check_upload(Path(*argv))
    print(f"{len(sizes)} files, {mib(sum(sizes.values()))}")
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
