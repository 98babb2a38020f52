"""The snowball step: what it applies to, what it writes, what it refuses."""

import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags
from stpipe.exceptions import ValidationError

from ceers_steps.errors import CeersError
from ceers_steps.kernels.jumps import differences
from ceers_steps.kernels.snowballs.adaptive import measure_snowballs
from ceers_steps.kernels.snowballs.flagging import close_lost_ramps_inplace
from ceers_steps.kernels.snowballs.published import published_flags
from ceers_steps.steps.base import StepError
from ceers_steps.steps.snowball import SnowballStep, add_halo_errors
from tests.history import says

EXPOSURE = "jw01345001001_02201_00001_nrcb4"
SHAPE = (2, 6, 120, 120)
GROUP_TIME = 107.4
NOISE, RATE = 3.0, 10.0
JUMP, SATURATED = dqflags.group["JUMP_DET"], dqflags.group["SATURATED"]


def ramp(seed=0, n_groups=SHAPE[1], **keywords):
    """Return a ramp with a saturated event in group 3 (from 0) of the first integration.

    What saturated releases charge in the second.
    """
    rng = np.random.default_rng(seed)
    shape = (SHAPE[0], n_groups, *SHAPE[2:])
    gathered = RATE + NOISE * rng.standard_normal(shape)
    y, x = np.indices(SHAPE[2:])
    radius = np.hypot(y - 70, x - 50)
    event = np.where(radius < 8, 60_000.0, 1500 * np.maximum(radius / 8, 1) ** -4.5)
    groupdq = np.zeros(shape, np.uint8)
    if n_groups > 3:
        gathered[0, 3] += event
        groupdq[0, 3][event > 5 * NOISE] = JUMP
        groupdq[0, 3:, radius < 9] = SATURATED
        released = 60 * np.exp(-np.arange(n_groups) * GROUP_TIME / 300)
        gathered[1][:, radius < 9] += released[:, None]
    data = np.cumsum(gathered, axis=1).astype(np.float32)
    model = datamodels.RampModel(data=data, groupdq=groupdq)
    model.pixeldq = np.zeros(SHAPE[2:], np.uint32)
    model.pixeldq[:4] = dqflags.pixel["REFERENCE_PIXEL"]
    model.pixeldq[100, 20:24] = dqflags.pixel["DO_NOT_USE"]
    model.meta.filename = f"{EXPOSURE}_jump.fits"
    model.meta.instrument.name = keywords.get("instrument", "NIRCAM")
    model.meta.instrument.detector = "NRCB4"
    model.meta.exposure.type = keywords.get("exp_type", "NRC_IMAGE")
    model.meta.exposure.group_time = keywords.get("group_time", GROUP_TIME)
    model.meta.exposure.noutputs = 1
    model.meta.cal_step.jump = keywords.get("jump", "COMPLETE")
    return model


def entry(model):
    return model.meta.ceers_steps.instance["ceers_snowball"]


def test_bits_are_those_of_jwst():
    for name in ("DO_NOT_USE", "SATURATED", "JUMP_DET"):
        assert getattr(differences, name) == dqflags.group[name]


def test_adaptive_flags_are_added_and_recorded(tmp_path):
    model = ramp()
    before = model.groupdq.copy()
    result = SnowballStep.call(model, output_dir=str(tmp_path))
    bad = model.pixeldq != 0
    found = measure_snowballs(
        model.data, before, bad, group_time=GROUP_TIME, halo_threshold=0.55, after_core_time=2000
    )
    expected = before | np.where(found.flags, JUMP, 0).astype(np.uint8)
    close_lost_ramps_inplace(expected, found.flags)
    np.testing.assert_array_equal(result.groupdq, expected)
    np.testing.assert_array_equal(model.groupdq, before)  # standalone, the input stays as it was
    assert found.flags[0, 3].sum() > 200
    assert found.flags[1].any()
    assert result.meta.cal_step.instance["ceers_snowball"] == "COMPLETE"
    metrics = entry(result)["metrics"]
    assert (metrics["n_events"], metrics["n_saturated"], metrics["n_capped_groups"]) == (1, 1, 0)
    new = (result.groupdq & JUMP > 0) & (before & JUMP == 0)
    assert metrics["added_fraction"] == pytest.approx(new.mean())
    assert metrics["n_flagged_pixels"] == np.count_nonzero(found.flags.any(axis=(0, 1)))
    assert entry(result)["parameters"]["halo_threshold"] == 0.55


def test_published_method(tmp_path):
    model = ramp()
    result = SnowballStep.call(model, method="ceers", growth_radii=[3, 11])
    flags = published_flags(model.groupdq, growth_radii=(3, 11))
    assert flags.any()
    np.testing.assert_array_equal(result.groupdq, model.groupdq | np.where(flags, JUMP, 0))
    assert entry(result)["parameters"] == {
        "method": "ceers",
        "detection_radii": [7, 15],
        "growth_radii": [3, 11],
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("halo_threshold", 3.0),
        ("after_core_time", 0.0),
        ("carry_to_next_integration", False),
        ("max_flagged_fraction", 0.01),
        ("min_core_radius", 30),
    ],
)
def test_every_parameter_takes_effect(name, value):
    default = SnowballStep.call(ramp())
    changed = SnowballStep.call(ramp(), **{name: value})
    assert entry(changed)["parameters"][name] == value
    assert np.count_nonzero(changed.groupdq & JUMP) < np.count_nonzero(default.groupdq & JUMP)


def test_faint_halos_are_subtracted_from_the_ramp():
    """Groups before the event stay; without the option, and as published, all do, bit for bit."""
    before = ramp().data
    result = SnowballStep.call(ramp())
    assert entry(result)["metrics"]["n_halos_subtracted"] == 1
    assert entry(result)["parameters"]["subtract_halos"] is True
    taken = before - result.data
    # frames are averaged: an event of group 3 may begin in the difference before
    assert not taken[0, :2].any()
    assert not taken[1].any()
    assert np.count_nonzero(taken[0, 3]) > 100
    assert taken.max() < NOISE
    assert 0 < entry(result)["metrics"]["mean_halo"] < 0.6
    # its error is added once, where it was subtracted
    variance = result._variance_of_halos
    rate = SimpleNamespace(var_rnoise=np.ones(SHAPE[2:]), err=np.full(SHAPE[2:], 2.0))
    for _ in range(2):
        add_halo_errors(result, rate, None)
        np.testing.assert_allclose(rate.var_rnoise, 1 + variance.sum(axis=0) / len(variance) ** 2)
        np.testing.assert_allclose(rate.err**2, 3 + rate.var_rnoise)
    assert ((variance[0] > 0) == (taken[0] > 0).any(axis=0)).mean() > 0.99
    for options in ({"subtract_halos": False}, {"method": "ceers"}):
        result = SnowballStep.call(ramp(), **options)
        np.testing.assert_array_equal(result.data, before)
        assert "n_halos_subtracted" not in entry(result)["metrics"]


def test_rate_of_events_in_the_header_is_that_of_this_step():
    """As jwst counts: events per million pixels and second, over the differences of all groups."""
    model = ramp()
    model.meta.exposure.extended_emission_events = 0.0  # of the jump step, which looked for none
    result = SnowballStep.call(model)
    n_ints, n_groups, ny, nx = SHAPE
    seconds = n_ints * (n_groups - 1) * GROUP_TIME
    assert result.meta.exposure.extended_emission_events == pytest.approx(1e6 / (seconds * ny * nx))
    published = ramp()
    published.meta.exposure.extended_emission_events = 0.0
    published = SnowballStep.call(published, method="ceers")  # counts no events
    assert published.meta.exposure.extended_emission_events is None


def test_capped_groups_are_told(caplog):
    with caplog.at_level(logging.WARNING, "ceers_steps"):
        result = SnowballStep.call(ramp(), max_flagged_fraction=0.001)
    assert "integration/group 1/4" in entry(result)["note"]
    assert "max_flagged_fraction=0.001" in caplog.text


def test_a_ramp_without_a_difference_is_no_rate_of_zero():
    """All differences flagged, and the first group unusable: jwst fits 0 with the error 0."""
    model = ramp()
    flags = np.zeros(SHAPE, bool)
    flags[0, 1:, 30, 30:40] = flags[1, 1:, 30, 30:40] = True
    groupdq = model.groupdq.copy()
    groupdq[:, 0, 30, 30:35] = dqflags.group["DO_NOT_USE"]
    groupdq |= np.where(flags, JUMP, 0).astype(np.uint8)
    before = groupdq.copy()
    close_lost_ramps_inplace(groupdq, flags)
    assert (groupdq[:, :, 30, 30:40] & dqflags.group["DO_NOT_USE"]).all()
    groupdq[:, :, 30, 30:40] = before[:, :, 30, 30:40]
    np.testing.assert_array_equal(groupdq, before)
    # a ramp that nobody flagged, or that keeps a difference, is as it was
    flags[:, 5, 30, 30:40] = False
    before[:, 5, 30, 30:40], groupdq = 0, before
    close_lost_ramps_inplace(groupdq, flags)
    assert not (groupdq[:, 5, 30] & dqflags.group["DO_NOT_USE"]).any()


def test_inside_a_pipeline_nothing_is_copied():
    model = ramp()
    data = model.data
    step = SnowballStep(parent=SnowballStep())
    assert step.process(model) is model
    assert model.data is data


def test_a_second_run_does_nothing():
    once = SnowballStep.call(ramp())
    groupdq = once.groupdq.copy()
    twice = SnowballStep.call(once, method="ceers")
    np.testing.assert_array_equal(twice.groupdq, groupdq)
    assert entry(twice)["parameters"]["method"] == "adaptive"


def test_table_of_events(tmp_path):
    SnowballStep.call(ramp(), save_events=True, save_results=True, output_dir=str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{EXPOSURE}_snowball.fits",
        f"{EXPOSURE}_snowballs.ecsv",
    ]
    table = QTable.read(tmp_path / f"{EXPOSURE}_snowballs.ecsv")
    (event,) = table
    assert (event["integration"], event["group"], event["saturated"]) == (1, 4, True)
    # the centroid of a region of a thousand pixels, its outline rough by one
    assert abs(event["y"].value - 70) < 0.5
    assert abs(event["x"].value - 50) < 0.5
    assert event["core_radius"] < event["halo_radius"]
    assert event["ellipticity"] < 0.1
    with datamodels.open(tmp_path / f"{EXPOSURE}_snowball.fits") as saved:
        assert saved.meta.cal_step.instance["ceers_snowball"] == "COMPLETE"
    header = fits.getheader(tmp_path / f"{EXPOSURE}_snowball.fits")
    assert says(header, "ceers_snowball COMPLETE; 1 snowball;")


def test_table_without_events(tmp_path):
    model = ramp()
    model.groupdq[...] = 0
    SnowballStep.call(model, save_events=True, output_dir=str(tmp_path))
    table = QTable.read(tmp_path / f"{EXPOSURE}_snowballs.ecsv")
    assert len(table) == 0
    assert {"integration", "group", "y", "x", "core_radius", "halo_radius"} <= set(table.colnames)


@pytest.mark.parametrize(
    ("keywords", "options", "reason"),
    [
        ({"instrument": "NIRISS", "exp_type": "NIS_IMAGE"}, {}, "not NIRCam imaging"),
        ({"exp_type": "NRC_GRISM"}, {}, "not NIRCam imaging"),
        ({"jump": "SKIPPED"}, {}, "jump step was skipped"),
        ({"jump": "SKIPPED", "n_groups": 2}, {}, "2 groups .NGROUPS.; the jump step needs 3"),
        ({"n_groups": 1}, {}, "1 group .NGROUPS.; the jump step needs 3"),
        ({}, {"method": "none"}, "method is 'none'"),
    ],
)
def test_skipped(keywords, options, reason):
    model = ramp(**keywords)
    result = SnowballStep.call(model, **options)
    np.testing.assert_array_equal(result.groupdq, model.groupdq)
    assert result.meta.cal_step.instance["ceers_snowball"] == "SKIPPED"
    assert re.search(reason, entry(result)["note"])


def test_skipped_by_the_overrides_table(tmp_path):
    table = tmp_path / "overrides.csv"
    table.write_text(f"exposure,skip_snowball\n{EXPOSURE},true\n")
    result = SnowballStep.call(ramp(), overrides=str(table))
    assert result.meta.cal_step.instance["ceers_snowball"] == "SKIPPED"


@pytest.mark.parametrize(
    ("keywords", "options", "message"),
    [
        ({"group_time": None}, {}, "no group time .TGROUP."),
        ({}, {"method": "ceers", "growth_radii": [7]}, "equally many radii"),
    ],
)
def test_errors_name_file_and_remedy(keywords, options, message):
    with pytest.raises(StepError, match=f"{EXPOSURE}_jump.fits.*{message}") as caught:
        SnowballStep.call(ramp(**keywords), **options)
    assert isinstance(caught.value, CeersError)
    assert caught.value.args[0] == 1  # the exit code of strun


@pytest.mark.parametrize(
    "options", [{"method": "best"}, {"halo_threshold": 0}, {"max_flagged_fraction": 1.5}]
)
def test_values_out_of_range(options):
    with pytest.raises(ValidationError):
        SnowballStep.call(ramp(), **options)


def test_cube_is_refused(tmp_path):
    path = tmp_path / "jw01_rate.fits"
    datamodels.ImageModel(np.zeros((10, 10), np.float32)).save(path)
    with pytest.raises(StepError, match="RampModel"):
        SnowballStep.call(str(path))
