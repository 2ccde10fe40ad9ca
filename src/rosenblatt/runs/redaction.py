"""Redaction of credentials in text, arguments and plain data before they are recorded.

A credential is recognized by its own format (a row of `FORMATS`), or by the name it is assigned to (`secret_names`):
`password=x`, `"apiKey": "x"`, `--token x`. Every pattern is bounded, so that the time is proportional to the length
of the text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from rosenblatt.runs.secret_assignments import find_assigned, find_named_value, is_paired_value
from rosenblatt.runs.secret_commands import find_command_credentials, find_in_arguments
from rosenblatt.runs.secret_formats import KEY_BEGIN, KEY_END, MAX_KEY_CHARACTERS, Span, compile_once, find_formatted
from rosenblatt.runs.secret_names import is_harmless, is_secret_name

MASK = "******"
MAX_DEPTH = 50  # of nested values

# colors, and escaped signs that separate names from values
_ESCAPE_HINT = r"\x1b\[|\\[ux]|&(?:#|quot|apos|amp|lt|gt)|%[23]"
_ESCAPE = (
    r"\x1b\[[0-9;:]{0,40}m|\\{1,4}(?:u00|x)(?P<hex>2[267]|3[acdeACDE])|%(?P<percent>2[27]|3[aAdD])"
    r"|&#0?(?P<html>34|38|39|58|60|61|62);|&#x0?(?P<html_hex>2[267]|3[acdeACDE]);|&(?P<name>quot|apos|amp|lt|gt);"
)
_HTML_NAMES = {"quot": '"', "apos": "'", "amp": "&", "lt": "<", "gt": ">"}
_USER_OPTIONS = ("-u", "--user", "--proxy-user")
MAX_CONTEXT_CHARACTERS = 200  # of a line that names the value of the next one
_ENDS_WITH_NAME = r"(?i)(?::[^\S\n]*|\bname[\"']?\s?[:=][^\n]*|[,\\])\n?$"


def redact(text: str, name: str = "") -> str:
    """Mask credentials in a text, or the whole text if its name is that of a credential."""
    if name and is_secret_name(name):
        return text if is_harmless(name, text) else MASK
    return _mask(text, _find_credentials(text))


class StreamRedactor:
    """Masks credentials in a text that comes in parts, of whole lines, such as a private key printed slowly."""

    def __init__(self) -> None:
        self._key_characters = 0  # printed since a private key began; 0 outside of one
        self._context = ""  # the last lines before, such as a prompt whose answer comes next

    def redact(self, text: str) -> str:
        """Mask credentials in the next part."""
        if self._key_characters:
            end = compile_once(KEY_END).search(text)
            remaining = max(MAX_KEY_CHARACTERS - self._key_characters, 0)
            if not end and len(text) <= remaining:
                self._key_characters += len(text)
                return ""
            text, self._key_characters = text[end.end() if end else remaining :].removeprefix("\n"), 0
        begins = list(compile_once(KEY_BEGIN).finditer(text)) if "PRIVATE KEY" in text or "PuTTY" in text else []
        if begins and not compile_once(KEY_END).search(text, begins[-1].end()):
            self._key_characters = len(text) - begins[-1].start()
            return f"{self._redact_in_context(text)}\n"
        return self._redact_in_context(text)

    def _redact_in_context(self, text: str) -> str:
        context, self._context = self._context, _last_name(text)
        n = len(context)
        spans = _find_credentials(context + text)
        return _mask(text, [(max(start - n, 0), end - n) for start, end in spans if end > n])


def _last_name(text: str) -> str:
    """The last line of a text if it names the value of the next one: `Password:`, `- name: password`."""
    line = text[text.rstrip("\n").rfind("\n") + 1 :]
    is_name = len(line) <= MAX_CONTEXT_CHARACTERS and compile_once(_ENDS_WITH_NAME).search(line)
    return line if is_name else ""


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
    for i, start, end in find_in_arguments(arguments):
        if redacted[i] == arguments[i]:
            redacted[i] = _mask(arguments[i], [(start, end)])
    return redacted


def _redact_option_value(option: str, value: str) -> str:
    if option in _USER_OPTIONS:  # but the numbers of a user and a group
        is_secret = ":" in value and not value.replace(":", "").isdigit()
    else:
        is_secret = not is_harmless(option, value)
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
        named = find_named_value(value) if by_name else None
        value = value if named is None else {**value, named: MASK}
        return {
            redact(key) if isinstance(key, str) else key: redact_value(
                item, str(key) if by_name else "", depth + 1, by_name=by_name
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple) and depth < MAX_DEPTH:
        return _redact_items(value, depth, by_name)
    return redact(value if isinstance(value, str) else to_text(value))


def _redact_items(items: Sequence[Any], depth: int, by_name: bool) -> list[Any]:
    if by_name and len(items) == 2 and isinstance(items[0], str) and is_paired_value(items[0], items[1]):
        return [items[0], MASK]
    if all(isinstance(item, str) for item in items):
        return redact_arguments(items)
    return [redact_value(item, "", depth + 1, by_name=by_name) for item in items]


def to_text(value: Any) -> str:
    """Format any object as text; one that is nested too deeply as a text that no other equals."""
    try:
        return str(value)
    except RecursionError:
        return f"{type(value).__name__} {secrets.token_hex(8)}, nested too deeply to be recorded"


def _mask(text: str, spans: Sequence[Span]) -> str:
    """Replace spans of a text, which may overlap."""
    parts, position = [], 0
    for start, end in sorted(spans):
        if start >= position:
            parts += [text[position:start], MASK]
        position = max(position, end)
    return "".join([*parts, text[position:]]) if parts else text


def _find_credentials(text: str) -> list[Span]:
    spans = _find_in_plain_text(text)
    if compile_once(_ESCAPE_HINT).search(text):
        spans += _find_in_escaped_text(text)
    return spans


def _find_in_plain_text(text: str) -> list[Span]:
    lowered = text.lower()
    if len(lowered) != len(text):  # of a few letters, such as one of Turkish
        lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    return [
        *find_formatted(text, lowered),
        *find_assigned(text, lowered),
        *find_command_credentials(text, lowered),
    ]


def _find_in_escaped_text(text: str) -> list[Span]:
    """Find credentials in a text with colors, or with escaped signs of JSON, HTML and URLs (`\\u003d` for `=`)."""
    parts, positions, end = list[str](), list[int](), 0
    for match in compile_once(_ESCAPE).finditer(text):
        sign = _unescape(match)
        parts += [text[end : match.start()], sign]
        positions += [*range(end, match.start()), *[match.start()] * len(sign)]
        end = match.end()
    if not parts:
        return []
    positions += range(end, len(text) + 1)
    return [
        (positions[first], positions[last - 1] + 1 if last > first else positions[first])
        for first, last in _find_in_plain_text("".join([*parts, text[end:]]))
    ]


def _unescape(match: re.Match[str]) -> str:
    code = match["hex"] or match["percent"] or match["html_hex"]
    if code:
        return chr(int(code, 16))
    if match["html"]:
        return chr(int(match["html"]))
    return _HTML_NAMES.get(match["name"] or "", "")
