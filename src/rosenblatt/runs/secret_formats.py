"""Formats of credentials that are recognized by themselves, such as private keys and tokens of common services.

Every pattern is bounded, so that the time is proportional to the length of the text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from rosenblatt.runs.secret_names import looks_generated

Span = tuple[int, int]  # start and end of a credential in a text
MAX_KEY_CHARACTERS = 50_000  # of a private key whose end is never printed

compile_once = cache(re.compile)  # patterns are compiled when a text first needs them, which is rare


class Format(NamedTuple):
    """Texts that are credentials by themselves: the whole match, or its group `secret` if there is one."""

    hints: tuple[str, ...]  # one of them occurs in lower case in every text that matches
    pattern: str


KEY_BEGIN = r"-----?\s?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?\s?-----?|PuTTY-User-Key-File-\d:"
KEY_END = r"-----?\s?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?\s?-----?|Private-MAC: ?\w*"
_KEY_BODY = rf"[\s\S]{{0,{MAX_KEY_CHARACTERS}}}"

FORMATS = {
    "private key": Format(
        ("private key", "putty-user-key"),
        rf"(?:{KEY_BEGIN})(?:{_KEY_BODY}?(?:{KEY_END})|{_KEY_BODY})",
    ),
    "JSON web token": Format(("eyj",), r"\beyJ[\w-]{6,2000}\.[\w-]{6,}\.[\w-]*"),
    "Amazon access key": Format(("akia", "asia", "abia"), r"\b(?:AKIA|ASIA|ABIA)[0-9A-Z]{16}\b"),
    "GitHub token": Format(
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    ),
    "GitLab token": Format(
        ("gl",),
        r"\bgl(?:pat|dt|rt|ptt|ft|soat|cbt|agent|oas)-[\w-]{16,}(?:\.[\w-]{1,50}){0,3}"
    ),
    "Slack token": Format(("xox", "xapp-"), r"\b(?:xox[abeoprs](?:\.\w{1,8})?|xapp)-[\w-]{10,}"),
    "webhook": Format(
        ("hooks.slack", "/api/webhooks/", "webhook.office"),
        r"(?:hooks\.slack\.com/\w{1,20}/|discord(?:app)?\.com/api/webhooks/|webhook\.office\.com/)(?P<secret>[\w@/-]+)",
    ),
    "Google key": Format(
        ("aiza", "ya29.", "gocspx-"), r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}"
    ),
    "secret of Stripe": Format(
        ("_live_", "_test_", "whsec_"), r"\b(?:(?:sk|rk)_(?:live|test)_|whsec_)[A-Za-z0-9+/=]{8,}"
    ),
    "key that begins with sk-": Format(("sk-",), r"(?<![\w-])sk-(?=[\w-]{0,200}\d)[\w-]{16,}"),
    "PyPI token": Format(("pypi-",), r"\bpypi-(?:Ag[\w-]{10,}|[A-Za-z0-9]{20,})"),
    "token with the prefix of its vendor": Format(
        ("npm_", "hf_", "gsk_", "dckr_", "dop_v1_", "hvs.", "lin_api_", "ntn_", "nvapi-", "pplx-", "r8_", "shp",
         "tvly-", "xai-", "dapi", "age-secret-key-", "glc_", "glsa_", "pat-na", "sntrys_", "wandb_v1_", "tskey-"),
        (r"\b(?:npm_|hf_|gsk_|dckr_(?:pat|oat)_|do[opr]_v1_|hvs\.|lin_api_|ntn_|nvapi-|pplx-|r8_|shp(?:at|ca|pa|ss)_|"
            r"tvly-|xai-|dapi|AGE-SECRET-KEY-1|glc_|glsa_|pat-na\d-|sntrys_|wandb_v1_|tskey-)(?=[\w-]{0,200}\d|[A-Za-z]{30})"
            r"[A-Za-z0-9][\w-]{18,}(?:\.[\w-]{1,200}){0,3}"),
    ),
    "SendGrid key": Format(("sg.",), r"\bSG\.[\w-]{16,100}\.[\w-]{16,}"),
    "Telegram bot": Format((":aa",), r"(?<!\d)\d{8,10}:AA[\w-]{30,}"),
    "bearer token": Format(
        ("bearer",), r"(?i)\bbearer\s{1,5}(?P<secret>[\w.~+/-]{6,}={0,2})(?![\w.])"
    ),
    "token of an HTTP header": Format(
        ("token", "apikey"), r"(?i)\b(?:token|apikey)\s{1,5}(?P<secret>[0-9a-f]{16,})\b"
    ),
    "basic authentication": Format(
        ("basic",), r"(?i)\bbasic\s{1,5}(?P<secret>[A-Za-z0-9+/]{6,}={0,2})(?!\w)"
    ),
    "user and password of an option": Format(
        ("-u",),
        (r"(?:^|(?<=[\s\"'\[(]))(?:-u|--(?:proxy-)?user)(?:=|\s{0,5}|['\"],\s?)(?:\"(?P<double>[^\s:\"=/]{1,100}:[^\"\n]{1,500})\"|"
         r"'(?P<single>[^\s:'=/]{1,100}:[^'\n]{1,500})'|(?!\d+:\d+(?!\S))(?P<secret>[^\s:'\"=/]{1,100}:[^\s'\"]{1,500}))"),
    ),
    "user and password before a host": Format(
        ("@",),
        r"(?<![\w/:.@+-])[\w.+-]{1,60}:(?P<secret>[^\s:@/'\"<>]{3,100})@(?!sha256)[\w.-]{1,100}(?::\d|/)",
    ),
    "signature of a URL": Format(
        ("sig", "credential=", "security-token", "id=", "sas="),
        (r"(?i)[?&;](?:sig|signature|X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|"
         r"GoogleAccessId|sas)=(?P<secret>[^\s&\"'<>\\]+)"),
    ),
    "password of .netrc": Format(
        ("login",), r"\blogin\s{1,20}\S{1,100}\s{1,20}password\s{1,20}(?P<secret>\S+)"
    ),
    "password of a user of a database": Format(
        ("identified",),
        r"(?i)\bidentified\s{1,5}(?:with\s{1,5}\S{1,50}\s{1,5})?(?:by|as)\s{1,5}(?:password\s{1,5})?(?P<quote>[\"'])(?P<secret>[^\n]{1,200}?)(?P=quote)",
    ),
    "user and password of Oracle": Format(
        ("oracle",), r"(?i)\boracle(?::\w{1,10}:|(?:\+\w{1,20})?://)[\w.$]{1,60}/(?P<secret>[^\s\"'<>]{1,200})@"
    ),
    "credential on standard input": Format(
        ("-stdin", "sudo ", "chpasswd", "--with-token"),
        (r"\b(?:echo|printf|print)\s{1,5}(?:-\w{1,3}\s{1,5})?(?P<secret>[^|\n]{1,300}?)\s{0,5}\|(?:[^\n|]{0,200}"
         r"(?:(?:password|token|secret)-stdin|sudo\s(?:-\w\s){0,3}-S|--stdin|--with-token)|\s{0,5}(?:sudo\s{1,5})?chpasswd)"),
    ),
    "argument of a login": Format(
        ("login(",), (r"(?i)\blogin\((?P<secret>[^()\n\"'=]{0,200}"
                      r"(?:[\"']|(?:api_?)?key=(?!none\b)|token=(?!none\b))[^()\n]{0,300})"),
    ),
}  # fmt: skip
_HINTS = [(hint, name) for name, form in FORMATS.items() for hint in form.hints]


def find_formatted(text: str, lowered: str) -> Iterator[Span]:
    """Find credentials that are recognized by their own format; `lowered` is the text in lower case."""
    for name in dict.fromkeys([name for hint, name in _HINTS if hint in lowered]):
        for match in compile_once(FORMATS[name].pattern).finditer(text):
            if name != "basic authentication" or _is_basic_authentication(match["secret"]):
                yield match.span(match.lastgroup) if match.lastgroup else match.span()
    if "://" in text:
        yield from _find_url_credentials(text)


def _is_basic_authentication(text: str) -> bool:
    """Whether a text is USER:PASSWORD in base64, rather than a word after "basic"."""
    try:
        return b":" in base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False


def _find_url_credentials(text: str) -> Iterator[Span]:
    """Find the password before the host of URLs, whatever its characters; of web addresses also
    the user, or a token in its place."""
    for match in re.finditer(r"(?<=://)(?:(?!://)[^\s\"'<>`])*@", text):
        start, end = match.start(), match.end() - 1
        is_web = text[:start][-8:].lower().endswith(("http://", "https://"))
        user, colon, rest = text[start:end].partition(":")
        if re.search(r"[/?#]", user) or (is_web and re.match(r"\d{1,5}[/?#]", rest)):
            continue  # @ in the path
        if is_web and (colon or looks_generated(user)):
            yield start, end
        elif colon:
            yield start + len(user) + 1, end
