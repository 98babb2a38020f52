"""What is said of a fit to a catalogue beside its numbers."""

from types import SimpleNamespace

import pytest

from ceers_steps.astrometry.reference import remarks_on_fit


@pytest.mark.parametrize(
    ("error", "geometry", "remarks"),
    [
        (2.9, "rshift", ""),
        (3.14, "rshift", "place on the sky known to 3.1 mas only, from 4 matches"),
        (2.9, "shift", "4 matches are too few for rshift: only a shift was fitted"),
    ],
)
def test_a_place_that_is_not_well_known_is_remarked(error, geometry, remarks):
    fit = SimpleNamespace(n_used=4, shift_error=1e-3 * error)
    found = SimpleNamespace(fit=fit, geometry=geometry)
    assert remarks_on_fit(found, "rshift", 3.0) == remarks
