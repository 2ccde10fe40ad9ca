"""Credentials that stand beside a secret name: assigned, in a pair, after a prompt, or in a sentence.

The names of a text are looked for first, then what connects each of them to a value. An assignment (`password=x`,
`--token x`) masks whatever follows; weaker connections (`password x`, "the password is x") only a value that looks like
a credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rosenblatt.runs.secret_formats import MAX_KEY_CHARACTERS, Span, compile_once
from rosenblatt.runs.secret_names import (
    is_harmless,
    is_password_name,
    is_secret_call,
    is_secret_name,
    is_unambiguous,
    looks_generated,
)

MIN_TOKEN_CHARACTERS = 12  # of a value beside a word such as "token"

# what a secret name contains, in lower case; of some more exactly, with the word in place of which it stands
_NAME_HINTS = (
    "pass", "pw", "pswd", "secret", "token", "key", "cred", "auth", "cookie", "bearer", "jwt", "otp",
    "signature", "sessionid", "sessid", "code", "mnemonic", "phrase", "pin", "kennwort", "contrase", "senha",
    "wachtwoord", "hasło", "haslo", "парол", "密码", "パスワード",
)  # fmt: skip
_EXACT_HINTS = {"code": r"(?:recovery|backup|verification|access|mfa|security)[_-]?code", "pin": r"pin(?![a-z])"}
_HINT = "|".join(_EXACT_HINTS.get(hint, hint) for hint in _NAME_HINTS)
_NAME = rf"(?<![\w.$-])[\w.$-]{{0,100}}?(?:{_HINT})[\w.$-]{{0,100}}"
_QUOTE = r"\\{0,8}[\"'`]"
_ASSIGNED = (
    r"(?: (?P<word>[A-Za-z]{1,30}))?(?:\\{0,8}[\"'])?\]?[^\S\n]{0,20}(?::=|=>|==?|:|%3D|(?<=\w)>(?=[^\s<]))"
    r"[^\S\n]{0,20}"
)
_WORD_BEFORE = r"(?<![\w.$-])([^\W\d_]{1,30} )$"
_OPTION_NAME = r"--?[A-Za-z][\w.-]{0,100}"
_OPTION_VALUE = rf"(?:{_QUOTE},)?[^\S\n]{{1,20}}(?![-\s])"
_BLANK = r"[^\S\n]{1,40}(?:[|│┃][^\S\n]{0,40}|->[^\S\n]{0,5}|→[^\S\n]{0,5})?(?=\S)"
# after a name that is the name of something: `"name": "password", "value": `, `name="password" value=`, `">`
_NAMING_KEY = r"(?i)(?:\w{0,20}[_.-])?(?:name|key|id|variable|var|option|field|header|param|parameter|property|k)"
_NAMED = (
    rf"(?i)(?:^|[\s{{,\"'<-]){_NAMING_KEY.removeprefix('(?i)')}"
    rf"(?:{_QUOTE})?\s{{0,3}}[:=]\s{{0,3}}(?:{_QUOTE})?$"
)
_VALUE_NAME = r"(?:\w{0,20}[_.-]?)?(?:value|val|content|data|text|v|default)"
_VALUE_AFTER = (
    rf"(?i)(?:{_QUOTE})?(?:\s{{0,3}},?\s{{1,20}}(?:- )?|,)(?:{_QUOTE})?(?P<value>{_VALUE_NAME})"
    rf"(?:{_QUOTE})?\s{{0,3}}[:=][^\S\n]{{0,3}}"
    rf"|{_QUOTE}\s{{0,2}}>\s{{0,20}}(?:<value[^<>]{{0,50}}>)?\s{{0,20}}(?=[^<\s])"
)
_VALUE_BEFORE = (
    rf"[:=]\s{{0,3}}(?P<quote>{_QUOTE})(?P<secret>[^\n\"'`]{{1,200}})(?P=quote)"
    rf"\s{{0,3}},?\s{{1,20}}(?:{_QUOTE})?[\w.-]{{1,30}}(?:{_QUOTE})?\s{{0,3}}[:=]\s{{0,3}}(?:{_QUOTE})?$"
)
_ENDS_WITH_VALUE_NAME = rf"(?i)(?<![\w.-]){_VALUE_NAME}(?:{_QUOTE})?\s{{0,3}}$"
_BEFORE_PAIRED = ("<", ":", "=", '"', "'", "`", ": ", "= ")
_PAIR_BEFORE = rf"[(\[]\s{{0,2}}[bBuU]?{_QUOTE}$"
_PAIR_VALUE = rf"{_QUOTE},[^\S\n]{{0,5}}(?=[bBuU]?{_QUOTE})"
_TAG_VALUE = r"(?:\s[^<>]{0,200})?>\s{0,20}(?:<!\[CDATA\[)?(?P<secret>[^<\s][^<]*?)\s{0,20}(?:\]\]>|</)"
_PROMPT = r"[^\S\n](?:for|of|to|on)\b[^\n]{1,120}?:[^\S\n]{1,5}(?=\S)"
_NEXT_LINE = r"[^\S\n]{0,5}:[^\S\n]{0,5}\n[^\S\n]{0,8}(?=\S)"
_SENTENCE = (
    r"(?i)(?:[^\S\n]+[\w'\"@.-]{1,40}){0,6}?[^\S\n]+(?:(?P<is>is)|was|are|(?:set|changed|reset|updated|back)[^\S\n]to|be|becomes)"
    r"(?:[^\S\n]now)?:?[^\S\n]{1,5}(?=\S)"
)
_SETTER_BEFORE = (
    r"(?i)(?<![\w-])(?:set|setx|setenv|env|export|config|put|define)(?:[^\S\n]{1,3}-{1,2}[\w-]{1,20}){0,3}[^\S\n]{1,5}$"
)
_CALL = r"\([^\S\n]{0,5}(?P<secret>[bruBRU]?[\"'][^()\n]{1,300})"
_WEAK_VALUE = r"[^\s\"'`,;<>()\[\]|│┃]{1,500}"
_ALONE = r"[.!]?[^\S\n]*(?:$|\n)"  # nothing else follows in the line
_PLAIN = r"[\w!#$%&*+.@^~-]{4,100}"
_TAG_BEFORE = r"<(?:[\w.-]{1,50}:)?$"
_STATE = (  # of a password, rather than the password
    r"(?i)(?:\w+(?:ed|ing|able|ible|ive|ent|ant|ary|ory|ful|less|ly|ous|al|en|ect|ern|ain|aught|ought)|too|not|no|a|an|"
    r"the|in|on|at|as|by|for|from|of|to|and|or|that|what|which|where|when|how|if|only|same|case-\w+|ok|okay|fine|wrong|"
    r"right|valid|invalid|weak|strong|short|long|empty|blank|null|none|missing|set|unset|known|unknown|old|new|secure|"
    r"insecure|safe|unsafe|good|bad|public|private|secret|visible|read|shown|lost|plain|here|there|below|above|now|"
    r"still|also|always|never|must|should|may|can|up|out|off|it|this|your|my|our|their|email|username|user|name|label|"
    r"login|id|password|success|failure|yes|welcome|done|true|false)"
)
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
_BRACKETS = r"[\"'\[\](){}]"
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_MAX_NESTED_CHARACTERS = 20_000  # of a list or mapping under a secret name
_MAX_OPEN_BRACKETS = 8


def find_assigned(text: str, lowered: str) -> Iterator[Span]:
    """Find values beside secret names; `lowered` is the text in lower case, of the same length."""
    if not [hint for hint in _NAME_HINTS if hint in lowered]:
        return
    hint, names, position = compile_once(_HINT), compile_once(_NAME), 0
    while near := hint.search(lowered, position):
        line = text.rfind("\n", position, near.start()) + 1
        end = _line_end(text, near.start())
        position = max(line, position)
        while match := names.search(lowered, position, end):
            position = match.end()
            if span := _find_beside(text, match.start(), match.end()):
                yield span
                position = max(position, span[1])
        position = max(position, end)


def _find_beside(text: str, start: int, end: int) -> Span | None:
    """Find the value of a name, if the name is secret and a value is connected to it."""
    name = text[start:end]
    full_name = _word_before(text, start) + name
    if assigned := compile_once(_ASSIGNED).match(text, end):
        assigned_name = f"{full_name} {assigned['word'] or ''}".rstrip()
        is_assigned = is_secret_name(assigned_name) and not _is_end_of_quoted(text, start, assigned)
        if is_assigned and (span := _find_strong(text, assigned.end(), assigned_name, start)):
            return span
    if is_secret_call(name) and (call := compile_once(_CALL).match(text, end)):
        return call.span("secret")
    if not is_secret_name(full_name):
        return None
    if compile_once(_OPTION_NAME).fullmatch(name) and (option := compile_once(_OPTION_VALUE).match(text, end)):
        return _find_strong(text, option.end(), name, None)
    return _find_paired(text, start, end, name) or _find_weak(text, start, end, full_name)


def _word_before(text: str, start: int) -> str:
    """The word before a name with the blank between them, as in `API key`; empty if there is none."""
    if start == 0 or text[start - 1] != " ":
        return ""
    blank = text.rfind(" ", max(start - 31, 0), start - 1)
    before = compile_once(_WORD_BEFORE).search(text, max(blank, start - 31, 0), start)
    return before[1] if before else ""


def _is_end_of_quoted(text: str, start: int, assigned: re.Match[str]) -> bool:
    """Whether a quote after a sign closes the text in which the name stands: `input("password: ")`."""
    quote = text[assigned.end() : assigned.end() + 1]
    before = text[max(start - 200, 0) : start].rpartition("\n")[2]
    return quote in tuple("\"'`") and not {"'", '"', "`"} & set(assigned[0]) and before.count(quote) % 2 == 1


def _find_strong(text: str, position: int, name: str, name_start: int | None) -> Span | None:
    """The span of a value that belongs to a name without doubt; `name_start` is None after an option."""
    start, end = _find_value(text, position, name, name_start)
    return (start, end) if start < end and not _is_placeholder(name, text[start:end]) else None


def _find_paired(text: str, start: int, end: int, name: str) -> Span | None:
    """Find the value of a pair: `("password", "x")`, `"name": "password", "value": "x"`, `<password a="b">x<`."""
    before = text[max(start - 40, 0) : start]
    span: Span | None = None
    if not before.endswith(_BEFORE_PAIRED):
        return None
    if compile_once(_TAG_BEFORE).search(before):
        if tag := compile_once(_TAG_VALUE).match(text, end):
            span = tag.span("secret")
    elif compile_once(_PAIR_BEFORE).search(before):
        if pair := compile_once(_PAIR_VALUE).match(text, end):
            span = _find_value(text, pair.end(), name, None)
    elif before.rstrip(" \n\\\"'`").endswith((":", "=")) and compile_once(_NAMED).search(before):
        if value := compile_once(_VALUE_AFTER).match(text, end):
            if value["value"]:
                span = _find_value(text, value.end(), name, value.start("value"))
            else:
                span = value.end(), _search_end(r"\s{0,20}<|\n", text, value.end())
        elif earlier := compile_once(_VALUE_BEFORE).search(text, max(start - 300, 0), start):
            key = text[max(earlier.start() - 40, 0) : earlier.start()]
            span = earlier.span("secret") if compile_once(_ENDS_WITH_VALUE_NAME).search(key) else None
    return span if span and is_paired_value(name, text[slice(*span)]) else None


def is_paired_value(name: str, value: object) -> bool:
    """Whether the second member of a pair is a credential, given the first."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, bytes | int) else ""
    if not text or not is_secret_name(name) or _is_placeholder(name, text) or compile_once(_STATE).fullmatch(text):
        return False
    return is_unambiguous(name) or looks_generated(text)


def find_named_value(mapping: Mapping[Any, Any]) -> Any:
    """The key of a credential in a mapping such as `{"name": "password", "value": "x"}`; None if there is none."""
    keys = [key for key in mapping if isinstance(key, str)]
    names = [mapping[key] for key in keys if compile_once(_NAMING_KEY).fullmatch(key)]
    if not any(isinstance(name, str) and is_secret_name(name) for name in names):
        return None
    values = [key for key in keys if compile_once(f"(?i){_VALUE_NAME}").fullmatch(key)]
    pairs = ((name, key) for name in names if isinstance(name, str) for key in values)
    return next((key for name, key in pairs if is_paired_value(name, mapping[key])), None)


def _find_weak(text: str, start: int, end: int, name: str) -> Span | None:
    """Find a value after a prompt, in a sentence, on the next line, or behind blanks."""
    for pattern in (_PROMPT, _NEXT_LINE, _SENTENCE, _BLANK):
        if not (match := compile_once(pattern).match(text, end)):
            continue
        quote = compile_once(_OPENING_QUOTE).match(text, match.end())
        first, last = _find_value(text, match.end(), name, None) if quote else _weak_value(text, match.end())
        value = text[first:last]
        if not value or _is_placeholder(name, value):
            continue
        if looks_generated(value):
            is_secret = is_unambiguous(name) or len(value) >= MIN_TOKEN_CHARACTERS
        else:
            is_alone = bool(quote or compile_once(_ALONE).match(text, last))
            is_secret = is_alone and _is_word_secret(match, name, value, text[max(start - 80, 0) : start])
        if is_secret:
            return first, last
    return None


def _is_word_secret(match: re.Match[str], name: str, value: str, before: str) -> bool:
    """Whether an ordinary word is a credential, given what connects its name to it, and what is before the name."""
    if not compile_once(_PLAIN).fullmatch(value) or compile_once(_STATE).fullmatch(value) or not is_unambiguous(name):
        return False
    if match.re.pattern == _BLANK:
        return bool(compile_once(_SETTER_BEFORE).search(before))
    return match.re.pattern != _SENTENCE or (bool(match["is"]) and is_password_name(name))


def _weak_value(text: str, start: int) -> Span:
    match = compile_once(_WEAK_VALUE).match(text, start)
    return (start, start + len(match[0].rstrip(".,:!?"))) if match else (start, start)


def _is_placeholder(name: str, value: str) -> bool:
    """Whether a value stands for none, or is the name in capitals, as in the help of a program."""
    return is_harmless(name, value) or (value.isupper() and name.upper().replace("-", "_").endswith(value))


def _find_value(text: str, start: int, name: str, name_start: int | None) -> Span:
    """The span of a value that begins at `start`, without its quotes; `name_start` is None after an option."""
    quote = compile_once(_OPENING_QUOTE).match(text, start)
    if quote:
        return quote.end(), _closing_quote(text, quote.end(), quote[1])
    if text[start : start + 1] in _CLOSING:
        return start, _closing_bracket(text, start)
    if block := compile_once(_BLOCK).match(text, start):
        return start, block.end() - block[0].endswith("\n")
    if compile_once(_HEADER).search(name):
        quote_before = text[max((name_start or 0) - 1, 0) : name_start or 0].strip()
        end = text.find(quote_before, start) if quote_before in ("'", '"', "`") else -1
        return start, end if end >= 0 else _line_end(text, start)
    if name_start is not None and text[max(name_start - 1, 0) : name_start] in ("?", "&"):
        return start, _search_end(_QUERY_END, text, start)
    if name_start is not None and text[name_start - 1 : name_start] == "<":
        return start, _search_end(r"[<\n]", text, start)
    if name_start is not None and _is_rest_of_line(text, start, name_start):
        return start, _line_end(text, start)
    scheme = compile_once(_SCHEME).match(text, start)
    return start, _search_end(_BARE_END, text, scheme.end() if scheme else start)


def _is_rest_of_line(text: str, start: int, name_start: int) -> bool:
    """Whether a line consists of a name, a sign with a blank after it, and a value, as in YAML and INI files."""
    before = text[max(text.rfind("\n", max(name_start - 100, 0), name_start) + 1, name_start - 100, 0) : name_start]
    if text[start - 1] not in " \t" or not compile_once(_LINE_START).fullmatch(before):
        return False
    line = text[start : _line_end(text, start)]
    return not compile_once(_NEXT_ASSIGNMENT).search(line) and not line.startswith(tuple(",;)]}"))


def _search_end(pattern: str, text: str, start: int) -> int:
    match = compile_once(pattern).search(text, start)
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
    match = compile_once(pattern).match(text, start)
    return match.end() if match else _line_end(text, start)


def _closing_bracket(text: str, start: int) -> int:
    """The position after the bracket that closes a list or mapping; the end of the line if there is none."""
    expected: list[str] = []
    position = start
    while match := compile_once(_BRACKETS).search(text, position, start + _MAX_NESTED_CHARACTERS):
        position = match.end()
        if match[0] in "\"'":
            position = _closing_quote(text, position, match[0]) + 1
        elif match[0] in _CLOSING and len(expected) < _MAX_OPEN_BRACKETS:
            expected.append(_CLOSING[match[0]])
        elif not expected or match[0] != expected.pop():
            break
        if not expected:
            return position
    return _line_end(text, start)
