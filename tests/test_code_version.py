"""A changed code is another version, whatever its release number."""

import pytest

from ceers_steps import __version__
from ceers_steps.code_version import code_digest, code_version, release_number


@pytest.fixture
def package(tmp_path):
    for name in ("kernels/sky/level.py", "steps/skyvar.py", "report/page.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("VALUE = 1\n")
    return tmp_path


def test_contents_and_names_count(package):
    before = code_digest(package)
    assert code_digest(package) == before
    (package / "kernels" / "sky" / "level.py").write_text("VALUE = 2\n")
    changed = code_digest(package)
    assert changed != before
    (package / "kernels" / "sky" / "level.py").rename(package / "kernels" / "sky" / "mode.py")
    assert code_digest(package) not in (before, changed)


def test_pages_do_not_make_products(package):
    before = code_digest(package)
    (package / "report" / "page.py").write_text("VALUE = 2\n")
    assert code_digest(package) == before


def test_version_of_this_installation():
    release, _, digest = code_version().rpartition("+")
    assert release == release_number(__version__)
    assert len(digest) == 10
    assert code_version() is code_version()


@pytest.mark.parametrize(
    "version", ["0.1.0", "0.1.0.post1.dev311+g66c247cca", "0.1.0.post1.dev0+d20261128"]
)
def test_commits_since_the_release_do_not_count(version):
    """Only the digest tells one state of the code from another: docs make no products."""
    assert release_number(version) == "0.1.0"


def test_version_of_a_tree_that_was_never_installed():
    assert release_number("0+unknown") == "0"
