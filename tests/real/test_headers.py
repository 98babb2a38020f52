"""Real headers: what is filled in is what was there; planes of another shape are named."""

import pytest
from astropy.io import fits

from ceers_steps import CeersDetector1, CeersImage2
from ceers_steps.errors import CeersError
from ceers_steps.files.headers.check import Wanted, check_input
from ceers_steps.files.headers.keywords import complete_keywords
from ceers_steps.files.headers.values import PATHS


def test_each_keyword_of_a_real_raw_file_is_filled_in_as_it_was(real):
    needs = {*CeersDetector1.input_keywords, *CeersImage2.input_keywords}
    for path in sorted(real.glob("headers/*_uncal.fits")):
        with fits.open(path) as hdus:
            cards = {**hdus[0].header, **hdus[1].header}
        values = {key: cards[key] for key in PATHS if key in cards}
        values["EXP_TYPE"] = "NRC_IMAGE"  # it is a coronagraph's; the rest is the same
        assert not complete_keywords(values, None, path.name, needs=needs).values
        for key in needs - {"EXP_TYPE", "FILTER", "PUPIL", "V2_REF", "V3_REF", "NINTS", "NGROUPS"}:
            # the sizes come from the array, of which the file has only a stand-in
            shape = (1, 10, 2048, 2048)
            rest = {name: value for name, value in values.items() if name != key}
            found = complete_keywords(rest, shape, path.name, needs=needs).values
            expected = values[key]
            if isinstance(expected, float):
                expected = pytest.approx(expected, rel=2e-6)
            assert found == {key: expected}


def test_planes_of_another_shape(real):
    for path in sorted(real.glob("miri_calints/*_calints.fits")):
        message = r"VAR_POISSON has 2 x 224 x 288 pixels, but SCI 1 x 210 x 215"
        with pytest.raises(CeersError, match=message):
            check_input(path, Wanted(), "Step")


def test_empty_planes_do_not_matter_where_nothing_is_computed(real):
    for path in sorted(real.glob("nircam_coron_calints/*_calints.fits")):
        check_input(path, Wanted(planes=("ERR", "VAR_RNOISE")), "Step")


def test_untouched_real_files_are_taken(real):
    for path in sorted(real.glob("niriss_cal/*_cal.fits")):
        check_input(path, Wanted(planes=("ERR", "DQ", "VAR_RNOISE"), wcs=True), "Step")
