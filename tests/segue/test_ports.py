"""A port that is in use is named with the option that changes it."""

import socket

import pytest
import typer
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from segue.cli import app
from segue.serving_metrics import PortError, bound_socket, serve_metrics
from streams.pulse import Pulse


@pytest.fixture
def used():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_named_with_the_option_for_another(used):
    with pytest.raises(PortError, match=f"port {used} of 127.0.0.1 is in use.*--port"):
        bound_socket("127.0.0.1", used)


def test_a_role_whose_metrics_port_is_in_use_ends_with_one_line(used, capsys):
    with pytest.raises(typer.Exit):
        serve_metrics(used, "127.0.0.1", CollectorRegistry(), Pulse())
    assert "another one with --metrics-port" in capsys.readouterr().err


def test_a_port_in_use_ends_segue_try_before_a_model_is_trained(used, tmp_path, monkeypatch):
    def trained(*_):
        pytest.fail("the models were trained first")

    monkeypatch.setattr("segue.demo.trying.encode_texts", trained)
    done = CliRunner().invoke(app, ["try", "--folder", str(tmp_path / "try"), "--port", str(used)])
    assert done.exit_code == 1
    assert f"error: port {used} of 127.0.0.1 is in use" in done.output
