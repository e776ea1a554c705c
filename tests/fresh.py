"""An environment that has every package but raysys, and neither Ray nor Optuna: a model must bring its own code."""

import subprocess
import sysconfig
import venv
from pathlib import Path

PROGRAM = """
import sys
import pandas
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "optuna", "jobs"):
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
try:
    import raysys
except ImportError:
    pass
else:
    raise SystemExit("raysys is there already")
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
model.predict(pandas.read_csv(sys.argv[3])).to_csv(sys.argv[4], index=False)
"""


def predict_in_fresh_environment(
    home: Path, tracking_uri: str, model: str, inputs: Path, out: Path
) -> None:
    """Predict a table by MLflow alone.

    Args:
        home: an empty folder.
        tracking_uri: of MLflow.
        model: such as models:/NAME@champion.
        inputs: a table.
        out: CSV to be written.
    """
    venv.create(home / "fresh", with_pip=False)
    [packages] = (home / "fresh").glob("lib/python*/site-packages")
    # As a plain folder: the .pth files in it, such as that of an editable raysys, do not count.
    (packages / "all.pth").write_text(sysconfig.get_path("purelib"))
    python = home / "fresh/bin/python"
    done = subprocess.run(
        [str(python), "-c", PROGRAM, tracking_uri, model, str(inputs), str(out)],
        cwd=home,
        env={"PATH": str(python.parent), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
