"""Conventions of programs that take a password in an option of one letter, or as a word: `mysql -pX`, `sshpass -p X`.

The same letters mean other things elsewhere (`mkdir -p`, `docker run -p 80:80`), so a value is a credential only after
the name of its program, and after the subcommand if the program has several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from rosenblatt.runs.secret_formats import Span, compile_once
from rosenblatt.runs.secret_names import looks_generated

MAX_PROGRAMS = 4  # to which a word may belong, the last ones before it: `sudo sshpass -p X ssh h mysql -pX`

# Programs with their subcommand in brackets, and where the credential X stands: `-pX` only attached, `-p X` attached or
# as the next word, `-u U:X` behind a separator, `U/X@` in a word, and `*` as the last word, if it looks like a token.
_CONVENTIONS = (
    ("mysql mysqldump mysqladmin mysqlimport mysqlshow mysqlcheck mysqlpump mysqlsh mysqlslap mycli", "-pX"),
    ("mariadb mariadb-dump mariadb-admin mariadb-import mariadb-check mariadb-show", "-pX"),
    ("sshpass mongo mongosh mongodump mongorestore mongoexport mongoimport mongostat cqlsh dsbulk beeline", "-p X"),
    ("ncftp ncftpput ncftpget rdesktop plink pscp psftp putty", "-p X -pw X"),
    ("docker[login] podman[login] nerdctl[login] buildah[login] skopeo[login] crane[login] oras[login]", "-p X"),
    ("helm[login] az[login] oc[login] cf[login] argocd[login] flyctl[login] bw[login]", "-p X"),
    ("redis-cli valkey-cli keydb-cli", "-a X"),
    ("sqlcmd bcp osql isql tsql mosquitto_pub mosquitto_sub zip unzip zipcloak ipmitool", "-P X"),
    ("7z 7za 7zr 7zz rar unrar", "-pX -hpX"),
    ("ldapsearch ldapadd ldapmodify ldapdelete ldapwhoami ldappasswd ldapcompare kinit", "-w X"),
    ("curl", "-u U:X -U U:X"),
    ("http https xh ab", "-a U:X -A U:X"),
    ("lftp", "-u U,X"),
    ("smbclient rpcclient smbmap smbget net", "-U U%X"),
    ("snmpwalk snmpget snmpset snmpbulkwalk", "-c X -A X -X X"),
    ("openssl", "-pass pass:X -passin pass:X -passout pass:X -k X"),
    ("gpg gpg2 keytool jarsigner", "--passphrase X -storepass X -keypass X -srcstorepass X -deststorepass X"),
    ("sqlplus", "U/X@"),
    ("xfreerdp wfreerdp", "/p:X"),
    ("security", "-w X"),
    ("ssh-keygen", "-N X -P X"),
    ("wandb[login] vault[login] comet[login] neptune[login] netlify[login] railway[login]", "*"),
)  # fmt: skip
_WRAPPERS = ("sshpass",)  # which start another program
_SHELL_OPERATORS = ("&&", "||", "|", ";", "&")


class _Convention(NamedTuple):
    subcommand: str
    options: dict[str, re.Pattern[str]]  # how the value of an option is written, with the group `secret`
    attached: frozenset[str]  # options whose value is always attached
    word: re.Pattern[str] | None  # a word that is no option
    wraps: bool  # whether the first word is another program, with options of its own
    has_last_word: bool  # whether the last word that is no option is a credential


def _value_pattern(form: str) -> re.Pattern[str]:
    """The pattern of a value such as `X`, `U:X` or `pass:X`."""
    before = form.partition("X")[0]
    if before.startswith("U"):
        before = rf"[^{re.escape(before[1:])}]{{1,200}}{re.escape(before[1:])}"
    return re.compile(rf"{before}(?P<secret>[\s\S]+)" + ("@" if form.endswith("@") else ""))


def _parse(subcommand: str, forms: Sequence[str], wraps: bool) -> _Convention:
    options: dict[str, re.Pattern[str]] = {}
    attached, word = set(), None
    for i, form in enumerate(forms):
        if form.startswith(("-", "/")) and i + 1 < len(forms) and not forms[i + 1].startswith(("-", "/")):
            options[form] = _value_pattern(forms[i + 1])
        elif form.startswith(("-", "/")):
            options[form[:-1]] = _value_pattern("X")
            attached.add(form[:-1])
        elif i == 0 and form != "*":
            word = _value_pattern(form)
    return _Convention(subcommand, options, frozenset(attached), word, wraps, "*" in forms)


@cache
def _conventions() -> dict[str, tuple[_Convention, ...]]:
    by_program: dict[str, tuple[_Convention, ...]] = {}
    for programs, forms in _CONVENTIONS:
        for program, _, subcommand in (name.rstrip("]").partition("[") for name in programs.split()):
            by_program[program] = (
                *by_program.get(program, ()),
                _parse(subcommand, forms.split(), program in _WRAPPERS),
            )
    return by_program


@cache
def _command_pattern() -> re.Pattern[str]:
    names = "|".join(map(re.escape, sorted(_conventions(), key=len, reverse=True)))
    return re.compile(rf"(?<![\w.@-])(?P<program>{names})(?:\.exe)?(?P<quote>[\"']?)(?=,?[^\S\n])")


# what a command line with a credential contains: an option of one dash, or one of the words that need none
_OPTION_HINT = r"-(?<=[\s\"']-)[a-z]"
_WORD_HINTS = (" login ", "sqlplus", "/p:")
_WORD = r"(?:[^\s\"'`|;&<>()\[\],\\]|,(?=\S)|\\[^\n]|\"(?:[^\"\\\n]|\\.){0,500}\"|'[^'\n]{0,500}')"
_WORDS = re.compile(rf"(?:[^\S\n]|\\\n){{1,40}}({_WORD}{{1,500}})")
_LISTED = re.compile(r",[^\S\n]{0,5}(?:\"((?:[^\"\\\n]|\\.){0,500})\"|'((?:[^'\\\n]|\\.){0,500})')")


def find_in_arguments(arguments: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Find credentials in a command line that is a list: the index of the argument, and the start and end in it."""
    names = [argument.rpartition("/")[2].removesuffix(".exe") for argument in arguments]
    programs = [i for i, name in enumerate(names) if name in _conventions()]
    for i, end in zip(programs, _command_ends(programs, len(names)), strict=False):
        for j, first, last in _find_in_command(names[i], arguments[i + 1 : end]):
            yield i + 1 + j, first, last


def _command_ends(starts: Sequence[int], end: int) -> list[int]:
    """Where the words end that may belong to the programs at `starts`."""
    return [*starts[MAX_PROGRAMS:], *[end] * MAX_PROGRAMS]


def _find_in_command(program: str, words: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    for convention in _conventions()[program]:
        if not convention.subcommand or convention.subcommand in words:
            yield from _find_by_convention(convention, words)


def _find_by_convention(convention: _Convention, words: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    free: list[int] = []  # words that are no options
    awaited: re.Pattern[str] | None = None  # how the value in the next word is written
    for i, word in enumerate(words):
        match = awaited.fullmatch(word) if awaited else convention.word.match(word) if convention.word else None
        match = match or _match_attached(convention, word)
        if match:
            yield i, *match.span("secret")
        elif word in _SHELL_OPERATORS:
            break
        elif not word.startswith("-") and word != convention.subcommand:
            free.append(i)
            if convention.wraps:
                break
        awaited = None if word in convention.attached else convention.options.get(word)
    if convention.has_last_word and free and looks_generated(words[free[-1]]):
        yield free[-1], 0, len(words[free[-1]])


def _match_attached(convention: _Convention, word: str) -> re.Match[str] | None:
    """The value that is attached to an option in the same word."""
    for option, pattern in convention.options.items():
        if word.startswith(option) and (len(option) == 2 or option in convention.attached):
            return pattern.fullmatch(word, len(option))
    return None


def find_command_credentials(text: str, lowered: str) -> Iterator[Span]:
    """Find credentials in the command lines of a text, also in a list of arguments as Python prints it."""
    hint = "|".join([_OPTION_HINT, *[re.escape(word) for word in _WORD_HINTS if word in lowered]])
    end = 0
    while near := compile_once(hint).search(lowered, end):
        start, end = _continued_line(text, near.start(), end)
        programs = list(_command_pattern().finditer(text, start, end))
        starts = [program.start() for program in programs]
        for program, command_end in zip(programs, _command_ends(starts, end), strict=False):
            yield from _find_behind(text, program, command_end)


def _continued_line(text: str, position: int, begin: int) -> Span:
    """The line around a position, from `begin` on, with the lines that a backslash connects to it."""
    start = max(text.rfind("\n", begin, position) + 1, begin)
    while start > begin and text.startswith("\\\n", start - 2):
        start = max(text.rfind("\n", begin, start - 2) + 1, begin)
    end = text.find("\n", position)
    while end > 0 and text[end - 1] == "\\":
        end = text.find("\n", end + 1)
    return start, end if end >= 0 else len(text)


def _find_behind(text: str, program: re.Match[str], end: int) -> Iterator[Span]:
    """Find the credentials behind the name of a program, up to `end`."""
    start, quote = program.end(), program["quote"]
    is_listed = bool(quote) and text.startswith(",", start)
    if quote and not is_listed:
        return
    before = text[max(program.start() - 1, 0) : program.start()]
    closing = text.find(before, start, end) if before in ("'", '"', "`") and not is_listed else -1
    spans = _split(text, start, end if closing < 0 else closing, is_listed)
    words = [text[first:last] for first, last in spans]
    for i, first, last in _find_in_command(program["program"], words):
        yield _unquoted(text, spans[i][0] + first, spans[i][0] + last)


def _split(text: str, start: int, end: int, is_listed: bool) -> list[Span]:
    """The words of a command line that begin at `start`, up to the end of the command."""
    spans: list[Span] = []
    pattern = _LISTED if is_listed else _WORDS
    while match := pattern.match(text, start, end):
        spans.append(match.span(match.lastindex or 0))
        start = match.end()
    return spans


def _unquoted(text: str, start: int, end: int) -> Span:
    is_quoted = end - start > 1 and text[start] == text[end - 1] and text[start] in "\"'"
    return (start + 1, end - 1) if is_quoted else (start, end)
