"""Redaction of credentials in text, arguments and plain data before they are recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "******"
MAX_DEPTH = 50  # of nested values
_CREDENTIALS = r"(?:pass(?:word|wd|phrase)?|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|auth)"
_CREDENTIAL_NAME = re.compile(rf"(?:^|[-_.])(?:\w*[-_])?{_CREDENTIALS}$", re.IGNORECASE)
_ASSIGNED_CREDENTIAL = re.compile(
    rf"((?:^|[\s\"'&?;,{{(-])[\w-]*{_CREDENTIALS}[\"']?\s*[=:]\s*[\"']?)(?:(?:Bearer|Basic)\s+)?([^\s\"'&;,)}}]+)",
    re.IGNORECASE | re.MULTILINE,
)
_CREDENTIAL_FORMATS = re.compile(
    r"(?<=://)[^/\s@]+(?=@)"  # user:password@ or token@ in a URL
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # Amazon
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}"  # GitHub, GitLab
    r"|\bhf_[A-Za-z0-9]{30,}|\bsk-[\w-]{20,}|\bxox[abposr]-[\w-]{10,}|\bAIza[\w-]{35}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_SECRET_FILES = re.compile(
    r"^\.env(rc|\..+)?$|\.env$|^\.(netrc|pgpass|npmrc|pypirc|git-credentials)$|^id_(rsa|dsa|ecdsa|ed25519)$"
    r"|\.(pem|key|p12|pfx|keystore)$|^(client_|service_)?(credentials|secrets?)([-_.].*)?$"
)
_PREFILTER = re.compile(
    rf"://|{_CREDENTIALS}|AKIA|ASIA|gh[pousr]_|github_|glpat|hf_|sk-|xox|AIza|eyJ|PRIVATE", re.IGNORECASE
)


def redact(text: str, name: str = "") -> str:
    """Mask credentials in a text, or the whole text if its name is that of a credential."""
    if name and text and _CREDENTIAL_NAME.search(name):
        return MASK
    if not _PREFILTER.search(text):
        return text
    return _ASSIGNED_CREDENTIAL.sub(rf"\1{MASK}", _CREDENTIAL_FORMATS.sub(MASK, text))


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """Mask credentials in a command line, also those after an option: `--token x`."""
    redacted: list[str] = []
    redact_next = False
    for argument in arguments:
        redacted.append(MASK if redact_next and not argument.startswith("-") else redact(argument))
        redact_next = (
            argument.startswith("-") and "=" not in argument and bool(_CREDENTIAL_NAME.search(argument.lstrip("-")))
        )
    return redacted


def redact_value(value: Any, name: str = "", depth: int = 0) -> Any:
    """Mask credentials in all texts of nested lists and mappings; very deep ones are converted to text."""
    if isinstance(value, str):
        return redact(value, name)
    if isinstance(value, Mapping | list | tuple) and depth > MAX_DEPTH:
        return redact(str(value), name)
    if isinstance(value, Mapping):
        return {key: redact_value(item, str(key), depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_value(item, name, depth + 1) for item in value]
    return value


def is_secret_file(name: str) -> bool:
    """Whether a file of this name usually holds credentials."""
    if name.endswith(".py"):
        return False
    return bool(_SECRET_FILES.search(name))
