"""The Kubernetes files hold what KubeRay and Kubernetes know, and what raysys and Ray understand."""

import copy
import functools
import importlib
import json
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import dockerfile
import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay import autoscaling_config as kuberay
from referencing import Registry, Resource

from raysys.commandline import parse
from raysys.errors import RaysysError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "kubernetes"
SCHEMA = Path(__file__).parent / "kubernetes" / "kuberay.yaml"
KUBERNETES = "1.34"
KINDS = {
    "rayjob.yaml": "RayJob",
    "raycluster.yaml": "RayCluster",
    "rayservice.yaml": "RayService",
}
TRAIN = ("rayjob.yaml", "raycluster.yaml")


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


@functools.cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    """Of KubeRay's fields; pod templates by Kubernetes' own schema, in which no unknown field passes."""
    shipped = (
        files("kubernetes_validate")
        / f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict/_definitions.json"
    )
    known = [yaml.safe_load(SCHEMA.read_text()), json.loads(shipped.read_text())]
    registry = Registry().with_resources((it["$id"], Resource.from_contents(it)) for it in known)
    return jsonschema.Draft202012Validator(
        {"$ref": f"urn:kuberay#/$defs/{kind}"}, registry=registry
    )


def cluster_spec(name: str) -> dict[str, Any]:
    spec = load(name)["spec"]
    return spec.get("rayClusterSpec", spec.get("rayClusterConfig", spec))


@pytest.mark.parametrize("name", KINDS)
def test_kuberay_knows_every_field(name: str):
    problems = sorted(
        f"{error.json_path}: {error.message}"
        for error in validator(KINDS[name]).iter_errors(load(name))
    )
    assert problems == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.headGroupSpec.template.spec.containers.0.resorces", {}),
        ("spec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.workerGroupSpecs.0.minReplicas", "0"),
        ("spec.workerGroupSpecs.0.template.spec.tolerations.0.keys", "x"),
        ("spec.workerGroupSpecs.0.template.spec.containers.0.env.0.value", 1),
        ("spec.autoscalerOptions.version", "v3"),
        ("spec.authOptions.mode", "tokens"),
        ("spec.shutdownAfterJobFinishes", True),
    ],
)
def test_a_slip_is_seen(path: str, value: Any):
    document = copy.deepcopy(load("raycluster.yaml"))
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    place = document
    for part in way:
        place = place[part]
    place[last] = value
    assert not validator("RayCluster").is_valid(document)


def test_kubernetes_knows_the_server():
    documents = list(yaml.safe_load_all((FOLDER / "mlflow.yaml").read_text()))
    assert [one["kind"] for one in documents] == ["Service", "PersistentVolumeClaim", "Deployment"]
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    documents[0]["spec"]["port"] = 5000  # a slip
    with pytest.raises(kubernetes_validate.ValidationError, match="port"):
        kubernetes_validate.validate(documents[0], KUBERNETES, strict=True)


@pytest.mark.parametrize("name", TRAIN)
def test_ray_reads_it_as_a_head_without_work_and_gpus_on_demand(name: str):
    cluster = {"metadata": {"name": "c", "namespace": "n"}, "spec": cluster_spec(name)}
    nodes = kuberay._derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert nodes["headgroup"]["resources"]["CPU"] == 0
    assert "GPU" not in nodes["headgroup"]["resources"]
    assert nodes["spot-gpu"]["min_workers"] == 0 < nodes["spot-gpu"]["max_workers"]
    assert nodes["spot-gpu"]["resources"]["GPU"] == 1


@pytest.mark.parametrize("name", KINDS)
def test_every_ray_container_has_token_tracking_and_storage(name: str):
    spec = cluster_spec(name)
    assert spec["rayVersion"].split(".")[:2] == ray.__version__.split(".")[:2]
    assert spec["authOptions"] == {"mode": "token", "secretName": "raysys-ray"}
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        [container] = group["template"]["spec"]["containers"]
        assert "MLFLOW_TRACKING_URI" in [variable["name"] for variable in container["env"]]
        assert container["envFrom"] == [{"secretRef": {"name": "raysys-storage"}}]


def test_ray_serve_and_raysys_understand_the_service():
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema(**yaml.safe_load(load("rayservice.yaml")["spec"]["serveConfigV2"]))
    [application] = config.applications
    module, name = application.import_path.split(":")
    function = getattr(importlib.import_module(module), name)
    with pytest.raises(
        RaysysError, match="MLflow"
    ):  # there is none here: it is asked for the model
        function({**application.args, "runs": "/nowhere"})
    [group] = cluster_spec("rayservice.yaml")["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    each = int(container["resources"]["requests"]["cpu"])
    assert application.args["replicas"] * application.args["cpus"] <= each * group["minReplicas"]


def test_raysys_understands_the_line(monkeypatch: pytest.MonkeyPatch):
    line = shlex.split(load("rayjob.yaml")["spec"]["entrypoint"])  # as a shell does
    python, dash_m, module, *arguments = line
    assert (python, dash_m, module) == ("python", "-m", "jobs.cross_validate")
    monkeypatch.chdir(ROOT)
    config, options = parse(arguments, program=module)
    assert options.resume is None  # a retry finishes what the attempt before has begun
    spec = cluster_spec("rayjob.yaml")
    assert config.storage.runs.startswith("s3://")
    assert config.cluster.gpus_per_fold == 1
    assert config.cluster.max_workers <= spec["workerGroupSpecs"][0]["maxReplicas"]


def test_the_image_installs_what_make_installs_and_runs_without_root():
    steps = dockerfile.parse_file(str(FOLDER / "Dockerfile"))
    assert (steps[0].cmd, steps[0].value) == ("FROM", ("python:3.11-slim",))
    assert [step.value for step in steps if step.cmd == "USER"][-1] == ("1000",)
    runs = " ".join(" ".join(step.value) for step in steps if step.cmd == "RUN")
    assert "-m pip install --constraint configs/constraints.txt --editable '.[serve]'" in runs
    assert "wget" in runs  # of KubeRay's probes
