"""The page about messages quotes what the code says."""

import re
from pathlib import Path

import pytest

import ceers_steps

PACKAGE = Path(ceers_steps.__file__).parent
PAGE = PACKAGE.parent / "docs" / "faq.md"


def quoted():
    """Return the messages at the heads of the answers."""
    heads = re.findall(r"^(`.*`)\n: ", PAGE.read_text(encoding="utf-8"), re.M)
    return [message for head in heads for message in re.findall(r"`([^`]+)`", head)]


@pytest.fixture(scope="module")
def code():
    """All that is said in the package, pieces of a text over several lines joined."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    text = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"\{[^{}]*\}", "…", re.sub(r"\{[^{}]*\}", "…", text))


def test_there_are_messages():
    assert not PAGE.is_file() or len(quoted()) > 15


@pytest.mark.parametrize("message", quoted())
def test_a_message_is_one_of_the_code(message, code):
    pieces = [piece.strip() for piece in re.split("…", message) if len(piece.strip()) > 3]
    assert pieces
    missing = [piece for piece in pieces if piece not in code]
    assert not missing
