"""jwst's own tests of its alignment, with our step in place of its.

They are those that the installed jwst brings along. Ours runs with the sources that jwst finds:
their images have no noise at all, in which our search finds nothing that is significant.
"""

import numpy as np
import pytest
from astropy.wcs import WCS
from gwcs.wcstools import grid_from_bounding_box
from jwst.tweakreg import tests as their_tests
from jwst.tweakreg import tweakreg_step
from jwst.tweakreg.tests import test_multichip_jwst as multichip
from jwst.tweakreg.tests import test_tweakreg as tweakreg

from ceers_steps import AlignStep
from tests.dropin.theirs import check_none_is_forgotten, take

pytestmark = pytest.mark.slow

MODULES = (tweakreg, multichip)
NOT_OURS = {"test_utils": "functions that move a WCS by hand; no class of ours is one of them"}
"""Modules of tests without a class that ours could replace."""

_FUNCTION = "a function of jwst, of which ours has none: nothing of ours would be run"
LEFT_OUT = {
    "test_expected_failure_bad_starfinder": _FUNCTION,
    "test_make_tweakreg_catalog": _FUNCTION,
    "test_make_tweakreg_catalog_graceful_fail_bad_background": _FUNCTION,
    "test_make_tweakreg_catalog_graceful_fail_no_sources": _FUNCTION,
    "test_multichip_jwst_alignment": "calls tweakwcs; nothing of ours would be run",
    "test_rename_catalog_columns": _FUNCTION,
    "test_rename_catalog_columns_invalid": _FUNCTION,
    "test_sourcefinders": _FUNCTION,
    "test_custom_catalog": "looks at what a class of stcal is given, which ours does not use;"
    " `tests/steps/test_align.py` gives catalogues in all these ways",
    "test_multichip_alignment_step_rel": "its WCS has no way back from the sky, which ours needs to"
    " know how large a pixel is; those of all detectors have one",
    "test_ngroup_1": "two exposures of one detector that are one group: to ours a group is what one"
    " detector saw of a visit, and two exposures of it are aligned",
    "test_sip_approx": "its first image is the reference and keeps its WCS; ours moves all to their"
    " mean: `test_keywords_describe_the_new_wcs`",
    "test_src_confusion_pars": "needs the Gaia server",
}
"""Tests that cannot hold, or that would test nothing of ours, with the reason."""

take(globals(), MODULES, LEFT_OUT)


class TheirSources(AlignStep):
    """Ours, with the sources that jwst finds."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"source_lists": "jwst", **kwargs})


@pytest.fixture(autouse=True)
def _ours(monkeypatch):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    monkeypatch.setattr(tweakreg_step, "TweakRegStep", TheirSources)


@pytest.fixture
def tmp_cwd(tmp_path):
    """The folder that every test here runs in."""
    return tmp_path


def test_keywords_describe_the_new_wcs(example_input):
    """In place of theirs: those of both exposures, to the accuracy that was asked for."""
    example_input[1].data[:-9] = example_input[1].data[9:]
    example_input[1].data[-9:] = tweakreg.BKG_LEVEL
    before = example_input[0].meta.wcs(0, 0)
    result = TheirSources(save_plots=False).run(example_input)
    corners = []
    with result:
        for model in result:
            x, y = grid_from_bounding_box(model.meta.wcs.bounding_box, step=64)
            found = WCS(model.meta.wcsinfo.instance).all_pix2world(x.ravel(), y.ravel(), 0)
            off = np.subtract(found, np.reshape(model.meta.wcs(x, y), (2, -1))) * 3600
            off[0] *= np.cos(np.radians(found[1]))
            assert np.nanmax(np.hypot(*off)) < 1e-4  # arcsec; none where the box ends
            corners.append(model.meta.wcs(0, 0))
            result.shelve(model, modify=False)
    # half of the shift each
    middle = np.mean(corners, axis=0)
    assert np.hypot(*(np.subtract(corners[0], before) * 3600)) > 0.1
    np.testing.assert_allclose(
        np.subtract(corners[0], middle), -np.subtract(corners[1], middle), rtol=1e-6
    )


def test_none_of_theirs_is_forgotten():
    """Each module and each test is run, or is listed with the reason."""
    check_none_is_forgotten(globals(), their_tests, MODULES, NOT_OURS, LEFT_OUT)
