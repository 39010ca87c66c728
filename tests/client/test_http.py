"""Names that are resolved within a deadline, and each of their addresses tried."""

import socket
import threading
import time

import httpcore
import pytest

from workqueue import Client
from workqueue.client import NotEnqueued, http


def test_a_name_that_is_not_resolved_holds_nobody_up(monkeypatch):
    held = threading.Event()
    monkeypatch.setattr(http, "getaddrinfo", lambda *_, **__: held.wait(20) and [])
    begun = time.monotonic()
    with Client("http://name.invalid:8080", timeout=0.5) as client, pytest.raises(NotEnqueued, match=r"name\.invalid"):
        client.enqueue("x")
    held.set()
    assert time.monotonic() - begun < 5


def test_a_name_that_is_not_known_is_said(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(http, "getaddrinfo", unknown)
    with Client("http://name.invalid:8080", timeout=0.3) as client, pytest.raises(NotEnqueued, match="not known"):
        client.enqueue("x")


def test_each_address_of_a_name_is_tried(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = [(None, None, None, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(http, "getaddrinfo", lambda *_, **__: found)
        http.ResolvingBackend().connect_tcp("producer", port, timeout=2).close()
        found.pop()
        with pytest.raises(httpcore.ConnectError):
            http.ResolvingBackend().connect_tcp("producer", port, timeout=2)


def test_certificates_are_loaded_where_https_is_asked_for_alone(monkeypatch):
    loaded = []
    monkeypatch.setattr("ssl.create_default_context", lambda: loaded.append(1))
    for scheme in ("http", "https"):
        assert loaded == []
        http.options(http.Target(f"{scheme}://127.0.0.1:1", None))
    assert loaded == [1]
