"""The house: sizes of rooms and files, and that docs/architecture.md names every room."""

import ast
from pathlib import Path

import pytest

import ceers_steps

PACKAGE = Path(ceers_steps.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"

ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_has_few_modules(room):
    modules = list(room.glob("*.py"))
    assert len(modules) <= 14, f"{room} holds {len(modules)} modules: which subjects are in it?"


def test_modules_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    long = {str(path): lines for path, lines in lengths.items() if lines > 400}
    assert not long, "more than 400 lines: is there a second idea in it?"


@pytest.mark.parametrize("room", ROOMS[1:], ids=lambda room: room.name)
def test_a_room_says_what_belongs_there(room):
    text = (room / "__init__.py").read_text()
    assert text.startswith('"""'), f"{room}: a sentence on what belongs there, and what does not"


@pytest.mark.parametrize("room", ROOMS[1:], ids=lambda room: room.name)
def test_the_drawing_names_every_room(room):
    if room.parent.name == "simulate":
        return  # drawn as one
    assert f"{room.name}/" in ARCHITECTURE.read_text(encoding="utf-8")


def test_steps_only_forward():
    # with the specification and the docstring; numerics belong into kernels
    sizes = {}
    for path in (PACKAGE / "steps").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Step"):
                sizes[node.name] = node.end_lineno - node.lineno + 1
    assert {"SnowballStep", "WispSubStep", "RemStripingStep", "SkyVarStep"} <= set(sizes)
    long = {name: lines for name, lines in sizes.items() if lines > 120}
    assert not long, f"steps of more than 120 lines: {long}"
