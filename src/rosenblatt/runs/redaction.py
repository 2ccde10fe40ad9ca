"""In: text that is about to be recorded. Out: the same without what looks like a credential."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "******"
DEEPEST = 50  # lists in lists
_NAMES = r"(?:pass(?:word|wd|phrase)?|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|auth)"
_NAMED = re.compile(rf"(?:^|[-_.])(?:\w*[-_])?{_NAMES}$", re.IGNORECASE)
_GIVEN = re.compile(
    rf"((?:^|[\s\"'&?;,{{(-])[\w-]*{_NAMES}[\"']?\s*[=:]\s*[\"']?)(?:(?:Bearer|Basic)\s+)?([^\s\"'&;,)}}]+)",
    re.IGNORECASE | re.MULTILINE,
)
_KNOWN = re.compile(
    r"(?<=://)[^/\s@]+(?=@)"  # user:password@ or token@ of an address
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
_QUICK = re.compile(rf"://|{_NAMES}|AKIA|ASIA|gh[pousr]_|github_|glpat|hf_|sk-|xox|AIza|eyJ|PRIVATE", re.IGNORECASE)


def masked(words: str, name: str = "") -> str:
    """The text without credentials; all of it is one where its name says so."""
    if name and words and _NAMED.search(name):
        return MASK
    if not _QUICK.search(words):
        return words
    return _GIVEN.sub(rf"\1{MASK}", _KNOWN.sub(MASK, words))


def masked_arguments(words: Sequence[str]) -> list[str]:
    """A command line without credentials, also those that follow an option: `--token x`."""
    found: list[str] = []
    hides = False
    for word in words:
        found.append(MASK if hides and not word.startswith("-") else masked(word))
        hides = word.startswith("-") and "=" not in word and bool(_NAMED.search(word.lstrip("-")))
    return found


def masked_value(value: Any, name: str = "", depth: int = 0) -> Any:
    """Plain data without credentials, in texts at any depth; what is deeper than any plain data, as text."""
    if isinstance(value, str):
        return masked(value, name)
    if isinstance(value, Mapping | list | tuple) and depth > DEEPEST:
        return masked(str(value), name)
    if isinstance(value, Mapping):
        return {key: masked_value(each, str(key), depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked_value(each, name, depth + 1) for each in value]
    return value


def is_secret_file(name: str) -> bool:
    """Whether a file of this name holds credentials by convention."""
    if name.endswith(".py"):
        return False
    return bool(_SECRET_FILES.search(name))
