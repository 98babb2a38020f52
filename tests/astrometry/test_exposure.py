"""What is kept of the alignment of an exposure."""

import pytest

from ceers_steps.astrometry.exposure import AlignedExposure
from ceers_steps.astrometry.tables import AlignmentSettings


@pytest.mark.parametrize("at_bound", [True, False])
def test_a_shift_at_the_end_of_the_search_is_doubted(at_bound):
    settings = AlignmentSettings(abs_searchrad=2.5)
    about = ("exposure", "NRCB4", "SHORT", "F150W", "visit", 0.0)
    exposure = AlignedExposure(0, *about, None, [], settings, doubt="few sources")
    exposure.add_row("absolute", "COMPLETE", rmse=3.0)
    exposure.note_bound(at_bound)
    assert exposure.metrics == {"absolute_rmse": 3.0, "absolute_at_bound": at_bound}
    assert exposure.doubt.startswith("few sources")
    assert ("at the end of abs_searchrad=2.5" in exposure.doubt) is at_bound
