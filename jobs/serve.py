"""Serve a run's model over HTTP with Ray Serve: audio files or JSON in, JSON out.

python -m jobs.serve models:/emotions@champion
python -m jobs.serve runs/demo --port 8010 --replicas 2
"""

import sys
from collections.abc import Sequence

from raysys.commandline import add_encoder_flag, plain_parser, run_job


def main(argv: Sequence[str]) -> int:
    """Serve until interrupted; needs `pip install 'raysys[serve]'`."""
    parser = plain_parser("serve", __doc__ or "")
    parser.add_argument("run", help="a model in MLflow, or a run's name or folder")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: for other machines too")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=1, help="processes that answer")
    parser.add_argument("--batch", type=int, default=16, help="most requests answered together")
    parser.add_argument("--cpus", type=float, default=1.0, help="cores of each replica")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of each replica")
    parser.add_argument("--max_megabytes", type=float, default=25.0, help="largest request body")
    parser.add_argument(
        "--max_seconds", type=float, default=120.0, help="longest audio of a request"
    )
    parser.add_argument("--address", default="", help="Ray address; else RAY_ADDRESS or local")
    add_encoder_flag(parser)
    given = vars(parser.parse_args(argv))
    host, port, address = (given.pop(name) for name in ("host", "port", "address"))
    from raysys.commands.serve import serve_command

    serve_command(given, host=host, port=port, address=address)
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main, sys.argv[1:]))
