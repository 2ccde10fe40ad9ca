"""Credentials in the files of the AWS command line are used where the environment has none."""

from __future__ import annotations

import socket

import pytest

from rosenblatt.data.volumes.storage.credentials import has_aws_credentials, read_aws_profile


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("ACCESS_KEY_ID", "PROFILE", "REGION", "DEFAULT_REGION", "ENDPOINT_URL", "WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = s%cret\n\n[work]\naws_access_key_id=W\n"
        "aws_secret_access_key=w\naws_session_token=t\n"
    )
    (tmp_path / ".aws" / "config").write_text(
        "[default]\nregion = eu-west-1\n\n[profile work]\nregion = us-west-2\nendpoint_url = http://127.0.0.1:9\n"
    )
    return tmp_path


def test_the_default_profile_gives_keys_and_region():
    assert read_aws_profile() == {"access_key_id": "A", "secret_access_key": "s%cret", "region": "eu-west-1"}


def test_a_profile_is_chosen_by_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert read_aws_profile() == {
        "access_key_id": "W", "secret_access_key": "w", "session_token": "t", "region": "us-west-2",
        "endpoint": "http://127.0.0.1:9",
    }  # fmt: skip
    monkeypatch.setenv("AWS_PROFILE", "missing")
    assert read_aws_profile() == {}


def test_the_environment_comes_first_and_keys_are_not_mixed(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "E")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8")
    assert read_aws_profile() == {"region": "us-west-2"}
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert read_aws_profile() == {}


def test_files_that_cannot_be_read_as_profiles_give_nothing(home, monkeypatch):
    (home / ".aws" / "credentials").write_bytes(b"no section\xff")
    assert read_aws_profile() == {"region": "eu-west-1"}
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "missing"))
    assert read_aws_profile() == {}


def test_a_machine_is_asked_only_where_nothing_else_gives_credentials(monkeypatch):
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    assert has_aws_credentials({"access_key_id": "A"})
    assert not has_aws_credentials({"region": "eu-west-1"})
    with socket.create_server(("127.0.0.1", 0)) as service:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{service.getsockname()[1]}")
        assert has_aws_credentials({})
    assert not has_aws_credentials({})
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "token")
    assert has_aws_credentials({})
