"""One declaration of the alignment's parameters: spec, settings, tables and docs agree with it."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from jwst.tweakreg import TweakRegStep

from ceers_steps.astrometry.parameters import OURS, PARAMETERS, parameter_docs
from ceers_steps.astrometry.tables import AlignmentSettings, read_alignment_table
from ceers_steps.errors import CeersError
from ceers_steps.kernels.astrometry.centroids import CatalogSettings
from ceers_steps.steps.align import AlignStep


@pytest.mark.parametrize("name", PARAMETERS)
def test_step_and_settings_have_the_declared_default(name):
    step = AlignStep()
    assert getattr(step, name) == PARAMETERS[name].default
    assert getattr(AlignmentSettings(), name) == PARAMETERS[name].default
    assert type(getattr(step, name)) is type(PARAMETERS[name].default)


def test_nothing_is_declared_elsewhere():
    assert [field.name for field in fields(AlignmentSettings)] == list(PARAMETERS)
    assert AlignmentSettings().catalog == CatalogSettings()
    theirs = TweakRegStep()
    for name in set(PARAMETERS) - OURS:
        assert getattr(theirs, name) == PARAMETERS[name].default


def test_docs_page():
    page = Path(__file__).parents[2] / "docs" / "steps" / "align.md"
    if page.is_file():
        assert parameter_docs() in page.read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deblend_levels", 0),
        ("deblend_levels", 10**9),
        ("bkg_boxsize", 0),
        ("nclip", 10**9),
        ("tolerance", np.nan),
        ("tolerance", 0.0),
        ("searchrad", np.inf),
        ("detect_minarea", -1),
        ("fitgeometry", "auto"),
    ],
)
def test_bounds_are_the_same_everywhere(name, value, tmp_path):
    """Some of these crash the process where they reach the compiled search for sources."""
    with pytest.raises(CeersError, match=f"{name}="):
        AlignmentSettings(**{name: value})
    if value == value:
        path = tmp_path / "table.ecsv"
        Table({"visit": ["jw01345001001"], "filter": ["F150W"], name: [value]}).write(path)
        with pytest.raises(CeersError, match=f"row 1: {name}="):
            read_alignment_table(path)
