"""Public objects have numpydoc docstrings, which name every parameter and what comes back."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
from numpydoc.validate import validate

import ceers_steps

PACKAGE = Path(ceers_steps.__file__).parent
CHECKS = {"GL08", "PR01", "PR02", "PR03", "RT01"}
"""No docstring; parameters missing, unknown, in another order; no section on what is returned."""
WHOLE = ("astrometry", "drizzling", "figures", "files", "kernels", "mosaics", "steps", "validate")
"""Rooms whose functions others call: parameters and results are described there in full."""

MODULES = [
    ".".join(("ceers_steps", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py" and "workflow" not in path.parts
]


def problems(name, obj, whole):
    """Return what numpydoc finds in the docstring of an object that a module makes public."""
    codes = CHECKS if whole else {"GL08", "PR02", "PR03"}
    if inspect.isclass(obj) or (doc := inspect.getdoc(obj) or "").startswith("Run ``"):
        codes = codes & {"GL08"}  # attributes of records; steps
    elif not inspect.signature(obj).parameters and len(doc.splitlines()) == 1:
        codes = codes - {"RT01"}  # its one line says what comes back
    return [f"{name}: {text}" for code, text in validate(name)["errors"] if code in codes]


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name.removeprefix("ceers_steps."))
def test_public_objects_are_described(module):
    room = module.split(".")[1]
    found = []
    for name in getattr(import_module(module), "__all__", ()):
        obj = getattr(import_module(module), name)
        if getattr(obj, "__module__", None) != module or not callable(obj):
            continue
        found += problems(f"{module}.{name}", obj, room in WHOLE)
    assert not found, "\n".join(found)
