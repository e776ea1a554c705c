"""What reaches MLflow: every point once, whatever happens to the server."""

import os
import shlex
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, event

from raysys.config.running import TrackingConfig
from raysys.errors import ConfigError, StorageError, TrackingError
from raysys.report.pictures import draw
from raysys.storage import Folder
from raysys.tasks.exhibits import Bars, Confusions, HeatMap, PairCounts, Scatter, Tree
from raysys.tracking.client import connect, experiment_id, tracking_uri, ui_command
from raysys.tracking.runs import RunLog, Writer


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    return connect(TrackingConfig(), Folder(str(tmp_path)))


def new_run(client: MlflowClient, folder: Path) -> str:
    return client.create_run(experiment_id(client, "demo", Folder(str(folder)))).info.run_id


def open_log(client: MlflowClient, run_id: str, *, resumed: bool = False) -> tuple[RunLog, Writer]:
    writer = Writer(client, patience_seconds=60)
    return RunLog(writer, lambda: run_id, resumed=resumed), writer


def test_the_uri_is_the_configs_else_the_environments_else_sqlite_beside_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    runs = Folder(str(tmp_path))
    assert tracking_uri(TrackingConfig(), runs) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(TrackingConfig(), runs) == "http://127.0.0.1:5000"
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(TrackingConfig(uri="sqlite:///x.db"), runs) == f"sqlite:///{tmp_path}/x.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ConfigError, match="no SQLite URI"):
        tracking_uri(TrackingConfig(), Folder(str(tmp_path / "a#b")))
    with pytest.raises(ConfigError, match=r"set --tracking\.uri"):
        tracking_uri(TrackingConfig(), Folder("s3://bucket/runs"))


def test_the_command_that_is_printed_can_be_pasted_into_a_shell():
    uri = "sqlite:////runs of me/it's here/mlflow.db"
    program, *rest = shlex.split(ui_command(uri))
    assert Path(program).name == "mlflow"
    assert rest == ["ui", "--backend-store-uri", uri]
    assert ui_command("http://me:secret@host:5000") == "open http://me:***@host:5000"


def test_a_folder_of_runs_that_cannot_be_made_is_one_line_with_the_remedy(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot make .*file/runs .*set --storage.runs"):
        connect(TrackingConfig(), Folder(str(tmp_path / "file" / "runs")))


def test_a_submitted_job_says_how_its_page_is_reached_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    unpacked = tmp_path / "working_dir_files" / "_ray_pkg_1"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    ssh, *tunnel, host, command = shlex.split(ui_command("sqlite:////shared/my runs/mlflow.db"))
    assert [ssh, *tunnel] == ["ssh", "-L", "5000:127.0.0.1:5000"]
    assert host == socket.gethostname()
    rest = shlex.split(command)[1:]
    assert rest == ["ui", "--backend-store-uri", "sqlite:////shared/my runs/mlflow.db"]
    assert ui_command("http://mlflow:5000") == "open http://mlflow:5000"


def test_metrics_params_tags_files_and_the_end_are_written_in_order(client, tmp_path: Path):
    run_id = new_run(client, tmp_path)
    log, writer = open_log(client, run_id)
    log.params({f"p{k}": k for k in range(250)})
    for step in range(1, 4):
        log.metrics({"val/ua": step / 10, "val/nan": float("nan")}, step=step)
    log.file(b"content", "deep/down/file.bin")
    log.tags({"a": "b"})
    log.end("FINISHED")
    writer.finish()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert len(run.data.params) == 250
    assert [p.value for p in client.get_metric_history(run_id, "val/ua")] == [0.1, 0.2, 0.3]
    assert "val/nan" not in run.data.metrics
    assert run.data.tags["a"] == "b"
    assert [f.path for f in client.list_artifacts(run_id, "deep/down")] == ["deep/down/file.bin"]


def test_a_resumed_run_gets_no_point_twice(client, tmp_path: Path):
    run_id = new_run(client, tmp_path)
    for resumed, steps in ((False, range(1, 4)), (True, range(1, 6))):
        log, writer = open_log(client, run_id, resumed=resumed)
        for step in steps:
            log.metrics({"val/ua": float(step)}, step=step)
        log.end("FINISHED")
        writer.finish()
    assert [p.step for p in client.get_metric_history(run_id, "val/ua")] == [1, 2, 3, 4, 5]


def test_points_that_come_while_the_writer_is_busy_go_out_in_one_call(client, tmp_path: Path):
    log, writer = open_log(client, new_run(client, tmp_path))
    calls = []
    plain = writer.client.log_batch

    def counted(run_id: str, **what: Any) -> None:
        calls.append([(one.key, one.step) for one in what.get("metrics", ())])
        plain(run_id, **what)

    writer.client.log_batch = counted  # type: ignore[method-assign]
    busy = threading.Event()
    writer.put(lambda: busy.wait(60))
    for step in range(1, 26):
        log.metrics({"val/ua": step / 100}, step=step)
    log.tags({"half": "way"})
    log.metrics({"val/ua": 0.5}, step=26)
    busy.set()
    writer.finish()
    points = [[("val/ua", step) for step in range(1, 26)], [], [("val/ua", 26)]]
    assert calls == points
    assert len(client.get_metric_history(log.run_id, "val/ua")) == 26


def test_a_refused_write_is_told_at_the_end(client, tmp_path: Path):
    run_id = new_run(client, tmp_path)
    log, writer = open_log(client, run_id)
    log.params({"p": 1})
    log.params({"p": 2})  # MLflow does not let a parameter change
    log.metrics({"m": 1.0})
    with pytest.raises(TrackingError, match="refused a write"):
        log.end("FINISHED")
        writer.finish()
    assert client.get_run(run_id).data.metrics == {"m": 1.0}


def test_a_deleted_experiment_is_named(client, tmp_path: Path):
    client.delete_experiment(experiment_id(client, "gone", Folder(str(tmp_path))))
    with pytest.raises(TrackingError, match="'gone' is deleted"):
        experiment_id(client, "gone", Folder(str(tmp_path)))


def test_no_server_is_an_error_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="does not answer"):
        connect(TrackingConfig(uri="http://127.0.0.1:9"), Folder(str(tmp_path)))


def test_bars_show_every_row_and_go_below_zero():
    rows = {f"emotion {k}": (-0.41 if k == 3 else k / 28, k) for k in range(28)}
    figure = draw(Bars("bars.png", "t", {"r": rows}, "correlation"))
    (axes,) = figure.axes
    assert len(axes.patches) == len(axes.get_yticklabels()) == 28
    shortest = min(axes.patches, key=lambda bar: bar.get_width())
    assert shortest.get_width() == -0.41
    left, right = axes.get_xlim()
    assert left < -0.41 and right > 1
    low, high = sorted(axes.get_ylim())
    assert all(low < bar.get_y() < high for bar in axes.patches)
    assert {text.get_text() for text in axes.texts} >= {"-0.41", "0.96"}
    small = {"anger": (0.4, 3)}  # per cent, however small
    (axes,) = draw(Bars("bars.png", "t", {"F1": small}, "percent")).axes
    assert axes.get_xlim()[1] > 100 and axes.texts[0].get_text() == "0.4"


def test_pictures_are_drawn_even_with_unknown_cells(tmp_path: Path):
    matrix = np.array([[1, 0.5, np.nan], [0.5, 1, np.nan], [np.nan] * 3])
    names = ["anger", "joy", "calm"]
    counts = np.arange(9).reshape(3, 3)
    groups = {"F1 in %": {"anger": (50.0, 7)}, "by speaker": {"ann": (10.0, 3), "bob": (90.0, 2)}}
    values = {"valence": (np.arange(5.0), np.arange(5.0) ** 2)}
    for picture in (
        HeatMap("heat.png", "t", names, matrix, matrix - 0.1, matrix + 0.1),
        Tree("tree.png", "t", names, matrix),
        Confusions("confusions.png", "t", names, counts),
        Bars("bars.png", "t", groups, "percent"),
        PairCounts("pairs.png", "t", names, counts * 1.0, counts + 1.0),
        Scatter("scatter.png", "t", values),
    ):
        draw(picture).savefig(tmp_path / picture.path)
        assert (tmp_path / picture.path).stat().st_size > 3000


def test_parameters_that_a_run_lacks_are_logged_when_it_is_resumed(client, tmp_path: Path):
    run_id = new_run(client, tmp_path)
    client.log_param(run_id, "a", "before")
    log, writer = open_log(client, run_id, resumed=True)
    log.params({"a": "now", "b": 2})
    writer.finish()
    assert client.get_run(run_id).data.params == {"a": "before", "b": "2"}


def test_patience_counts_time_without_progress(client, tmp_path: Path):
    writer = Writer(client, patience_seconds=0.5)
    done: list[int] = []
    for number in range(8):
        writer.put(lambda number=number: (time.sleep(0.2), done.append(number)))
    writer.finish()
    assert done == list(range(8))
    writer.put(lambda: time.sleep(3))
    with pytest.raises(TrackingError, match="1 writes are lost"):
        writer.finish(patience_seconds=0.2)


def test_an_artifact_store_that_refuses_is_named_once_and_the_rest_is_logged(
    client, tmp_path: Path
):
    run_id = new_run(client, tmp_path)
    artifacts = tmp_path / "mlartifacts"
    artifacts.mkdir(exist_ok=True)
    (artifacts / "demo").write_text("a file where the store's folder should be")
    log, writer = open_log(client, run_id)
    for number in range(3):
        log.file(b"content", f"{number}.bin")
    log.metrics({"val/ua": 0.5}, step=1)
    log.end("FINISHED")
    with pytest.raises(TrackingError, match="artifacts cannot be stored, all else was"):
        writer.finish()
    run = client.get_run(run_id)
    assert run.data.metrics == {"val/ua": 0.5}
    assert run.info.status == "FINISHED"


def test_a_full_disk_is_said_in_a_line_with_its_remedy(
    client, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    run_id = new_run(client, tmp_path)

    def fill(connection: Any, *_: Any) -> None:  # SQLite answers as on a disk that has no page left
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Engine, "checkout", fill)
    try:
        writer = Writer(client, patience_seconds=1)
        log = RunLog(writer, lambda: run_id)
        for step in range(200):
            log.metrics({f"a/{step}/{k}": 1.0 for k in range(20)}, step=step)
        with pytest.raises(
            TrackingError, match=r"disk is full; make room, and .* --resume"
        ) as told:
            writer.finish()
    finally:
        event.remove(Engine, "checkout", fill)
    assert "SQL:" not in str(told.value)
    assert capfd.readouterr() == ("", "")


INTERRUPTED = """
import sys
from pathlib import Path
from alembic.operations import Operations
from raysys.config.running import TrackingConfig
from raysys.storage import Folder
from raysys.tracking.client import connect

made = Operations.create_index
def interrupt(*arguments, **named):
    raise KeyboardInterrupt("signal 1")  # as a handler raises it between two statements
Operations.create_index = interrupt
try:
    connect(TrackingConfig(), Folder(sys.argv[1]))
except KeyboardInterrupt:
    Operations.create_index = made
    print(sorted(one.name for one in Path(sys.argv[1]).iterdir()))
"""


def test_tables_that_are_half_made_are_made_again(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stdout == "['.mlflow.db.lock']\n", done.stderr
    connect(TrackingConfig(), Folder(str(tmp_path)))
    assert {one.name for one in tmp_path.iterdir()} == {".mlflow.db.lock", "mlflow.db"}


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path: Path):
    uri = f"sqlite:///{tmp_path}/slip/mlflow.db"
    with pytest.raises(TrackingError, match=r"slip of tracking\.uri is not there"):
        connect(TrackingConfig(uri=uri), Folder(str(tmp_path)))
    assert not (tmp_path / "slip").exists()


def test_four_commands_may_be_the_first_on_a_store_at_once(tmp_path: Path):
    code = (
        "import sys; from raysys.config.running import TrackingConfig; from raysys.storage import Folder; "
        "from raysys.tracking.client import connect; connect(TrackingConfig(), Folder(sys.argv[1]))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "runs")]
    commands = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ends = [(command.communicate()[1][-500:], command.returncode) for command in commands]
    assert [status for _, status in ends] == [0] * 4, ends


@pytest.mark.parametrize(
    ("answer", "remedy"),
    {
        "HTTP/1.1 401 Unauthorized": "MLFLOW_TRACKING_USERNAME",
        "HTTP/1.1 404 Not Found": "something else than MLflow",
        "HTTP/1.1 500 Internal Server Error": "look at its log",
    }.items(),
)
def test_each_trouble_with_a_server_has_its_own_remedy_and_no_password(
    answer: str, remedy: str, tmp_path: Path
):
    with socketserver.TCPServer(("127.0.0.1", 0), _answering(answer)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://me:secret@127.0.0.1:{server.server_address[1]}"
        with pytest.raises(TrackingError, match=remedy) as trouble:
            connect(TrackingConfig(uri=uri), Folder(str(tmp_path)))
        server.shutdown()
    assert "secret" not in str(trouble.value)
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def _answering(line: str) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while line_of := self.rfile.readline().strip():
                if line_of.lower().startswith(b"content-length:"):
                    length = int(line_of.split(b":")[1])
            self.rfile.read(length)  # a connection that is closed before is reset
            self.wfile.write(f"{line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    return Handler
