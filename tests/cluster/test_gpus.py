"""A GPU that a cluster says it has: work gets it whole, waits for it, and its errors come back as they are."""

import os
import subprocess
import sys

import pytest

from tests.cluster.command import ROOT
from tests.cluster.gate import HANGS_SECONDS

pytestmark = [pytest.mark.cluster, pytest.mark.proof("cluster", "running")]

PROGRAM = """
import os, time
import ray
ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
from raysys.cluster.gpus import count_gpus, most_folds, on_a_gpu
from raysys.config import Config
from raysys.config.running import ClusterConfig
from raysys.errors import FoldFailedError, PoolError
from raysys.running.gpu_share import idle_gpus
from raysys.settings import replaced

def fails():
    raise FoldFailedError("cannot be trained")

config = ClusterConfig(hello_seconds=120)
print(count_gpus(), most_folds(config), idle_gpus(Config()))
print(repr(idle_gpus(replaced(Config(), {"training.device": "cpu"}))))
print(on_a_gpu(os.getenv, "CUDA_VISIBLE_DEVICES", config=config))
try:
    on_a_gpu(fails, config=config)
except FoldFailedError as error:
    print(error)
holder = ray.remote(num_gpus=1, num_cpus=0)(lambda: time.sleep(600)).remote()
while ray.available_resources().get("GPU", 0.0):
    time.sleep(0.1)
try:
    on_a_gpu(os.getpid, config=ClusterConfig(hello_seconds=1))
except PoolError as error:
    print(error)
"""


def test_work_on_a_gpu_has_it_alone_and_says_what_is_wrong():
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "OMP_"))}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**env, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "1.0 2 note: folds train on CPUs, 1 GPU(s) of the cluster are idle: --cluster.gpus_per_fold auto trains on "
        "them",
        "''",
        "0",
        "cannot be trained",
        "no GPU of the cluster has been free for 1 s: wait for one, or raise --cluster.hello_seconds",
    ]
