"""A closed terminal ends a command as SIGTERM does, unless the user has said that it shall not (nohup)."""

import subprocess
import sys

import pytest

CODE = """
import os, signal, sys, time
from raysys.commandline import run_job

def job(argv):
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.2)
    return 7

signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
sys.exit(run_job(job, []))
"""


@pytest.mark.parametrize(("handling", "status"), {"SIG_DFL": 130, "SIG_IGN": 7}.items())
def test_a_closed_terminal(handling: str, status: int):
    done = subprocess.run([sys.executable, "-c", CODE, handling], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert ("interrupted; no run had begun" in done.stderr) == (status == 130)
