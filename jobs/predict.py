"""Predict new recordings and texts with what a run has trained.

python -m jobs.predict demo new/*.wav --threshold 0.5
python -m jobs.predict runs/demo table.csv --out emotions.parquet
"""

import sys
from collections.abc import Sequence

from raysys.commandline import add_encoder_flag, plain_parser, run_job


def main(argv: Sequence[str]) -> int:
    """Print, or write, what a run says of new utterances; 0 when all could be read, 1 when some could not."""
    parser = plain_parser("predict", __doc__ or "")
    parser.add_argument(
        "run", help="a run's name or folder, a model in MLflow (models:/NAME@champion), or a fold"
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        help="audio files, pictures, folders, tables (.csv, .tsv, .parquet); - reads names",
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        help="a text to classify, may be repeated; - reads lines",
    )
    parser.add_argument(
        "--transcribe", default="", help="Whisper model that transcribes audio without text"
    )
    parser.add_argument(
        "--columns", default="", help="our name: the table's name, as {audio: file}"
    )
    parser.add_argument("--fold", type=int, help="predict with this fold alone")
    parser.add_argument(
        "--threshold", type=float, default=0.0, help="'not sure' below this confidence"
    )
    parser.add_argument("--window", type=float, help="cut audio into stretches of so many seconds")
    parser.add_argument("--step", type=float, help="seconds between their starts; half a window")
    parser.add_argument("--picture", default="", help="with --window: emotion over time, as PNG")
    parser.add_argument("--out", default="", help="file for all columns: .csv, .parquet or .jsonl")
    parser.add_argument(
        "--workers", type=int, help="Ray workers, with --out; by default from 2000 rows"
    )
    add_encoder_flag(parser)
    given = parser.parse_intermixed_args(argv)
    from raysys.commands.predict import predict_command

    return predict_command(given)


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
