"""What the alignment knows of an exposure."""

import math
from types import SimpleNamespace

import pytest
from astropy.time import Time

from ceers_steps.astrometry.inputs import _time_of
from ceers_steps.astrometry.reference import ReferenceCatalog, check_epoch
from ceers_steps.errors import CeersError


def model(start, day):
    exposure, observation = SimpleNamespace(start_time=start), SimpleNamespace(date=day)
    return SimpleNamespace(meta=SimpleNamespace(exposure=exposure, observation=observation))


def test_the_time_is_that_of_the_start_or_the_day():
    assert _time_of(model(59750.25, "2022-06-20")) == 59750.25
    assert _time_of(model(None, "2022-06-20")) == Time("2022-06-20").mjd == 59750
    assert math.isnan(_time_of(model(None, None)))


def test_an_unknown_time_is_no_other_epoch():
    moving = ReferenceCatalog("gaia", [1.0], [2.0], epoch=2016.0, motion=50.0)
    with pytest.raises(CeersError, match=r"moved by 3\d\d mas"):
        check_epoch(moving, 59750.0)
    check_epoch(moving, math.nan)
