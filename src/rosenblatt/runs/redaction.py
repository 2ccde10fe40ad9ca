"""Redaction of credentials in text, arguments and plain data before they are recorded.

A credential is recognized by its own format (a row of `FORMATS`), or by the name it is assigned to (`secret_names`):
`password=x`, `"apiKey": "x"`, `--token x`. Every pattern is bounded, so that the time is proportional to the length
of the text.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from rosenblatt.runs.secret_names import is_harmless, is_secret_name

MASK = "******"
MAX_DEPTH = 50  # of nested values
MAX_KEY_CHARACTERS = 50_000  # of a private key whose end is never printed

_Span = tuple[int, int]
_compile = cache(re.compile)  # patterns are compiled when a text first needs them, which is rare


class Format(NamedTuple):
    """Texts that are credentials by themselves: the whole match, or its group `secret` if there is one."""

    hints: tuple[str, ...]  # one of them occurs in lower case in every text that matches
    pattern: str


_KEY_BEGIN = r"-----?\s?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?\s?-----?|PuTTY-User-Key-File-\d:"
_KEY_END = r"-----?\s?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?\s?-----?|Private-MAC: ?\w*"
_KEY_BODY = rf"[\s\S]{{0,{MAX_KEY_CHARACTERS}}}"

FORMATS = {
    "private key": Format(
        ("private key", "putty-user-key"),
        rf"(?:{_KEY_BEGIN})(?:{_KEY_BODY}?(?:{_KEY_END})|{_KEY_BODY})",
    ),
    "JSON web token": Format(("eyj",), r"\beyJ[\w-]{6,2000}\.[\w-]{6,}\.[\w-]*"),
    "Amazon access key": Format(("akia", "asia", "abia"), r"\b(?:AKIA|ASIA|ABIA)[0-9A-Z]{16}\b"),
    "GitHub token": Format(("gh", "github_pat_"), r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})"),
    "GitLab token": Format(
        ("gl",), r"\bgl(?:pat|dt|rt|ptt|ft|soat|cbt|agent|oas)-[\w-]{16,}(?:\.[\w-]{1,50}){0,3}"
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
        ("-u", "-user"),
        (r"(?:^|(?<=[\s\"'\[(]))(?:-u|--(?:proxy-)?user)(?:=|\s{0,5}|['\"],\s?)['\"]?"
                   r"(?P<secret>[^\s:'\"=/]{1,100}:[^\s'\"]{1,500})"),
    ),
    "user and password before a host": Format(
        ("@",),
        r"(?<![\w/:.@+-])[\w.+-]{1,60}:(?P<secret>[^\s:@/'\"<>]{3,100})@(?!sha256)[\w.-]{1,100}(?::\d|/)",
    ),
    "signature of a URL": Format(
        ("sig", "credential=", "security-token", "sas"),
        (r"(?i)[?&;](?:sig|signature|X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|"
         r"GoogleAccessId|sas)=(?P<secret>[^\s&\"'<>\\]+)"),
    ),
    "password of .netrc": Format(
        ("login",), r"\blogin\s{1,20}\S{1,100}\s{1,20}password\s{1,20}(?P<secret>\S+)"
    ),
}  # fmt: skip

# what a text with an assigned credential contains, in lower case
_NAME_HINTS = (
    "pass", "pwd", "pw", "secret", "token", "key", "cred", "auth", "cookie", "bearer", "jwt", "otp", "signature",
    "kennwort", "contrase", "senha",
)  # fmt: skip
_ANY_HINT = "|".join(
    re.escape(hint)
    for hint in dict.fromkeys((*(hint for form in FORMATS.values() for hint in form.hints), *_NAME_HINTS))
)
_ASSIGNMENT = (
    r"(?<![\w.$-])([\w.$-]{1,200})(?:\\{0,8}[\"'])?\]?[^\S\n]{0,20}(?::=|=>|==?|:|%3D|(?<=\w)>(?=[^\s<]))[^\S\n]{0,20}"
)
_WORD_BEFORE = r"(?<![\w.$-])([^\W\d_]{1,30} )$"
_OPTION = r"(?<![\w-])(--?[A-Za-z][\w.-]{0,100})(?:\\{0,8}[\"'],)?[^\S\n]{1,20}(?![-\s])"
_QUOTED_VALUE = r"(?i)\b([\w.-]{0,100}(?:password|passphrase|passwd))[^\S\n]{1,5}(?=[\"'])"
_OPENING_QUOTE = r"[bBfFrRuU]{0,2}(\\{0,8}(?:\"\"\"|'''|[\"'`]))"
_NEXT_ASSIGNMENT = r"[\w.$-]{1,100}\\{0,8}[\"']?[^\S\n]?[=:]"
# the end of a value without quotes: a blank, a separator before a blank or another name, brackets that close the text
_BARE_END = (
    r"\s|[,;&](?=\s|$|\\{0,8}[\"']?[\w.$-]{1,100}\\{0,8}[\"']?[^\S\n]?[=:])|%26|[)\]}]{1,20}(?=[\s,;.:\"']|$)"
    r"|\\{0,8}[\"'`](?=[\s,;:)\]}\\]|$)"
)
_SCHEME = r"(?i)(?:bearer|basic|token|digest|apikey|negotiate)\s{1,5}(?=\S)"
_HEADER = r"(?i)(?:authorization|cookies?)$"
_QUERY_END = r"[\s&\"'<>\\]|$"
_BLOCK = r"[|>][+-]?\d?[^\S\n]*\n(?:[^\S\n]+\S.*(?:\n|$)|[^\S\n]*\n)*"  # a block of text in YAML
_LINE_START = r"[^\S\n]*(?:-[^\S\n]+|export[^\S\n]+)?[\"']?$"
_COLOR = r"\x1b\[[0-9;:]{0,40}m"
_BRACKETS = r"[\"'\[\](){}]"
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_MAX_NESTED_CHARACTERS = 20_000  # of a list or mapping under a secret name
_USER_OPTIONS = ("-u", "--user", "--proxy-user")


def redact(text: str, name: str = "") -> str:
    """Mask credentials in a text, or the whole text if its name is that of a credential."""
    if name and is_secret_name(name):
        return text if is_harmless(name, text) else MASK
    return _mask(text, _find_credentials(text))


class StreamRedactor:
    """Masks credentials in a text that comes in parts, of whole lines, such as a private key printed slowly."""

    def __init__(self) -> None:
        self._key_characters = 0  # printed since a private key began; 0 outside of one

    def redact(self, text: str) -> str:
        """Mask credentials in the next part."""
        if self._key_characters:
            end = _compile(_KEY_END).search(text)
            remaining = max(MAX_KEY_CHARACTERS - self._key_characters, 0)
            if not end and len(text) <= remaining:
                self._key_characters += len(text)
                return ""
            text, self._key_characters = text[end.end() if end else remaining :].removeprefix("\n"), 0
        begins = list(_compile(_KEY_BEGIN).finditer(text)) if "PRIVATE KEY" in text or "PuTTY" in text else []
        if begins and not _compile(_KEY_END).search(text, begins[-1].end()):
            self._key_characters = len(text) - begins[-1].start()
            return f"{redact(text)}\n"
        return redact(text)


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """Mask credentials in a command line, also those after an option: `--token x`, `--api-keys x y`."""
    redacted: list[str] = []
    option = ""  # the secret one whose value comes next
    for argument in arguments:
        is_option = argument.startswith("--") or (argument.startswith("-") and len(argument) < 4)
        if option and not is_option:
            redacted.append(_redact_option_value(option, argument))
            option = option if option.endswith("s") and is_secret_name(option) else ""
            continue
        name, equals, value = argument.partition("=")
        if equals and re.fullmatch(r"[\w.+-]+", name) and is_secret_name(name):
            redacted.append(argument if is_harmless(name, value) else f"{name}={MASK}")
        else:
            redacted.append(redact(argument))
        names_value = argument.startswith("-") and not equals
        option = argument if names_value and (argument in _USER_OPTIONS or is_secret_name(argument)) else ""
    return redacted


def _redact_option_value(option: str, value: str) -> str:
    is_secret = ":" in value if option in _USER_OPTIONS else not is_harmless(option, value)
    return MASK if is_secret else redact(value)


def find_masked(arguments: Sequence[str]) -> tuple[int, ...]:
    """The positions of the arguments of a command line that `redact_arguments` changes."""
    pairs = zip(arguments, redact_arguments(arguments), strict=True)
    return tuple(i for i, (argument, redacted) in enumerate(pairs) if argument != redacted)


def redact_value(value: Any, name: str = "", depth: int = 0, *, by_name: bool = True) -> Any:
    """Mask credentials in nested lists and mappings, as data that can be written as JSON.

    Of a value under a secret name everything is masked, whatever its type, unless `by_name` is False: then only
    credentials in texts are. Other objects, and values that are nested very deeply, are converted to text.
    """
    if value is None or isinstance(value, bool):
        return value
    if name and is_secret_name(name):
        return value if isinstance(value, str | int | float) and is_harmless(name, str(value)) else MASK
    if isinstance(value, int | float):
        return value
    if hasattr(value, "tolist"):  # arrays and their scalars
        if getattr(getattr(value, "dtype", None), "kind", "") in tuple("iuf"):
            return value.tolist()
        return redact_value(value.tolist(), "", depth + 1, by_name=by_name)
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return {
            redact(key) if isinstance(key, str) else key: redact_value(
                item, str(key) if by_name else "", depth + 1, by_name=by_name
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple) and depth < MAX_DEPTH:
        if all(isinstance(item, str) for item in value):
            return redact_arguments(value)
        return [redact_value(item, "", depth + 1, by_name=by_name) for item in value]
    return redact(value if isinstance(value, str) else to_text(value))


def to_text(value: Any) -> str:
    """Format any object as text; one that is nested too deeply as a text that no other equals."""
    try:
        return str(value)
    except RecursionError:
        return f"{type(value).__name__} {secrets.token_hex(8)}, nested too deeply to be recorded"


def _mask(text: str, spans: Sequence[_Span]) -> str:
    """Replace spans of a text, which may overlap."""
    parts, position = [], 0
    for start, end in sorted(spans):
        if start >= position:
            parts += [text[position:start], MASK]
        position = max(position, end)
    return "".join([*parts, text[position:]]) if parts else text


def _find_credentials(text: str) -> list[_Span]:
    if "\x1b" in text:  # blanks of the same length in place of colors
        text = _compile(_COLOR).sub(lambda match: " " * len(match[0]), text)
    lowered = text.lower()
    if "://" not in text and not _compile(_ANY_HINT).search(lowered):
        return []
    spans = [
        match.span("secret") if "secret" in match.groupdict() else match.span()
        for name, (hints, pattern) in FORMATS.items()
        if any(hint in lowered for hint in hints)
        for match in _compile(pattern).finditer(text)
        if name != "basic authentication" or _is_basic_authentication(match["secret"])
    ]
    if "://" in text:
        spans += _find_url_credentials(text)
    if any(hint in lowered for hint in _NAME_HINTS):
        spans += _find_assigned(text)
    return spans


def _is_basic_authentication(text: str) -> bool:
    """Whether a text is USER:PASSWORD in base64, rather than a word after "basic"."""
    try:
        return b":" in base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False


def _find_url_credentials(text: str) -> Iterator[_Span]:
    """Find the password before the host of URLs, whatever its characters; of web addresses also a user, or token."""
    for match in re.finditer(r"(?<=://)(?:(?!://)[^\s\"'<>`])*@", text):
        start, end = match.start(), match.end() - 1
        is_web = text[:start][-8:].lower().endswith(("http://", "https://"))
        user, colon, rest = text[start:end].partition(":")
        if re.search(r"[/?#]", user) or (is_web and re.match(r"\d{1,5}[/?#]", rest)):
            continue  # @ in the path
        if is_web:
            yield start, end
        elif colon:
            yield start + len(user) + 1, end


def _find_assigned(text: str) -> Iterator[_Span]:
    """Find values that are assigned to secret names."""
    for pattern in (_ASSIGNMENT, _OPTION, _QUOTED_VALUE):
        position = 0
        while match := _compile(pattern).search(text, position):
            position, name = match.end(), _with_word_before(text, match)
            if is_secret_name(name):
                start, end = _find_value(text, position, name, match.start() if pattern is _ASSIGNMENT else None)
                if start < end and not _is_placeholder(name, text[start:end]):
                    yield start, end
                    position = end


def _with_word_before(text: str, match: re.Match[str]) -> str:
    """The name of an assignment, with the word before it if a blank separates them: `API key: x`, `next token: x`."""
    start = match.start(1)
    before = _compile(_WORD_BEFORE).search(text, max(start - 31, 0), start)
    return (before[1] if before else "") + match[1]


def _is_placeholder(name: str, value: str) -> bool:
    """Whether a value stands for none, or is the name in capitals, as in the help of a program."""
    return is_harmless(name, value) or (value.isupper() and name.upper().replace("-", "_").endswith(value))


def _find_value(text: str, start: int, name: str, name_start: int | None) -> _Span:
    """The span of a value that begins at `start`, without its quotes; `name_start` is None after an option."""
    quote = _compile(_OPENING_QUOTE).match(text, start)
    if quote:
        return quote.end(), _closing_quote(text, quote.end(), quote[1])
    if text[start : start + 1] in _CLOSING:
        return start, _closing_bracket(text, start)
    if block := _compile(_BLOCK).match(text, start):
        return start, block.end() - block[0].endswith("\n")
    if _compile(_HEADER).search(name):
        quote_before = text[max((name_start or 0) - 1, 0) : name_start or 0].strip()
        end = text.find(quote_before, start) if quote_before in ("'", '"', "`") else -1
        return start, end if end >= 0 else _line_end(text, start)
    if name_start is not None and text[max(name_start - 1, 0) : name_start] in ("?", "&"):
        return start, _search_end(_QUERY_END, text, start)
    if name_start is not None and text[name_start - 1 : name_start] == "<":
        return start, _search_end("<", text, start)
    if name_start is not None and _is_rest_of_line(text, start, name_start):
        return start, _line_end(text, start)
    scheme = _compile(_SCHEME).match(text, start)
    return start, _search_end(_BARE_END, text, scheme.end() if scheme else start)


def _is_rest_of_line(text: str, start: int, name_start: int) -> bool:
    """Whether a line consists of a name, a sign with a blank after it, and a value, as in YAML and INI files."""
    before = text[max(text.rfind("\n", max(name_start - 100, 0), name_start) + 1, name_start - 100, 0) : name_start]
    if text[start - 1] not in " \t" or not _compile(_LINE_START).fullmatch(before):
        return False
    line = text[start : _line_end(text, start)]
    return not _compile(_NEXT_ASSIGNMENT).search(line) and not line.startswith(tuple(",;)]}"))


def _search_end(pattern: str, text: str, start: int) -> int:
    match = _compile(pattern).search(text, start)
    return match.start() if match else len(text)


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _closing_quote(text: str, start: int, quote: str) -> int:
    """The position of the quote that closes a value; the end of the line if there is none."""
    mark = re.escape(quote[-1])
    if len(quote) == 1:  # \" and "" stand for a quote
        pattern = rf"(?:[^{mark}\\]|\\[\s\S]|{mark}{mark}){{0,{MAX_KEY_CHARACTERS}}}(?={mark})"
    else:
        pattern = rf"[\s\S]{{0,{MAX_KEY_CHARACTERS}}}?(?<!\\)(?={re.escape(quote)})"
    match = _compile(pattern).match(text, start)
    return match.end() if match else _line_end(text, start)


def _closing_bracket(text: str, start: int) -> int:
    """The position after the bracket that closes a list or mapping; the end of the line if there is none."""
    expected: list[str] = []
    position = start
    while match := _compile(_BRACKETS).search(text, position, start + _MAX_NESTED_CHARACTERS):
        position = match.end()
        if match[0] in "\"'":
            position = _closing_quote(text, position, match[0]) + 1
        elif match[0] in _CLOSING:
            expected.append(_CLOSING[match[0]])
        elif not expected or match[0] != expected.pop():
            break
        if not expected:
            return position
    return _line_end(text, start)
