from __future__ import annotations

import os

import pytest

from rosenblatt.errors import RunError
from rosenblatt.runs.capture.git import diff_folders, find_root, is_git_name, open_repository
from rosenblatt.runs.capture.restore import restore
from rosenblatt.runs.capture.source import capture_source
from tests.runs.capture.conftest import git

SETTINGS = (
    "core.fsmonitor", "filter.x.clean", "filter.x.smudge", "filter.x.process", "diff.external", "diff.x.textconv",
    "diff.x.command", "merge.x.driver", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "gpg.program",
    "credential.helper", "core.alternateRefsCommand", "uploadpack.packObjectsHook", "alias.ls-files", "pager.diff",
)  # fmt: skip


@pytest.mark.parametrize("is_submodule", [False, True])
def test_no_program_of_a_repository_is_started(repository, store_source, artifacts, tmp_path, is_submodule):
    (repository / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "attributes")
    if is_submodule:
        git(tmp_path, "init", "-q", "outer")
        repository = repository.rename(tmp_path / "outer" / "lib")
    mark = tmp_path / "started"
    for setting in SETTINGS:
        git(repository, "config", setting, f"touch {mark}; cat")
    for hook in ("post-index-change", "reference-transaction", "post-checkout", "fsmonitor-watchman", "pre-auto-gc"):
        path = repository / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {mark}\n")
        path.chmod(0o755)
    (repository / "train.py").write_text("lr = 2\n")
    os.utime(repository / "deep" / "net.py")
    source = capture_source(tmp_path / "outer" if is_submodule else repository, store_source)
    assert set((source.nested["lib"] if is_submodule else source).files) == {"train.py"}
    folder = tmp_path / "fresh"
    restore(source, folder, artifacts.fetch)
    diff_folders((repository, folder))
    assert not mark.exists()


def test_a_missing_object_of_a_partial_clone_is_not_fetched(repository, store_source, tmp_path):
    mark = tmp_path / "started"
    git(repository, "config", "extensions.partialClone", "evil")
    git(repository, "config", "core.repositoryFormatVersion", "1")
    git(repository, "config", "remote.evil.url", f"ext::sh -c touch% {mark}")
    git(repository, "config", "remote.evil.promisor", "true")
    git(repository, "config", "protocol.ext.allow", "always")
    (repository / ".git" / "refs" / "heads" / "main").write_text("a" * 40 + "\n")
    source = capture_source(repository, store_source)
    assert source.commit == ""
    assert "train.py" in source.files
    assert not mark.exists()


def test_variables_of_git_do_not_select_another_repository(repository, store_source, artifacts, tmp_path, monkeypatch):
    git(tmp_path, "clone", "-q", str(repository), str(tmp_path / "other"))
    git(tmp_path / "other", "checkout", "-q", "-b", "feature")
    other = tmp_path / "other" / ".git"
    variables = {
        "GIT_DIR": other, "GIT_WORK_TREE": tmp_path / "other", "GIT_INDEX_FILE": other / "index",
        "GIT_OBJECT_DIRECTORY": tmp_path / "x", "GIT_NAMESPACE": "x", "GIT_CEILING_DIRECTORIES": tmp_path,
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": "false",
        "GIT_COMMON_DIR": other, "GIT_ALTERNATE_OBJECT_DIRECTORIES": tmp_path / "x", "GIT_PREFIX": "x/",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    source = capture_source(repository, store_source)
    assert (source.root, source.branch, source.files) == (str(repository), "main", {})
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert (other / "HEAD").read_text() == "ref: refs/heads/feature\n"
    assert (tmp_path / "fresh" / "train.py").exists()


def test_a_linked_working_tree_is_captured_with_its_own_index(repository, store_source, tmp_path):
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side" / "train.py").write_text("lr = 3\n")
    source = capture_source(tmp_path / "side" / "deep", store_source)
    assert (source.root, source.branch, set(source.files)) == (str(tmp_path / "side"), "side", {"train.py"})


@pytest.mark.parametrize("layout", ["shallow", "sha256", "split-index", "sparse", "packed"])
def test_repositories_of_other_layouts_are_read(repository, store_source, artifacts, tmp_path, layout):
    folder = tmp_path / layout
    if layout == "sha256":
        git(tmp_path, "init", "-q", "--object-format=sha256", str(folder))
        for name in ("train.py", "gone.py"):
            (folder / name).write_text("x\n")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "first")
    else:
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", str(folder))
    if layout == "split-index":
        git(folder, "update-index", "--split-index")
    if layout == "sparse":
        git(folder, "sparse-checkout", "set", "--no-cone", "/train.py")
    if layout == "packed":
        git(folder, "gc", "-q")
    (folder / "train.py").write_text("lr = 9\n")
    source = capture_source(folder, store_source)
    changed = {name for name, file in source.files.items() if file}
    assert changed == {"train.py"}
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert (tmp_path / "fresh" / "train.py").read_text() == "lr = 9\n"
    assert (tmp_path / "fresh" / "gone.py").exists() == (layout != "sparse")


@pytest.mark.parametrize("name", [".git", ".GIT", ".Git ", ".git...", ".git::$INDEX_ALLOCATION", "git~1", ".g\u200cit"])
def test_names_that_a_file_system_may_take_for_the_folder_of_git(name):
    assert is_git_name(name)


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes", ".gitmodules", "git", "x.git", ".github"])
def test_other_names_are_not_taken_for_the_folder_of_git(name):
    assert not is_git_name(name)


def test_a_folder_inside_a_repository_belongs_to_it(repository, tmp_path):
    assert find_root(repository / "deep") == repository
    assert find_root(tmp_path) != repository


@pytest.mark.parametrize("text", ["gitdir: ../gone", "nonsense", "gitdir: \0", ""])
def test_a_repository_that_is_missing_is_named(tmp_path, text):
    (tmp_path / ".git").write_text(text)
    with pytest.raises(RunError, match=r"missing|does not name"), open_repository(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("name", ["index", "packed-refs", "shallow", "refs/heads/main"])
def test_a_pipe_in_place_of_a_file_of_git_is_not_opened(repository, name):
    path = repository / ".git" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(RunError, match=f"cannot be read: '{path.name}' is not a file"), open_repository(repository):
        pass


def test_git_that_hangs_is_ended(repository, store_source, monkeypatch, tmp_path):
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("rosenblatt.runs.capture.git.TIMEOUT_S", 0.2)
    source = capture_source(repository / "train.py", store_source)
    assert "did not end within" in source.skipped[".git"]
    assert set(source.files) == {"train.py"}


def test_attributes_do_not_hide_differences(tmp_path):
    for name, text in (("a", "1\n"), ("b", "2\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".gitattributes").write_text("*.py -diff\n")
        (tmp_path / name / "x.py").write_text(text)
    assert "-1\n+2\n" in diff_folders((tmp_path / "a", tmp_path / "b"))
