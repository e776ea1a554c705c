"""`jobs.serve`: a run's model behind HTTP, on Ray Serve; by its command, or by a RayService on Kubernetes."""

from functools import partial
from typing import Any

from raysys.cluster.serving import make_application, serve_until_interrupted
from raysys.commandline import encoder_places
from raysys.config.running import ClusterConfig
from raysys.predicting.members import load_ensemble
from raysys.predicting.predict import check_reads
from raysys.predicting.server import Answering, Limits, about, answered, build_app
from raysys.settings import require
from raysys.storage import resolve_folder


def application(args: dict[str, Any]) -> Any:
    """The application that a RayService names (`raysys.commands.serve:application`).

    Args:
        args: run (a model in MLflow, or a run); by choice runs, replicas, batch, cpus, gpus, max_megabytes,
            max_seconds, encoder (see `raysys.commandline.encoder_places`).

    Raises:
        RaysysError: no such run, or one that reads no recordings and texts.
    """
    limits = Limits(float(args.get("max_megabytes", 25)), float(args.get("max_seconds", 120)))
    runs = resolve_folder(str(args.get("runs", "runs")))
    encoders = encoder_places(args.get("encoder", ()))
    ensemble = load_ensemble(str(args["run"]), runs, encoders=encoders)
    check_reads(ensemble, alone=True)
    told = about(ensemble, limits)
    replicas, batch = int(args.get("replicas", 1)), int(args.get("batch", 16))
    require(1 <= replicas <= 1000, "replicas", replicas, "1 to 1000")
    require(1 <= batch <= 1000, "batch", batch, "1 to 1000")

    def answering() -> Any:
        return partial(answered, Answering(str(args["run"]), runs.uri, limits, encoders))

    return make_application(
        answering,
        lambda ask: build_app(ask, told, limits),
        replicas=replicas,
        batch=batch,
        cpus=float(args.get("cpus", 1)),
        gpus=float(args.get("gpus", 0)),
    )


def serve_command(args: dict[str, Any], *, host: str, port: int, address: str) -> None:
    """Serve until interrupted.

    Args:
        args: of `application`.
        host: on which it listens; loopback unless somebody else is to reach it.
        port: on which it listens.
        address: of the Ray cluster; empty: a local one.

    Raises:
        RaysysError: see `application`, or the port is in use.
    """
    require(1 <= port <= 65535, "port", port, "1 to 65535")
    runs = resolve_folder(str(args.get("runs", "runs")))
    encoders = encoder_places(args.get("encoder", ()))
    ensemble = load_ensemble(str(args["run"]), runs, encoders=encoders)
    check_reads(ensemble, alone=True)  # what is wrong is said before Ray starts
    modalities = ensemble.config.model.modalities
    hears = "audio" in modalities
    sound = "--data-binary @FILE.wav" if hears else '--json \'{"text": "WHAT IS SAID"}\''
    texts = "?text=WHAT+IS+SAID" if hears and "text" in modalities else ""

    def ready() -> None:
        place = f"http://{host}:{port}"
        print(
            f"serving      {args['run']} at {place} (Ctrl-C ends it); its interface: {place}/docs"
        )
        print(f'next         curl {sound} "{place}/predict{texts}"', flush=True)

    serve_until_interrupted(
        partial(application, args),
        ClusterConfig(address=address),
        host=host,
        port=port,
        replicas=int(args.get("replicas", 1)),
        takes={"CPU": float(args.get("cpus", 1)), "GPU": float(args.get("gpus", 0))},
        ready=ready,
    )
