import pytest

from rosenblatt.errors import ServingError
from rosenblatt.web.access import Access, check_access, find_role, is_loopback, make_token, read_token
from rosenblatt.web.errors import RequestError

LOCAL, PUBLIC = Access(), Access("secret-token-of-tests", is_loopback=False, host_names=frozenset({"models.example"}))


def status(access, **headers):
    try:
        check_access(access, {"host": "localhost:8000", **headers})
    except RequestError as error:
        return int(error.status)
    return 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine_are_answered(host):
    assert status(LOCAL, host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "[::1", "192.168.1.5"]
)
def test_names_that_were_made_to_point_here_are_not(host):
    assert status(LOCAL, host=host) == 421


def test_other_addresses_are_answered_by_number_and_by_the_names_that_were_given():
    authorization = f"Bearer {PUBLIC.token}"
    hosts = {"192.168.1.5:8000": 200, "models.example": 200, "evil.example": 421}
    assert {host: status(PUBLIC, host=host, authorization=authorization) for host in hosts} == hosts


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9999", "", "http://[::1"])
def test_pages_of_other_sites_are_refused(origin):
    assert status(LOCAL, origin=origin) == 403


def test_the_page_of_the_server_itself_is_answered():
    assert status(LOCAL, origin="http://localhost:8000") == 200
    headers = {"origin": "https://models.example", "authorization": f"Bearer {PUBLIC.token}"}
    assert status(PUBLIC, host="10.0.0.7:80", **headers) == 200  # behind a proxy that keeps no Host


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic secret-token-of-tests", "Bearer Ünï"])
def test_requests_without_the_token_are_refused(given):
    assert status(PUBLIC, host="models.example", authorization=given) == 401


def test_what_is_open_needs_no_token():
    assert check_access(PUBLIC, {"host": "models.example"}, is_open=True) == "none"
    with pytest.raises(RequestError):
        check_access(PUBLIC, {"host": "models.example"})


def test_a_second_token_may_only_look():
    access = Access("token-of-those-who-write", "token-of-those-who-read")
    roles = {
        token: check_access(access, {"host": "localhost", "authorization": f"Bearer {token}"}, is_open=True)
        for token in (access.token, access.read_token, "another-token", "")
    }
    assert list(roles.values()) == ["write", "read", "none", "none"]
    cookie = f"other=1; rosenblatt_token={access.read_token}"
    assert check_access(access, {"host": "localhost", "cookie": cookie}) == "read"
    assert find_role(Access("only-one-token-here"), "") == "none"


def test_without_a_token_all_of_this_machine_may_write():
    assert check_access(LOCAL, {"host": "localhost"}) == "write"


def test_tokens_are_long_and_read_from_files(tmp_path):
    assert len(make_token()) >= 40
    assert make_token() != make_token()
    path = tmp_path / "token"
    path.write_text(" abcdefghijklmnopqrst\n")
    assert read_token(str(path)) == "abcdefghijklmnopqrst"
    for content in ("short", "two words that are long enough", ""):
        path.write_text(content)
        with pytest.raises(ServingError, match="must hold one word of 16 characters"):
            read_token(str(path))
    with pytest.raises(ServingError, match="cannot be read"):
        read_token(str(tmp_path / "none"))


def test_loopback_addresses_are_recognized():
    hosts = {"localhost": True, "127.0.0.1": True, "127.9.9.9": True, "::1": True, "0.0.0.0": False, "::": False,
             "example.com": False}  # fmt: skip
    assert {host: is_loopback(host) for host in hosts} == hosts
