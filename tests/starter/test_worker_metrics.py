"""The worker's metrics endpoint."""

import os
import socket
import urllib.request

import pytest

from starter.failures import CannotStart
from starter.worker_metrics import DEFAULT, start_metrics


def test_a_free_port_is_chosen_and_told() -> None:
    """Port 0 serves Prometheus' text format on the address that is told."""
    metrics = start_metrics({"PERFWRIGHT_METRICS": "127.0.0.1:0"})
    assert metrics.url is not None and not metrics.url.endswith(":0/metrics")
    with urllib.request.urlopen(metrics.url, timeout=10) as answer:
        assert answer.status == 200


def test_off_means_off() -> None:
    """`off` serves nothing."""
    assert start_metrics({"PERFWRIGHT_METRICS": "off"}).url is None


def test_a_chosen_port_that_is_taken_is_an_error() -> None:
    """Whoever asked for a port hears who has it, and how to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"metrics port {port} is in use by .*pid {os.getpid()}.*PERFWRIGHT_METRICS"):
            start_metrics({"PERFWRIGHT_METRICS": f"127.0.0.1:{port}"})


def test_the_default_port_taken_by_another_worker_is_only_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second worker on one machine runs without metrics and says so."""
    monkeypatch.setattr("starter.worker_metrics.is_free", lambda port, host: False)
    assert start_metrics({}).url is None
    assert "this worker serves no metrics" in caplog.text and DEFAULT.rpartition(":")[2] in caplog.text


@pytest.mark.parametrize("wrong", ["9464", "localhost:", "127.0.0.1:99999", "127.0.0.1:http"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    """Bad addresses are refused with the form that is allowed."""
    with pytest.raises(CannotStart, match="HOST:PORT"):
        start_metrics({"PERFWRIGHT_METRICS": wrong})
