"""Exposures whose pointing is not that of their visit are named, and marked."""

from dataclasses import replace

import numpy as np
import pytest

from ceers_steps.survey.select.visits import FARTHEST, far_from_visit, list_far
from ceers_steps.survey.summary.quality import gather_quality
from tests.survey.madeup import make_exposures, make_plan


def moved(exposure, arcsec):
    """The same exposure elsewhere, towards north."""
    shift = np.array([0, arcsec / 3600])
    return replace(exposure, footprint=tuple(corners + shift for corners in exposure.footprint))


@pytest.fixture
def exposures(tmp_path):
    return make_exposures(tmp_path, dithers=4, pointings=1)


def test_dithers_are_near_each_other(exposures):
    assert far_from_visit(exposures) == {}
    assert far_from_visit([moved(exposures[0], 250), *exposures[1:]]) == {}


@pytest.mark.parametrize("shift", [-900, 900, 36000])
def test_one_far_from_the_others_is_named(exposures, shift):
    far = far_from_visit([moved(exposures[0], shift), *exposures[1:]])
    assert list(far) == [exposures[0].name]
    assert far[exposures[0].name] == pytest.approx(abs(shift), abs=2)
    (line,) = list_far(far)
    assert exposures[0].name in line
    assert f"{far[exposures[0].name]:.0f} arcsec" in line


def test_of_two_nobody_knows_which(exposures):
    two = [each for each in exposures if each.detector == exposures[0].detector][:2]
    assert len(two) == 2
    far = far_from_visit([moved(two[0], 2 * FARTHEST), two[1]])
    assert set(far) == {each.name for each in two}
    assert far_from_visit(two[:1]) == {}
    assert far_from_visit([replace(each, footprint=()) for each in two]) == {}


def test_a_survey_says_so_and_marks_it(tmp_path, exposures):
    changed = [moved(exposures[0], 400), *exposures[1:]]
    plan = make_plan(tmp_path, exposures=changed)
    (line,) = [note for note in plan.notes if "far from the others of their visit" in note]
    assert exposures[0].name in line
    quality = gather_quality(plan, {})
    marked = [row["exposure"] for row in quality.table if "place" in row["outlier"]]
    assert marked == [exposures[0].name]
    assert not any("far from" in note for note in make_plan(tmp_path, exposures=exposures).notes)
