"""Addresses of clusters that are not there: said at once, each with its remedy, where Ray would try for minutes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from raysys.cluster.joining import join_ray
from raysys.cluster.session import check_cluster
from raysys.config.running import ClusterConfig
from raysys.errors import PoolError


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """A server that says the same to everybody; None: nothing, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer is not None:
                    connection.recv(1000)
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for one in kept:
            one.close()


def refusal(address: str) -> str:
    with pytest.raises(PoolError) as told:
        join_ray(address, {})
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_port_where_nobody_listens_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = refusal(f"127.0.0.1:{port}")
    assert f"cannot reach Ray at 127.0.0.1:{port} (" in said
    assert "check --cluster.address" in said


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b"", b"220 mail\r\n"])
def test_another_server_is_refused(answer: bytes):
    with listening(answer) as address:
        assert "is not Ray's GCS" in refusal(address)


def test_a_server_that_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raysys.cluster.joining._PROBE_SECONDS", 0.2)
    with listening(None) as address:
        assert "is not Ray's GCS" in refusal(address)


@pytest.mark.parametrize("address", ["hello", "hello:", ":6379", "127.0.0.1", "host:port"])
def test_what_is_no_address_is_named(address: str):
    assert f"'{address}' is no address of Ray" in refusal(address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://head:10001"])
def test_the_dashboard_and_the_client_are_told_from_the_cluster(address: str):
    assert "ray job submit" in refusal(address)


def test_a_gpu_that_this_machine_lacks_is_said_without_ray(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if torch.cuda.is_available():
        check_cluster(ClusterConfig(gpus_per_fold=1))
    else:
        with pytest.raises(PoolError, match="PyTorch can use no GPU on this machine"):
            check_cluster(ClusterConfig(gpus_per_fold=1))
    check_cluster(ClusterConfig())
