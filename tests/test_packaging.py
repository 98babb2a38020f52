"""The package has a version wherever it is built: git, its folder or its tags may be missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FALLBACK = "0.1.0"


def git(folder, *arguments):
    names = ("-c", "user.name=name", "-c", "user.email=name@example.org")
    subprocess.run(["git", "-C", folder, *names, *arguments], check=True, capture_output=True)


def version_of(folder, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **environment},  # with what is hidden from other tests
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[-1]


@pytest.fixture
def tree(tmp_path):
    """A source tree as a tarball has it."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / "ceers_steps").mkdir()
    (folder / "ceers_steps" / "__init__.py").write_text("")
    return folder


@pytest.fixture
def clone(tree):
    """A repository without a tag."""
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "first")
    return tree


def test_tarball(tree):
    assert version_of(tree) == FALLBACK


def test_tarball_in_the_repository_of_something_else(tree):
    git(tree.parent, "init", "-q")
    git(tree.parent, "commit", "-q", "--allow-empty", "-m", "first")
    git(tree.parent, "tag", "v9.9.9")
    assert version_of(tree) == FALLBACK


def test_clone_without_tags(clone):
    assert version_of(clone).startswith(f"{FALLBACK}.post1.dev")


def test_tags(clone):
    git(clone, "tag", "v0.2.0")
    git(clone, "tag", "no-version")
    assert version_of(clone) == "0.2.0"
    git(clone, "commit", "-q", "--allow-empty", "-m", "second")
    assert version_of(clone).startswith("0.2.0.post1.dev1+g")


def test_shallow_clone(clone):
    git(clone, "tag", "v0.2.0")
    for text in ("second", "third"):
        git(clone, "commit", "-q", "--allow-empty", "-m", text)
    shallow = clone.parent / "shallow"
    git(clone, "clone", "-q", "--depth=1", f"file://{clone}", str(shallow))
    assert version_of(shallow).startswith(f"{FALLBACK}.post1.dev")


def test_git_folder_that_cannot_be_used(clone):
    """A worktree that was copied alone, or a clone that git refuses to read."""
    shutil.rmtree(clone / ".git")
    (clone / ".git").write_text("gitdir: /nonexistent/worktrees/tree\n")
    assert version_of(clone) == FALLBACK


def test_clone_of_another_user(clone):
    """Git then refuses to read the folder; this variable makes it take any owner for another."""
    git(clone, "tag", "v0.2.0")
    other = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    without = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    refused = subprocess.run(
        ["git", "-C", clone, "status"], env={**os.environ, **other, **without}, capture_output=True
    )
    assert b"dubious ownership" in refused.stderr
    assert version_of(clone, **other, **without) in {"0.2.0", FALLBACK}


def test_without_git(clone):
    assert version_of(clone, PATH="") == FALLBACK
