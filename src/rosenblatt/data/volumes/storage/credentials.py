"""Credentials of S3 in the files of the AWS command line, which obstore does not read."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from configparser import ConfigParser, Error
from pathlib import Path
from urllib.parse import urlsplit

_OPTIONS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
_VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE",
)  # fmt: skip
METADATA_SECONDS = 1.0  # in which the service of a machine answers


def read_aws_profile() -> dict[str, str]:
    """Return the options of obstore that the user's profile gives and environment variables do not.

    The profile is AWS_PROFILE, or "default"; `~/.aws/credentials` comes before `~/.aws/config`. Keys of the environment
    and keys of a profile are never mixed.
    """
    name = os.environ.get("AWS_PROFILE", "default")
    folder = Path("~/.aws").expanduser()
    config = _read_section(
        os.environ.get("AWS_CONFIG_FILE", folder / "config"), name if name == "default" else f"profile {name}"
    )
    credentials = _read_section(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", folder / "credentials"), name)
    options = {option: value for key, option in _OPTIONS.items() if (value := (config | credentials).get(key))}
    if "AWS_ACCESS_KEY_ID" in os.environ:
        options = {option: value for option, value in options.items() if option in ("region", "endpoint")}
    for option, variables in (("region", ("AWS_REGION", "AWS_DEFAULT_REGION")), ("endpoint", ("AWS_ENDPOINT_URL",))):
        if any(variable in os.environ for variable in variables):
            options.pop(option, None)
    return options


def has_aws_credentials(profile: Mapping[str, str]) -> bool:
    """Whether a client of S3 will find credentials: given, of a container or role, or of a machine in the cloud.

    A client asks the machine last, and would wait for a minute if it is none in a cloud.
    """
    if "access_key_id" in profile or any(name in os.environ for name in _VARIABLES):
        return True
    service = urlsplit(os.environ.get("AWS_METADATA_ENDPOINT", "http://169.254.169.254"))
    try:
        with socket.create_connection((service.hostname, service.port or 80), METADATA_SECONDS):
            return True
    except OSError:
        return False


def _read_section(path: str | Path, name: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(Path(path).expanduser(), encoding="utf-8")
        return dict(parser[name]) if name in parser else {}
    except (Error, UnicodeDecodeError, OSError):  # it is not our file
        return {}
