"""Score a run's trained folds on their test parts with noise.

python -m jobs.robustness demo
python -m jobs.robustness demo --snr_db 20 10 0
"""

import sys
from collections.abc import Sequence

from raysys.commandline import add_encoder_flag, encoder_places, plain_parser, run_job


def main(argv: Sequence[str]) -> int:
    """Print test scores as recorded and at each signal-to-noise ratio."""
    parser = plain_parser("robustness", __doc__ or "")
    parser.add_argument("run", help="a run's name or folder")
    parser.add_argument(
        "--snr_db", nargs="+", type=float, default=[20.0, 10.0, 0.0], help="ratios in dB"
    )
    parser.add_argument("--root", default="", help="the corpus' folder, where it has moved")
    add_encoder_flag(parser)
    given = parser.parse_args(argv)
    from rich.console import Console

    from raysys.commands.robustness import robustness_command
    from raysys.storage import resolve_folder

    runs = resolve_folder(given.runs)
    console = Console(highlight=False)
    robustness_command(
        given.run,
        levels=given.snr_db,
        root=given.root,
        runs=runs,
        console=console,
        encoders=encoder_places(given.encoder),
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
