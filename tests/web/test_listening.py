"""Where a server may listen."""

import socket

import pytest

from rosenblatt.errors import ServingError
from rosenblatt.web.listening import check_exposure, format_address, open_port


def test_other_addresses_need_tls_or_a_proxy_that_is_named():
    with pytest.raises(ServingError, match="--tls-cert and --tls-key, or --insecure-no-tls"):
        check_exposure("0.0.0.0", None, None, is_plain_allowed=False)
    with pytest.raises(ServingError, match="belong together"):
        check_exposure("127.0.0.1", "a.pem", None, is_plain_allowed=False)
    check_exposure("0.0.0.0", None, None, is_plain_allowed=True)
    check_exposure("0.0.0.0", "a.pem", "b.pem", is_plain_allowed=False)
    check_exposure("localhost", None, None, is_plain_allowed=False)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServingError, match="Choose another --port"):
        open_port("127.0.0.1", taken.getsockname()[1])


def test_addresses_are_urls():
    with open_port("127.0.0.1", 0) as listener:
        listener.listen()
        assert format_address(listener, is_encrypted=True).startswith("https://127.0.0.1:")
    with open_port("::1", 0) as listener:
        assert format_address(listener, is_encrypted=False).startswith("http://[::1]:")
