"""Notes of changes: every one has a kind, and they become the section of a release."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "changes" / "gather.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gather", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_note_has_a_kind(script):
    assert script.gather(ROOT / "changes").startswith("### New\n\n- ")


def test_a_section_takes_the_place_of_one_of_its_number(script, tmp_path):
    (tmp_path / "b.feature.md").write_text("Second\nnote.\n")
    (tmp_path / "a.feature.md").write_text("First.\n\nOf two.\n")
    (tmp_path / "c.bugfix.md").write_text("A fault.\n")
    text = script.gather(tmp_path)
    assert text == "### New\n\n- First.\n- Of two.\n- Second note.\n\n### Fixed\n\n- A fault."
    changes = tmp_path / "CHANGES"
    changes.write_text("# Changes\n\nHow.\n\n## 0.1.0\n\nOld.\n")
    for _ in range(2):
        script.write_section(changes, "0.2.0", text)
    assert changes.read_text() == f"# Changes\n\nHow.\n\n## 0.2.0\n\n{text}\n\n## 0.1.0\n\nOld.\n"


def test_a_note_of_another_kind(script, tmp_path):
    (tmp_path / "b.news.md").write_text("x")
    with pytest.raises(ValueError, match=r"b\.news\.md"):
        script.gather(tmp_path)


def test_what_is_no_number_of_a_release(script, tmp_path):
    changes = tmp_path / "CHANGES"
    changes.write_text("# Changes\n")
    with pytest.raises(ValueError, match="'--help' is no number of a release"):
        script.write_section(changes, "--help", "- x")
    assert changes.read_text() == "# Changes\n"
