"""The only place that starts git.

A repository may come from anywhere, and its configuration, hooks and attributes can name programs that git starts:
core.fsmonitor, filters, diff drivers, ssh commands, credential helpers and many more. They are therefore never read.
Git runs in a git directory of our own that links to objects, references and index of the repository; its configuration
holds nothing but the object format, and its attributes, which have precedence over all others, turn conversions off.
Variables such as GIT_DIR, which hooks and `git rebase --exec` set, are dropped, so that no other repository is meant.
The user's own (global and system) configuration belongs to the user: its ignore rules apply, and its credential helpers
and ssh settings are used to fetch a commit from a remote over https or ssh. Commands that would run its filters, diff
drivers or hooks are not used, or get it switched off.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from rosenblatt.errors import RunError

TIMEOUT_S = 60.0  # of a command on a local repository
FETCH_TIMEOUT_S = 1800.0
MAX_POINTER_BYTES = 10_000  # of the text files in a git directory
OBJECTS_LINK = "shared"  # in a git directory of our own, to the objects of the repository
SUBMODULE_MODE, LINK_MODE = 0o160000, 0o120000
_USER_VARIABLES = re.compile("GIT_(SSH|SSH_COMMAND|ASKPASS|SSL_.*|HTTP_.*|PROXY_.*|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM))")
_OPTIONS = (
    "--no-pager", "--no-optional-locks", "--no-replace-objects", "--literal-pathspecs",
    "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.untrackedCache=false",
    "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "submodule.recurse=false", "-c", "core.quotePath=false",
)  # fmt: skip
_NO_CONVERSIONS = "* !text !eol !crlf !filter !ident !working-tree-encoding !diff !export-subst !export-ignore\n"
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_INDEX_ENTRY = re.compile(
    rb"(\d{6}) ([0-9a-f]+) \d\t([^\0]+)\0  ctime: (\d+):(\d+)\n  mtime: (\d+):(\d+)\n  dev: \d+\tino: (\d+)\n"
    rb"  uid: \d+\tgid: \d+\n  size: (\d+)\tflags: [0-9a-f]+\n"
)


class TreeEntry(NamedTuple):
    """A file of a commit; the size of a submodule is -1."""

    mode: int
    hash: str
    size: int


class IndexEntry(NamedTuple):
    """A file of the index: what git saw when it last compared the file with its hash."""

    mode: int
    hash: str
    changed: tuple[int, int]  # seconds and nanoseconds since 1970
    modified: tuple[int, int]
    inode: int
    size: int


class WorkingTree(NamedTuple):
    """The state of a working tree, by paths below its root."""

    tree: dict[str, TreeEntry]  # the files of the commit
    staged: dict[str, IndexEntry]  # the index
    untracked: list[str]  # neither in the index nor ignored; other repositories end in a slash
    index_time: int  # nanoseconds since 1970 at which the index was written


class Repository:
    """A repository, read through a git directory of our own; see `open_repository`."""

    def __init__(self, git_dir: Path, original: Path, settings: dict[str, str], root: Path | None) -> None:
        self._git_dir, self._root, self._settings = git_dir, root, settings
        self._objects = git_dir / ("objects" if git_dir == original else OBJECTS_LINK)
        self._index = original / "index"
        self.hash_name = settings.get("extensions.objectformat", "sha1")
        self.has_filters = any(key.startswith("filter.") for key in settings)
        self.records_modes = settings.get("core.filemode", "true").lower() not in ("false", "no", "off", "0")

    def head(self) -> tuple[str, str, str]:
        """The commit, its tree and the branch; empty without commits, and without a branch."""
        head = (self._git_dir / "HEAD").read_text(errors="replace").strip()
        branch = head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else ""
        try:
            commit, tree = self.run("rev-parse", "HEAD", "HEAD^{tree}").decode().split()
        except RunError:
            return "", "", branch
        return commit, tree, branch

    def remote(self) -> str:
        """The URL of `origin`, or else of the first remote; empty if there is none."""
        urls = {key: url for key, url in self._settings.items() if re.fullmatch(r"remote\..*\.url", key)}
        return urls.get("remote.origin.url") or next(iter(urls.values()), "")

    def working_tree(self, commit: str) -> WorkingTree:
        """Read the files of a commit (none if it is empty), the index, and the names of untracked files."""
        commands = [
            ["ls-files", "--others", "--exclude-standard", "-z"],
            ["ls-files", "--stage", "--debug", "-z"],
            *([["ls-tree", "-r", "-z", "-l", "--full-tree", commit]] if commit else []),
        ]
        with ThreadPoolExecutor(len(commands)) as executor:
            untracked, index, *trees = executor.map(lambda command: self.run(*command), commands)
        index_time = self._index.stat().st_mtime_ns if self._index.exists() else 0
        names = [os.fsdecode(name) for name in untracked.split(b"\0") if name]
        return WorkingTree(_parse_tree(b"".join(trees)), _parse_index(index), names, index_time)

    def files(self, commit: str, tree: str) -> dict[str, TreeEntry] | None:
        """The files of a commit; None if it is not in this repository. Raises RunError if its tree is another one."""
        if not _COMMIT.fullmatch(commit):
            raise RunError(f"The source names the commit {commit[:80]!r}, which is not the hash of a commit.")
        try:
            own_tree = self.run("rev-parse", "-q", "--verify", f"{commit}^{{tree}}").decode().strip()
            files = _parse_tree(self.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit))
        except RunError:
            return None
        if any(entry.size < 0 for entry in files.values() if entry.mode != SUBMODULE_MODE):
            return None  # a partial clone
        if tree and own_tree != tree:
            raise RunError(f"The source is damaged: its commit {commit[:12]} has other files than were recorded.")
        return files

    def read_blobs(self, hashes: Sequence[str], write: Callable[[int, int, IO[bytes]], None]) -> None:
        """Call `write` with the index, size and stream of each blob. Raises RunError if one is missing."""
        command = ["git", *_OPTIONS, "cat-file", "--batch"]
        with tempfile.TemporaryFile() as requests:
            requests.write("".join(f"{digest}\n" for digest in hashes).encode())
            requests.seek(0)
            process = subprocess.Popen(  # noqa: S603 - git with fixed arguments
                command, stdin=requests, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self._env()
            )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            for index, digest in enumerate(hashes):
                header = process.stdout.readline().split()
                if len(header) != 3 or header[1] != b"blob":
                    raise RunError(f"The file {digest[:12]} of the commit is missing in its repository.")
                write(index, int(header[2]), process.stdout)
                process.stdout.read(1)
        finally:
            process.stdout.close()
            process.kill()
            process.wait()

    def export(self, commit: str, folder: Path) -> None:
        """Make a repository in a folder that holds this commit, without its history, as its detached HEAD."""
        _run(["init", "-q", "--template=", f"--object-format={self.hash_name}", str(folder)], _environment())
        git_dir = folder / ".git"
        objects = self.run("rev-list", "--objects", "--no-walk", commit)
        names = b"".join(line.split(b" ")[0] + b"\n" for line in objects.splitlines())
        pack = git_dir / "objects" / "pack" / "pack"
        env = self._env() | {"GIT_OBJECT_DIRECTORY": str(git_dir / "objects")}
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(self._objects)
        _run(["pack-objects", "-q", str(pack)], env, names)
        (git_dir / "shallow").write_text(f"{commit}\n")
        (git_dir / "HEAD").write_text(f"{commit}\n")
        _run(["read-tree", commit], _environment(git_dir))

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run a command and return its output. Raises RunError if it fails."""
        return _run(arguments, self._env(), stdin, self._root)

    def _env(self) -> dict[str, str]:
        return _environment(self._git_dir, self._root)


def is_git_name(name: str) -> bool:
    """Whether a file system may take a name for `.git`: also in capitals, or with dots, blanks or a stream after it."""
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return visible.split(":")[0].rstrip(". ").casefold() in (".git", "git~1")


def find_root(folder: Path) -> Path | None:
    """Find the root of the working tree that a folder belongs to; None outside of repositories."""
    folder = folder.resolve()
    return next((path for path in (folder, *folder.parents) if is_root(path)), None)


def is_root(folder: Path) -> bool:
    """Whether a folder is the root of a working tree, also of one whose repository is missing or cannot be read."""
    try:
        return _find_git_dir(folder) is not None
    except RunError:
        return True


@contextmanager
def open_repository(folder: Path) -> Iterator[Repository]:
    """Open the repository of a working tree, or a bare one. Raises RunError if it cannot be read."""
    original = _find_git_dir(folder)
    root: Path | None = folder
    if original is None and (folder / "HEAD").is_file() and (folder / "objects").is_dir():
        original, root = folder, None
    if original is None:
        raise RunError(f"{str(folder)!r} is not a git repository.")
    common = _read_path(original / "commondir", original) if (original / "commondir").is_file() else original
    settings = _read_settings(common / "config")
    with tempfile.TemporaryDirectory(prefix="rosenblatt-git-") as temporary_folder:
        git_dir = Path(temporary_folder)
        try:
            _link_repository(git_dir, original, common)
            _write_configuration(git_dir, settings)
        except OSError as error:
            raise RunError(f"The git repository {str(original)!r} cannot be read: {error.strerror}.") from error
        yield Repository(git_dir, original, settings, root)


@contextmanager
def fetch_repository(remote: str, commit: str) -> Iterator[Repository]:
    """Fetch a commit from a remote, with the user's credentials. Raises RunError if it cannot be fetched."""
    local_path = Path(remote.removeprefix("file://"))
    if local_path.is_absolute():  # read as it is, so that none of its programs run
        with open_repository(local_path) as repository:
            yield repository
        return
    if not re.match(r"(https?|ssh|git)://[^-]|[\w.-]+@[^-:][^:]*:", remote):
        raise RunError(f"The source names the remote {remote!r}. Only addresses of https, ssh and git are fetched.")
    with tempfile.TemporaryDirectory(prefix="rosenblatt-git-") as temporary_folder:
        folder = Path(temporary_folder)
        object_format = "sha256" if len(commit) == 64 else "sha1"
        _run(["init", "-q", "--bare", "--template=", f"--object-format={object_format}", str(folder)], _environment())
        env = _environment(folder) | {"GIT_ALLOW_PROTOCOL": "https:http:ssh:git"}
        fetch = ["fetch", "-q", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]
        try:
            _run([*fetch, "--depth=1", "--", remote, commit], env, timeout_s=FETCH_TIMEOUT_S)
        except RunError:  # some servers send branches and tags only
            _run([*fetch, "--", remote, "+refs/*:refs/fetched/*"], env, timeout_s=FETCH_TIMEOUT_S)
        _write_attributes(folder)
        yield Repository(folder, folder, {}, None)


def diff_folders(folders: tuple[Path, Path]) -> str:
    """Compare two folders, in the format of `diff -u`."""
    with tempfile.TemporaryDirectory(prefix="rosenblatt-git-") as temporary_folder:
        git_dir = Path(temporary_folder) / "git"
        _run(["init", "-q", "--bare", "--template=", str(git_dir)], _environment())
        _write_attributes(git_dir)
        env = _environment(git_dir) | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        flags = ("--no-index", "--no-color", "--no-prefix", "--no-ext-diff", "--no-textconv")
        output = _run(["diff", *flags, "--", *map(str, folders)], env, success=(0, 1))
    text = output.decode(errors="replace")
    for folder in folders:
        text = text.replace(f"{folder}/".lstrip("/"), "").replace(f"{folder}/", "")
    return text


def _find_git_dir(folder: Path) -> Path | None:
    """The git directory of a working tree; None if there is none. Raises RunError if it is missing or unreadable."""
    path = folder / ".git"
    try:
        if path.is_file():  # a linked working tree or a submodule
            path = _read_path(path, folder, prefix="gitdir:")
            if not (path / "HEAD").is_file():
                raise RunError(f"Its git repository {str(path)!r} is missing.")
        return path if (path / "HEAD").is_file() else None
    except OSError as error:
        raise RunError(f"The git repository {str(path)!r} cannot be read: {error.strerror}.") from error


def _read_path(file: Path, base: Path, prefix: str = "") -> Path:
    """Read a path from a text file of a git directory, relative to a folder. Raises RunError."""
    try:
        with file.open("rb") as stream:
            text = os.fsdecode(stream.read(MAX_POINTER_BYTES)).strip()
    except OSError as error:
        raise RunError(f"{str(file)!r} cannot be read: {error.strerror}.") from error
    if not text.startswith(prefix) or "\0" in text:
        raise RunError(f"{str(file)!r} does not name a git repository.")
    return base / text.removeprefix(prefix).strip()


def _read_settings(path: Path) -> dict[str, str]:
    """Read a configuration file as plain text, without the files that it includes."""
    if not path.is_file():
        return {}
    output = _run(["config", "--file", str(path), "--no-includes", "--list", "-z"], _environment())
    entries = (entry.partition("\n") for entry in output.decode(errors="replace").split("\0"))
    return {key: value for key, _, value in entries}


def _link_repository(git_dir: Path, original: Path, common: Path) -> None:
    """Link what git needs to read a repository: objects, references, index, ignore rules. Raises OSError, RunError."""
    shutil.copyfile(original / "HEAD", git_dir / "HEAD")
    branch = (git_dir / "HEAD").read_text(errors="replace").strip().removeprefix("ref: ")
    shared = [common / name for name in ("refs", "packed-refs", "reftable", "shallow")]
    linked = [path for path in (*shared, original / "index", *original.glob("sharedindex.*")) if path.exists()]
    for path in (*linked, common / branch):
        if path.exists() and not path.is_file() and not path.is_dir():  # git would wait for a pipe
            raise RunError(f"The git repository {str(original)!r} cannot be read: {path.name!r} is not a file.")
    for path in linked:
        (git_dir / path.name).symlink_to(path.absolute())
    (git_dir / "refs").mkdir(exist_ok=True)
    (git_dir / OBJECTS_LINK).symlink_to((common / "objects").absolute())
    (git_dir / "objects" / "info").mkdir(parents=True)  # git may write to this folder, but not to the repository
    (git_dir / "objects" / "info" / "alternates").write_text(f"{git_dir / OBJECTS_LINK}\n")
    (git_dir / "info").mkdir()
    if (common / "info" / "exclude").is_file():
        (git_dir / "info" / "exclude").symlink_to((common / "info" / "exclude").absolute())


def _write_configuration(git_dir: Path, settings: dict[str, str]) -> None:
    extensions = {name: settings.get(f"extensions.{name.lower()}", "") for name in ("objectFormat", "refStorage")}
    lines = [f"\t{name} = {value}\n" for name, value in extensions.items() if re.fullmatch(r"[a-z0-9]+", value)]
    version = 1 if lines else 0
    text = f"[core]\n\trepositoryformatversion = {version}\n[extensions]\n{''.join(lines)}"
    (git_dir / "config").write_text(text)
    _write_attributes(git_dir)


def _write_attributes(git_dir: Path) -> None:
    (git_dir / "info").mkdir(exist_ok=True)
    (git_dir / "info" / "attributes").write_text(_NO_CONVERSIONS)


def _parse_tree(output: bytes) -> dict[str, TreeEntry]:
    entries = {}
    for line in filter(None, output.split(b"\0")):
        details, _, name = line.partition(b"\t")
        mode, _, digest, size = details.split()
        n_bytes = int(size) if size.isdigit() else -1
        entries[os.fsdecode(name)] = TreeEntry(int(mode, 8), digest.decode(), n_bytes)
    return entries


def _parse_index(output: bytes) -> dict[str, IndexEntry]:
    """Parse `ls-files --stage --debug`; entries in a format of another version of git are left out."""
    entries = {}
    for match in _INDEX_ENTRY.finditer(output):
        mode, digest, name, *numbers = match.groups()
        changed, changed_ns, modified, modified_ns, inode, size = map(int, numbers)
        entries[os.fsdecode(name)] = IndexEntry(
            int(mode, 8), digest.decode(), (changed, changed_ns), (modified, modified_ns), inode, size
        )
    return entries


def _environment(git_dir: Path | None = None, root: Path | None = None) -> dict[str, str]:
    """The environment of git: that of the user without GIT_DIR and the like."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or _USER_VARIABLES.fullmatch(k)}
    env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    if git_dir:
        env["GIT_DIR"] = str(git_dir)
    if root:
        env["GIT_WORK_TREE"] = str(root)
    return env


def _run(
    arguments: Sequence[str],
    env: dict[str, str],
    stdin: bytes = b"",
    folder: Path | None = None,
    *,
    timeout_s: float = 0.0,  # by default TIMEOUT_S
    success: tuple[int, ...] = (0,),
) -> bytes:
    """Run git without a terminal and return its output. Raises RunError if it fails, hangs or is not installed."""
    timeout_s = timeout_s or TIMEOUT_S
    try:
        process = subprocess.run(  # noqa: S603 - git with fixed options
            ["git", *_OPTIONS, *arguments],  # noqa: S607
            input=stdin, capture_output=True, check=False, env=env, cwd=folder, timeout=timeout_s,
            start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RunError(f"git {arguments[0]} did not end within {timeout_s:.0f} s.") from error
    except OSError as error:
        raise RunError(f"git cannot be started: {error.strerror}.") from error
    if process.returncode not in success:
        reason = process.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise RunError(f"git {arguments[0]} failed: {reason[0]}")
    return process.stdout
