"""The socket of a service."""

import socket

import pytest

from workqueue.services.http.listener import PortTaken, open_listener


def test_a_port_in_use_is_named_with_the_variable_that_sets_it():
    with open_listener("127.0.0.1", 0, "WORKER_PORT") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"cannot listen on 127\.0\.0\.1:{port}: .* in use.*set WORKER_PORT"):
            open_listener("127.0.0.1", port, "WORKER_PORT")


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no address ::1")
def test_an_address_with_colons_is_ipv6():
    with open_listener("::1", 0, "PORT") as listener:
        assert listener.family == socket.AF_INET6
