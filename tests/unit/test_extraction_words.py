"""What Ray's core prints when a pipeline starts is left out, and nothing else."""

import os

import pytest

from raysys.cluster.stderr import without


def test_one_line_is_left_out_and_all_others_are_heard(capfd: pytest.CaptureFixture[str]):
    with without(b"secret"):
        os.write(2, b"before\na secret line\n")
        os.write(2, b"after\n")
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "before\nafter\nlater\n"


def test_an_error_inside_is_heard_too(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="inside"), without(b"secret"):
        os.write(2, b"heard\n")
        raise ValueError("inside")
    assert capfd.readouterr().err == "heard\n"
