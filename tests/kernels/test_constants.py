"""Constants of the kernels stand in frozen records, not loose in modules."""

import ast
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from ceers_steps import kernels

ROOT = Path(kernels.__file__).parent

# what nobody has chosen: mathematics, facts, and bits, which are names
FACTS = {
    "MAD_TO_SIGMA": "of the normal distribution",
    "EIGHT_NEIGHBOURS": "a pixel and its neighbours",
    "_DEGREE": "cubic splines",
    "_PRIOR_REACH": "nodes that the square of a Laplacian couples, and as many again",
    "_SPLINE_REACH": "boxes beyond the edge whose cubic splines reach into the image",
    "GEOMETRIES": "number of parameters of a linear map",
    "_BITS_PER_PLANE": "of the context image of jwst",
    "NIRCAM_ROW_OVERHEAD": "clock ticks of the read-out",
    "PUBLISHED_BOXES": "of Bagley et al. 2023",
    "NO_LIGHT": "a result without light",
    "FEW": "numbers that numpy adds one after the other",
    "ZERO_POINT": "of AB magnitudes",
    "_SPLINE_MEMORY": "boxes after which a cubic spline has forgotten a value",
}
BITS = {
    "dq.py": {"DO_NOT_USE", "SATURATED", "JUMP_DET", "REFERENCE_PIXEL"},
    "astrometry/centroids.py": {"BLENDED", "TOUCHED", "EDGE", "COMPACT", "FAINT", "LOST", "CLOSE"},
    "sky/noise_scale.py": {"WIDE_TIERS"},
    "sources/mosaic_background.py": {"BORDER", "OUTSKIRTS", "REGION", "_FAINT"},
    "sources/mosaic_tiers.py": {"CORE"},
    "stripes/exposure.py": {"WIDEST_TIER"},
}


def is_number(node):
    value = getattr(node, "value", None)
    return isinstance(node, ast.Constant) and type(value) in (int, float, complex)


def records_of(node):
    """The calls in a value that make a record: what is in them has a name and a reason."""
    return {
        id(inside)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and re.search(r"(Settings|TierSet|_published|replace)$", ast.unparse(call.func))
        for inside in ast.walk(call)
    }


def loose_numbers(path):
    """Names of a module to which bare numbers are assigned."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        inside = records_of(node.value)
        if any(is_number(each) and id(each) not in inside for each in ast.walk(node.value)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return found


MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_no_bare_numbers_in_modules(module):
    loose = loose_numbers(ROOT / module) - FACTS.keys() - BITS.get(module, set())
    assert not loose, f"{module}: {sorted(loose)} belong in a record of settings, with their reason"


def test_a_bare_number_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("A = 3\n_B, C = 1.0, np.array([2])\nD: int = 4\nE = XSettings(5)\nF = 'x'\n")
    assert loose_numbers(path) == {"A", "_B", "C", "D"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.endswith("settings.py")])
def test_every_value_says_what_it_is(module):
    """A sentence stands under each value of a record, or in its table of attributes."""
    name = "ceers_steps.kernels." + module.removesuffix(".py").replace("/", ".")
    loaded, tree = import_module(name), ast.parse((ROOT / module).read_text())
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        record = getattr(loaded, node.name)
        assert is_dataclass(record)
        assert record.__dataclass_params__.frozen
        table = ast.get_docstring(node) or ""
        described = set(re.findall(r"\w+", table.partition("Attributes")[2]))
        for here, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(here, ast.AnnAssign) and isinstance(after, ast.Expr):
                described.add(here.target.id)
        assert {field.name for field in fields(record)} <= described
