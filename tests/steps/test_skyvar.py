"""The sky and variance step on small exposures whose sky and noise are known."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from asdf.tags.core import HistoryEntry
from astropy import units as u
from astropy.coordinates import ICRS
from astropy.io import fits
from astropy.modeling import models
from gwcs import WCS, coordinate_frames
from jwst.assign_wcs.util import update_fits_wcsinfo
from jwst.datamodels import ModelLibrary
from jwst.outlier_detection import OutlierDetectionStep
from jwst.resample import ResampleStep
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.steps.base import StepError
from ceers_steps.steps.skyvar import SkyVarStep
from ceers_steps.validate.metrics import block_noise

EXPOSURE = "jw01345001001_02201_0000{}_nrcb4"
SHAPE = (256, 256)
SKY, READ, PHOTON = 0.2, 1e-5, 2.6e-4
NOISE = float(np.sqrt(READ + PHOTON))
DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
SATURATED = dqflags.pixel["SATURATED"]
PLANES = ("var_rnoise", "var_poisson", "var_flat")


def wcs(number):
    """Return a tangential projection, 31 mas a pixel, each dither a little further."""
    detector = coordinate_frames.Frame2D(name="detector", axes_order=(0, 1), unit=(u.pix, u.pix))
    sky = coordinate_frames.CelestialFrame(name="world", reference_frame=ICRS())
    scale = 0.031 / 3600.0
    transform = (
        models.Shift(-128.0 + 0.37 * number) & models.Shift(-128.0 + 0.21 * number)
        | models.Scale(scale) & models.Scale(scale)
        | models.Pix2Sky_TAN()
        | models.RotateNative2Celestial(214.9, 52.8, 180.0)
    )
    frames = WCS([(detector, transform), (sky, None)])
    frames.bounding_box = ((-0.5, SHAPE[1] - 0.5), (-0.5, SHAPE[0] - 0.5))
    return frames


def cal(number=1, *, excess=1.0, unit=1.0, sky=SKY, sources=True):
    """Return an exposure whose noise is ``excess`` times what its variances say, and its light."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = np.zeros(SHAPE)
    if sources:
        light = 3.0 * np.exp(-np.hypot(y - 60, x - 190) / 3.0)
    poisson = PHOTON * (1.0 + light / SKY)
    data = sky + light + excess * rng.normal(0, 1, SHAPE) * np.sqrt(READ + poisson)
    model = datamodels.ImageModel(SHAPE)
    model.data = (unit * data).astype(np.float32)
    model.var_rnoise = np.full(SHAPE, unit**2 * READ, np.float32)
    model.var_poisson = (unit**2 * poisson).astype(np.float32)
    model.var_flat = np.zeros(SHAPE, np.float32)
    model.err = np.sqrt(model.var_rnoise + model.var_poisson)
    model.dq = np.zeros(SHAPE, np.uint32)
    meta = model.meta
    meta.filename = f"{EXPOSURE.format(number)}_cal.fits"
    meta.bunit_data = meta.bunit_err = "MJy/sr"
    meta.instrument.name, meta.instrument.detector = "NIRCAM", "NRCB4"
    meta.instrument.filter, meta.instrument.pupil = "F150W", "CLEAR"
    meta.exposure.type, meta.exposure.noutputs = "NRC_IMAGE", 4
    meta.exposure.exposure_time = meta.exposure.measurement_time = meta.exposure.duration = 900.0
    meta.exposure.start_time, meta.exposure.end_time = 60000.0, 60000.01
    meta.observation.date, meta.observation.time = "2023-01-01", "00:00:00"
    meta.photometry.pixelarea_steradians = (0.031 / 206265.0) ** 2
    meta.photometry.pixelarea_arcsecsq = 0.031**2
    for key, value in zip(
        ("program_number", "observation_number", "visit_number", "visit_group", "sequence_id"),
        ("01345", "001", "001", "02", "2"),
        strict=True,
    ):
        setattr(meta.observation, key, value)
    meta.observation.activity_id, meta.observation.exposure_number = "01", str(number)
    meta.wcsinfo.ra_ref, meta.wcsinfo.dec_ref, meta.wcsinfo.v3yangle = 214.9, 52.8, 0.0
    meta.wcsinfo.roll_ref, meta.wcsinfo.vparity, meta.wcsinfo.wcsaxes = 0.0, -1, 2
    meta.wcsinfo.v2_ref, meta.wcsinfo.v3_ref = 0.0, 0.0
    meta.wcs = wcs(number)
    footprint = meta.wcs.footprint(axis_type="spatial")
    meta.wcsinfo.s_region = "POLYGON ICRS " + " ".join(f"{v:.9f}" for v in footprint.ravel())
    update_fits_wcsinfo(model)
    return model, (unit * light).astype(np.float32)


def metrics(model):
    """Return the figures that the step recorded."""
    return model.meta.instance["ceers_steps"]["ceers_skyvar"]["metrics"]


def skyvar_lines(model):
    """Return the HISTORY lines of the step."""
    lines = [entry["description"] for entry in model.instance["history"]["entries"]]
    return [line for line in lines if "ceers_skyvar" in line]


def drizzle(library):
    """Combine exposures with jwst; `process` needs no CRDS."""
    return ResampleStep(blendheaders=False).process(library)


def write_mask(folder, number=1, asn="", dtype=np.uint8, shape=SHAPE):
    """Write a mask whose only source is where `cal` has it."""
    mask = np.zeros(shape, dtype)
    mask[30:90, 160:220] = 0b1000
    path = Path(folder) / f"{EXPOSURE.format(number)}{asn}_1fmask.fits"
    fits.writeto(path, mask)
    return path


def truncated(path):
    """Cut a file off."""
    path.write_bytes(path.read_bytes()[:20000])
    return path


def saved(folder, number=1, **keywords):
    """Save an exposure."""
    model, _ = cal(number, **keywords)
    path = Path(folder) / model.meta.filename
    model.save(path)
    return path


# -- what it is for


@pytest.mark.parametrize("excess", [1.0, 1.15])
def test_sky_and_noise_are_recovered(excess):
    model, light = cal(excess=excess)
    result = SkyVarStep.call(model)
    assert abs(metrics(result)["sky"] - SKY) < 4 * metrics(result)["sky_err"]
    assert metrics(result)["sky_fitted"] is True
    mask = light > 0.1 * NOISE
    for block in (1, 2, 4, 8):
        noise = block_noise(result.data, light, result.err, mask=mask, block=block)
        # 961 blocks of 8 pixels; a factor known to 2%
        assert abs(noise.ratio - 1.0) < 4 * noise.ratio_err + 0.01
    # one plane holds the sky, the other what sources add
    assert np.median(result.var_rnoise) == pytest.approx((excess * NOISE) ** 2, rel=0.12)
    core = light > 0.5
    np.testing.assert_allclose(
        result.var_poisson[core], PHOTON * light[core] / SKY, rtol=0.05, atol=0.1 * PHOTON
    )
    np.testing.assert_allclose(
        result.err**2, result.var_rnoise + result.var_poisson + result.var_flat, rtol=1e-5
    )


@pytest.mark.parametrize("sky_method", ["mode", "none"])
def test_a_saturated_star_weighs_as_the_sky(sky_method):
    model, light = cal()
    core = light > 1.5
    model.var_rnoise[core] *= 15
    model.err[core] = np.sqrt(model.var_rnoise + model.var_poisson)[core]
    # a snowball: groups are lost, but there is no light
    snowball = np.s_[200:210, 30:40]
    model.var_rnoise[snowball] *= 15
    model.dq[core] |= SATURATED
    model.dq[snowball] |= SATURATED
    given = model.var_rnoise.copy()
    result = SkyVarStep.call(model, sky_method=sky_method)
    other = SkyVarStep.call(model, sky_method=sky_method, level_saturated=False)
    assert metrics(result)["saturated_levelled"] == np.count_nonzero(core)
    # the photon noise of the sky, which is in it, is smooth to a few per cent
    np.testing.assert_allclose(result.var_rnoise[core], np.median(result.var_rnoise), rtol=0.1)
    assert (other.var_rnoise[core] > 1.3 * np.median(other.var_rnoise)).all()
    np.testing.assert_allclose(result.var_rnoise[snowball], other.var_rnoise[snowball], rtol=0.02)
    np.testing.assert_array_equal(model.var_rnoise, given)
    for each in (result, other):
        np.testing.assert_allclose(
            each.err**2, each.var_rnoise + each.var_poisson + each.var_flat, rtol=1e-5
        )


def test_levelling_alone_keeps_err_the_sum():
    model, light = cal()
    core = light > 1.5
    model.var_rnoise[core] *= 15
    model.dq[core] |= SATURATED
    result = SkyVarStep.call(model, fill_holes=False, scale_variance=False)
    np.testing.assert_allclose(result.var_rnoise, READ, rtol=1e-5)
    np.testing.assert_allclose(
        result.err[core] ** 2, (result.var_rnoise + result.var_poisson)[core], rtol=1e-5
    )


@pytest.mark.parametrize("unit", [1.0, 0.48, 1e3])
def test_units_do_not_matter(unit):
    result = SkyVarStep.call(cal(unit=unit)[0])
    assert metrics(result)["sky"] / unit == pytest.approx(SKY, abs=4 * NOISE / 256 * 2.2)
    assert metrics(result)["variance_factor"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("method", ["mode", "gaussian"])
def test_bright_sky(method):
    """Far above the range of -1.5 to 2 MJy/sr that was published."""
    result = SkyVarStep.call(cal(sky=50.0)[0], sky_method=method)
    assert metrics(result)["sky"] == pytest.approx(50.0, abs=4 * NOISE / 256 * 2.2)


def test_published_variance_is_that_of_the_sky_alone():
    result = SkyVarStep.call(cal()[0], variance_method="published")
    # the background of the published method takes part of the noise with it
    assert 0.6 * NOISE**2 < np.median(result.var_rnoise) < NOISE**2
    assert np.median(result.var_poisson) == pytest.approx(PHOTON)


def test_published_parameter_file():
    path = parameter_files_dir() / "dr05" / "skyvar.asdf"
    result = SkyVarStep.call(cal()[0], config_file=str(path))
    entry = result.meta.instance["ceers_steps"]["ceers_skyvar"]["parameters"]
    assert entry["sky_method"] == "gaussian"
    assert entry["variance_method"] == "published"


def test_levels_per_amplifier():
    model, _ = cal(sources=False)
    steps = np.repeat(np.array([0.0, 0.02, -0.01, 0.03], np.float32), 64)
    model.data += steps
    result = SkyVarStep.call(model, per_amplifier=True)
    np.testing.assert_allclose(
        metrics(result)["sky_levels"], SKY + steps[::64], atol=4 * 2.2 * NOISE / 128
    )
    assert result.meta.background.level == pytest.approx(SKY + steps.mean(), abs=1e-3)
    means = result.data.reshape(256, 4, 64).mean(axis=(0, 2))
    np.testing.assert_allclose(means, 0.0, atol=4 * 2.4 * NOISE / 128)


def test_one_output_is_one_amplifier():
    model, _ = cal(sources=False)
    model.meta.exposure.noutputs = 1
    result = SkyVarStep.call(model, per_amplifier=True)
    assert "sky_levels" not in metrics(result)
    assert abs(result.meta.background.level - SKY) < 4 * 2.2 * NOISE / 256


def test_amplifiers_need_noutputs():
    model, _ = cal()
    model.meta.exposure.noutputs = None
    with pytest.raises(StepError, match="NOUTPUTS"):
        SkyVarStep.call(model, per_amplifier=True)


# -- where no sky is seen


def fill_with_a_galaxy(model, peak=20.0, radius=70.0):
    """Add an exponential galaxy that covers the whole frame; return what it adds in the corner."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = peak * np.exp(-np.hypot(y - 120, x - 135) / radius)
    model.data += light.astype(np.float32)
    model.err = np.sqrt(model.err**2 + (PHOTON * light / SKY).astype(np.float32))
    return light


def test_a_galaxy_that_fills_the_frame_keeps_its_light(caplog):
    model, _ = cal(sources=False)
    fill_with_a_galaxy(model)
    model.meta.background.level, model.meta.background.subtracted = 3.0, False
    given = model.data.copy()
    with caplog.at_level(logging.WARNING):
        result = SkyVarStep.call(model)
    kept = np.isfinite(result.data)
    np.testing.assert_array_equal(result.data[kept], given[kept])
    assert "no sky is seen" in caplog.text
    assert "light all over" in metrics(result)["sky_refused"]
    assert "SKY NOT SUBTRACTED" in skyvar_lines(result)[0]
    # resample subtracts a level that is not said to be subtracted
    assert result.meta.background.level == 0.0
    assert not result.meta.background.subtracted


def test_light_all_over_does_not_pass_for_noise():
    """ERR stays what it was, whatever structure that light has; VAR_RNOISE is as in others."""
    model, _ = cal(sources=False)
    light = fill_with_a_galaxy(model, peak=20.0)
    model.var_poisson += (PHOTON * light / SKY).astype(np.float32)
    err = np.sqrt(model.var_rnoise + model.var_poisson)
    result = SkyVarStep.call(model)
    kept = np.isfinite(result.data)
    assert "sky_refused" in metrics(result)
    np.testing.assert_allclose(result.err[kept], err[kept], rtol=1e-3)
    assert metrics(result)["sky_photons"] == "VAR_RNOISE"
    assert "VARIANCES NOT SCALED (no sky is seen)" in skyvar_lines(result)[0]


def test_darker_exposures_without_sky_tell_that_a_level_is_not_the_sky():
    """Flat light in one of three exposures, of a galaxy that shows in the other two."""
    exposures = [cal(number, sources=False)[0] for number in (1, 2, 3)]
    for model in exposures[:2]:
        fill_with_a_galaxy(model)
    exposures[2].data += np.float32(8.0)
    given = exposures[2].data.copy()
    library = SkyVarStep.call(ModelLibrary(exposures))
    with library:
        for index, model in enumerate(library):
            assert "sky_refused" in metrics(model)
            if index == 2:
                np.testing.assert_allclose(model.data, given, rtol=1e-6)
                assert "that of other exposures" in metrics(model)["sky_refused"]
            library.shelve(model, index, modify=False)


def test_one_exposure_without_sky_takes_it_from_no_others():
    """Its pedestal is wrong as well: its darkest part is darker than the sky of the others."""
    exposures = [cal(number, sources=False)[0] for number in (1, 2, 3)]
    fill_with_a_galaxy(exposures[0])
    exposures[0].data -= np.float32(np.median(exposures[0].data[:64, :64]))
    library = SkyVarStep.call(ModelLibrary(exposures))
    with library:
        for index, model in enumerate(library):
            assert ("sky_refused" in metrics(model)) == (index == 0)
            assert bool(model.meta.background.subtracted) == (index > 0)
            library.shelve(model, index, modify=False)


def test_a_few_pixels_are_no_sky(tmp_path):
    model, _ = cal(sources=False)
    mask = np.ones(SHAPE, np.uint8)
    mask[100:120, 100:120] = 0
    fits.writeto(tmp_path / "mask.fits", mask)
    given = model.data.copy()
    result = SkyVarStep.call(model, source_mask=str(tmp_path / "mask.fits"))
    np.testing.assert_array_equal(result.data, given)
    assert metrics(result)["sky_refused"].startswith("400 pixels")


@pytest.mark.parametrize("rise", [1.0, 5.0])
def test_a_sky_that_is_not_flat_is_still_the_sky(rise):
    """From edge to edge, in units of the noise; the error says how well the level is defined."""
    model, _ = cal(sources=False)
    slope = rise * NOISE * np.linspace(-0.5, 0.5, SHAPE[1])
    model.data += slope.astype(np.float32)
    result = SkyVarStep.call(model)
    assert abs(metrics(result)["sky"] - SKY) < 4 * metrics(result)["sky_err"]
    assert metrics(result)["sky_err"] > 0.05 * rise * NOISE


def test_other_exposures_tell_that_a_level_is_not_the_sky():
    """Flat light that fills one of four exposures: nothing in its own image tells."""
    exposures = [cal(number, sources=False)[0] for number in (1, 2, 3, 4)]
    exposures[2].data += np.float32(3.0)
    given = exposures[2].data.copy()
    library = SkyVarStep.call(ModelLibrary(exposures))
    with library:
        for index, model in enumerate(library):
            refused = "sky_refused" in metrics(model)
            assert refused == (index == 2)
            if refused:
                np.testing.assert_allclose(model.data, given, rtol=1e-6)
                assert not model.meta.background.subtracted
            else:
                assert model.meta.background.level == pytest.approx(SKY, rel=0.01)
            library.shelve(model, index, modify=False)


def test_overlaps_tell_that_a_level_is_not_the_sky():
    """Light that is on one exposure only is in the overlaps as well; light of the field is not."""
    exposures = [cal(number, sources=False)[0] for number in (1, 2, 3, 4)]
    for number, model in enumerate(exposures):
        # what the overlaps say: the same sky, but for what the light of a halo adds to the third
        model.meta.background.level = 0.01
        model.meta.background.subtracted, model.meta.background.method = False, "match"
        model.data += np.float32([0.0, 0.004, 0.08, -0.004][number])
    given = exposures[2].data.copy()
    library = SkyVarStep.call(ModelLibrary(exposures))
    with library:
        for index, model in enumerate(library):
            assert ("sky_refused" in metrics(model)) == (index == 2)
            if index == 2:
                assert "overlaps" in metrics(model)["sky_refused"]
                np.testing.assert_allclose(model.data, given, rtol=1e-6, atol=1e-7)
                assert model.meta.background.level == 0.0
            if index == 3:
                # 4 and 2 thousandths (the median of an even number) from the others
                off = metrics(model)["sky_from_overlaps"]
                assert off == pytest.approx(-0.006, abs=4e-4)
                assert metrics(model)["sky_err"] >= abs(off)
            library.shelve(model, index, modify=False)


def test_where_overlaps_contradict_half_of_the_levels_none_is_the_sky():
    """Three dithers of a galaxy that fills them: the even light of each passes for a sky."""
    exposures = [cal(number, sources=False)[0] for number in (1, 2, 3)]
    for model, light, matched in zip(exposures, (0.12, 0.05, 0.05), (0.04, 0.07, 0.0), strict=True):
        model.data += np.float32(light)
        model.meta.background.level = matched
        model.meta.background.subtracted, model.meta.background.method = False, "match"
    given = [model.data.copy() for model in exposures]
    library = SkyVarStep.call(ModelLibrary(exposures))
    with library:
        for index, model in enumerate(library):
            reason = metrics(model)["sky_refused"]
            assert "overlaps" in reason
            assert ("more than the lowest" in reason) == (index != 1)
            assert "SKY NOT SUBTRACTED" in skyvar_lines(model)[-1]
            np.testing.assert_allclose(model.data, given[index], rtol=1e-6, atol=1e-7)
            assert (model.meta.background.level, model.meta.background.subtracted) == (0.0, False)
            library.shelve(model, index, modify=False)


def test_without_the_variance_of_a_flat():
    """flat_field was skipped."""
    model, _ = cal()
    model.var_flat = None
    result = SkyVarStep.call(model)
    assert metrics(result)["sky"] == pytest.approx(SKY, rel=0.01)


@pytest.mark.parametrize("plane", ["err", "dq"])
def test_without_a_plane_that_follows_from_others(plane):
    model, _ = cal()
    expected = SkyVarStep.call(model)
    setattr(model, plane, None)
    result = SkyVarStep.call(model)
    for name in ("data", "err", "dq"):
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), rtol=1e-6)


def test_without_a_variance_is_an_error_that_names_it():
    model, _ = cal()
    model.var_rnoise = None
    with pytest.raises(StepError, match="has no VAR_RNOISE"):
        SkyVarStep.call(model)


@pytest.mark.parametrize("method", ["sky", "published"])
def test_sky_without_any_noise_is_not_scaled(method):
    """As images that are made up for tests have it."""
    model, _ = cal()
    model.data[...] = SKY
    model.data[5, 5] = 2 * SKY  # one value everywhere would be no measurement
    result = SkyVarStep.call(model, variance_method=method)
    assert "does not scatter" in " ".join(skyvar_lines(result))
    assert "variance_factor" not in metrics(result)


# -- the pedestal in the eyes of jwst


@pytest.mark.parametrize(
    ("level", "subtracted", "total"), [(None, None, SKY), (0.19, False, SKY), (0.05, True, 0.25)]
)
def test_background_keywords(level, subtracted, total):
    """skymatch may have measured a sky, or subtracted one."""
    model, _ = cal()
    model.meta.background.level, model.meta.background.subtracted = level, subtracted
    result = SkyVarStep.call(model)
    assert result.meta.background.subtracted is True
    assert result.meta.background.level == pytest.approx(total, abs=4 * 2.2 * NOISE / 256)
    assert "mode" in result.meta.background.method


def test_no_sky_leaves_image_and_keywords():
    model, _ = cal()
    model.meta.background.level, model.meta.background.subtracted = 0.19, False
    result = SkyVarStep.call(model, sky_method="none")
    np.testing.assert_array_equal(result.data, model.data)
    assert result.meta.background.level == 0.19
    assert result.meta.background.subtracted is False


def test_resample_neither_forgets_nor_repeats_the_sky():
    library = ModelLibrary([cal(number)[0] for number in (1, 2)])
    with library:
        for index in range(2):
            model = library.borrow(index)
            model.meta.background.level, model.meta.background.subtracted = 0.5, False
            library.shelve(model, index)
    mosaic = drizzle(SkyVarStep.call(library))
    # two exposures; the source is a small part of the image
    assert abs(np.nanmedian(mosaic.data)) < 0.01 * SKY


@pytest.mark.slow
def test_outlier_detection_takes_the_exposures():
    """With a level that is not said to be (un)subtracted every pixel would be an outlier."""
    library = ModelLibrary([cal(number)[0] for number in (1, 2, 3, 4)])
    result = OutlierDetectionStep(in_memory=True).process(SkyVarStep.call(library))
    with result:
        for index in range(4):
            model = result.borrow(index)
            assert np.mean(model.dq & dqflags.pixel["OUTLIER"] > 0) < 1e-3
            result.shelve(model, index, modify=False)


# -- holes


@pytest.fixture(scope="module")
def sound_mosaic():
    """Two exposures without a bad pixel."""
    models = [cal(number, sources=False)[0] for number in (1, 2)]
    return drizzle(SkyVarStep.call(ModelLibrary(models)))


def holes_in(model, kind):
    """Make 3 x 3 pixels bad as ``kind`` says; return where, every 32 pixels."""
    spot = np.zeros(SHAPE, bool)
    for y in range(40, 220, 32):
        for x in range(40, 220, 32):
            spot[y : y + 3, x : x + 3] = True
    planes, value, flagged = kind
    for name in planes:
        getattr(model, name)[spot] = value
    if flagged:
        model.dq[spot] |= DO_NOT_USE
    model.data[spot] = 100.0 if flagged or "var_rnoise" in planes else model.data[spot]
    return spot


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        (PLANES, 0.0, True),
        (PLANES, np.inf, True),
        (PLANES, np.inf, False),
        (("var_rnoise",), 0.0, False),
        (("var_rnoise",), np.nan, False),
        (("var_poisson",), 0.0, False),
        (("var_poisson",), np.inf, False),
        (("var_flat",), np.inf, False),
        ((), 0.0, True),
    ],
)
def test_no_hole_in_the_mosaic_and_no_weight_for_a_bad_pixel(kind, sound_mosaic):
    models = [cal(number, sources=False)[0] for number in (1, 2)]
    spot = holes_in(models[0], kind)
    mosaics = sound_mosaic, drizzle(SkyVarStep.call(ModelLibrary(models)))
    inside = np.s_[8:-8, 8:-8]
    data = [mosaic.data[inside] for mosaic in mosaics]
    err = [mosaic.err[inside] for mosaic in mosaics]
    assert np.isfinite(err[1]).all()
    # under a bad pixel the error is that of one exposure, elsewhere as without
    ratio = err[1] / err[0]
    assert ratio.min() > 0.97
    assert ratio.max() < 1.03 * np.sqrt(2.0)
    # a value of 100 with any weight would stand out; one exposure less adds noise
    assert np.abs(data[1] - data[0]).max() < 6 * NOISE
    dropped = "var_rnoise" in kind[0] or kind[2]
    assert (ratio.max() > 1.35) == dropped
    assert spot.any()


def test_a_pixel_that_is_bad_everywhere_is_a_hole_in_data_and_error_alike():
    models = [cal(number, sources=False)[0] for number in (1, 2)]
    for model in models:
        model.dq[100:110, 100:110] = DO_NOT_USE
    mosaic = drizzle(SkyVarStep.call(ModelLibrary(models)))
    np.testing.assert_array_equal(np.isnan(mosaic.data), np.isnan(mosaic.err))
    assert np.isnan(mosaic.err[20:-20, 20:-20]).sum() > 36


def test_holes_are_counted_and_flagged():
    model, _ = cal()
    model.var_rnoise[10, 10] = 0.0
    model.var_poisson[20, 20] = 0.0
    result = SkyVarStep.call(model)
    assert metrics(result)["pixels_dropped"] == 1
    assert metrics(result)["variances_filled"] == 1
    assert result.dq[10, 10] & DO_NOT_USE
    assert np.isnan([getattr(result, name)[10, 10] for name in ("data", "err", *PLANES)]).all()
    # the sky's share is in VAR_RNOISE, so the error there is that of its neighbours
    assert result.err[20, 20] == pytest.approx(np.nanmedian(result.err), rel=0.1)


def test_holes_may_stay():
    model, _ = cal()
    model.var_rnoise[10, 10], model.var_flat[20, 20] = 0.0, np.inf
    result = SkyVarStep.call(model, fill_holes=False)
    assert result.var_rnoise[10, 10] == 0.0
    assert np.isinf(result.var_flat[20, 20])
    assert not result.dq.any()
    assert np.isfinite(result.data[10, 10])


def test_nothing_but_the_sky():
    model, _ = cal()
    result = SkyVarStep.call(model, fill_holes=False, scale_variance=False)
    for name in ("err", "dq", *PLANES):
        np.testing.assert_array_equal(getattr(result, name), getattr(model, name))


# -- twice


def test_the_name_of_a_product_can_be_given(tmp_path):
    SkyVarStep.call(saved(tmp_path), output_file="mine.fits", output_dir=str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine_match.fits"]


def test_twice_is_once(caplog):
    first = SkyVarStep.call(cal()[0])
    with caplog.at_level(logging.WARNING):
        second = SkyVarStep.call(first)
    assert "already" in caplog.text
    for name in ("data", "err", "dq", *PLANES):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    assert len(skyvar_lines(second)) == 1
    assert second.meta.background.level == first.meta.background.level


def test_history_alone_tells_that_it_was_done(tmp_path):
    """Status and figures are lost when a program rewrites the file without its ASDF part."""
    first = SkyVarStep.call(cal()[0])
    del first.meta.instance["cal_step"]["ceers_skyvar"]
    del first.meta.instance["ceers_steps"]
    second = SkyVarStep.call(first)
    np.testing.assert_array_equal(second.data, first.data)
    assert len(skyvar_lines(second)) == 1


def test_other_history_does_not_count():
    model, _ = cal()
    entry = HistoryEntry({"description": "ceers_steps 0.1 ceers_skyvar SKIPPED; no reason"})
    model.instance["history"] = {"entries": [entry]}
    assert abs(SkyVarStep.call(model).meta.background.level - SKY) < 0.01 * SKY


@pytest.mark.parametrize("parameters", [{}, {"variance_method": "published"}])
def test_forced_again_nothing_is_done_twice(parameters):
    first = SkyVarStep.call(cal(excess=1.1)[0])
    again = SkyVarStep.call(first, force=True, **parameters)
    assert again.meta.background.level == pytest.approx(
        first.meta.background.level, abs=metrics(first)["sky_err"]
    )
    assert abs(np.median(again.data - first.data)) < metrics(first)["sky_err"]
    assert len(skyvar_lines(again)) == 2
    if not parameters:
        np.testing.assert_allclose(again.err, first.err, rtol=0.02)
        third = SkyVarStep.call(again, force=True)
        np.testing.assert_allclose(third.err, first.err, rtol=0.03)


def test_forced_again_with_another_mask_corrects(tmp_path):
    """A first run with a bad mask: everything but the source was masked."""
    model, _ = cal()
    mask = np.ones(SHAPE, np.uint8)
    mask[40:100, 160:220] = 0
    fits.writeto(tmp_path / "bad.fits", mask)
    first = SkyVarStep.call(model, source_mask=str(tmp_path / "bad.fits"))
    again = SkyVarStep.call(first, force=True, source_mask=str(write_mask(tmp_path)))
    assert abs(again.meta.background.level - SKY) < 4 * metrics(again)["sky_err"]
    assert np.median(again.var_rnoise) == pytest.approx(NOISE**2, rel=0.12)


def test_input_model_is_not_changed():
    model, _ = cal()
    before = model.data.copy()
    SkyVarStep.call(model)
    np.testing.assert_array_equal(model.data, before)


# -- masks


@pytest.mark.parametrize("asn", ["", "_a3001"])
def test_mask_beside_the_input(tmp_path, asn):
    path = write_mask(tmp_path)
    named = saved(tmp_path)
    if asn:
        named = named.rename(tmp_path / f"{EXPOSURE.format(1)}{asn}_crf.fits")
    result = SkyVarStep.call(str(named))
    entry = result.meta.instance["ceers_steps"]["ceers_skyvar"]
    assert entry["parameters"]["source_mask"] == str(path)


def test_mask_is_made_where_there_is_none(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        result = SkyVarStep.call(str(saved(tmp_path)))
    assert "searched for" in caplog.text
    entry = result.meta.instance["ceers_steps"]["ceers_skyvar"]
    assert entry["parameters"]["source_mask"] == "made here"


def test_mask_of_two_values(tmp_path):
    path = write_mask(tmp_path, dtype=np.int16)
    result = SkyVarStep.call(cal()[0], source_mask=str(path))
    assert abs(metrics(result)["sky"] - SKY) < 4 * metrics(result)["sky_err"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder, "no jw01345001001_02201_00001_nrcb4_1fmask"),
        (lambda folder: write_mask(folder, shape=(8, 8)), "256"),
        (lambda folder: truncated(write_mask(folder)), "not complete"),
    ],
)
def test_unusable_masks(tmp_path, make, message):
    with pytest.raises(StepError, match=message):
        SkyVarStep.call(cal()[0], source_mask=str(make(tmp_path)))


def test_missing_mask(tmp_path):
    with pytest.raises(StepError, match=r"source_mask = .*no such file"):
        SkyVarStep.call(cal()[0], source_mask=str(tmp_path / "none.fits"))


def test_all_masked(tmp_path):
    fits.writeto(tmp_path / "all.fits", np.ones(SHAPE, np.uint8))
    with pytest.raises(StepError, match="sky cannot be measured"):
        SkyVarStep.call(cal()[0], source_mask=str(tmp_path / "all.fits"))


def test_all_bad():
    model, _ = cal()
    model.dq[:] = DO_NOT_USE
    result = SkyVarStep.call(model)
    assert result.meta.cal_step.instance["ceers_skyvar"] == "SKIPPED"
    np.testing.assert_array_equal(result.data, model.data)


# -- variances that cannot be scaled


def test_too_few_blocks_leave_the_variances_and_say_so(caplog):
    model, _ = cal()
    with caplog.at_level(logging.WARNING):
        result = SkyVarStep.call(model, variance_blocks=[64])
    assert "not scaled" in caplog.text
    np.testing.assert_array_equal(result.var_rnoise, model.var_rnoise)
    np.testing.assert_array_equal(result.var_poisson, model.var_poisson)
    assert "NOT SCALED" in skyvar_lines(result)[0]
    assert metrics(result)["sky"] == pytest.approx(SKY, rel=0.01)


def test_variances_of_zero_are_no_measurement(caplog):
    model, _ = cal()
    for name in PLANES:
        getattr(model, name)[:] = 0.0
    with pytest.raises(StepError, match="no pixel has a read noise"):
        SkyVarStep.call(model)


def test_correlated_noise_is_told(caplog):
    model, _ = cal()
    rows = np.random.default_rng(5).normal(0, 0.25 * NOISE, (SHAPE[0], 1))
    model.data += rows.astype(np.float32)
    with caplog.at_level(logging.WARNING):
        result = SkyVarStep.call(model)
    assert "correlated" in caplog.text
    after = metrics(result)["scatter_after"]
    assert after[0] == pytest.approx(1.0, abs=1e-6)
    assert after[-1] > 1.2


def test_less_noise_in_large_blocks_is_recorded(caplog):
    """A fit of stripes takes some noise with it; too large errors of apertures are no warning."""
    model, _ = cal()
    means = model.data.reshape(SHAPE[0], -1, 16).mean(axis=2)
    model.data -= np.repeat(means - np.median(means), 16, axis=1)
    with caplog.at_level(logging.WARNING):
        result = SkyVarStep.call(model)
    assert "correlated" not in caplog.text
    assert metrics(result)["scatter_after"][-1] < 0.9


# -- many exposures, and files


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Input association file contains path")
@pytest.mark.parametrize("in_memory", [True, False])
def test_association(tmp_path, monkeypatch, in_memory):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cal").mkdir()
    (tmp_path / "out").mkdir()
    paths = [saved(tmp_path / "cal", number) for number in (1, 2)]
    write_mask(tmp_path / "cal", 1)
    write_mask(tmp_path, 2, asn="_a3001")
    members = [{"expname": f"cal/{path.name}", "exptype": "science"} for path in paths]
    association = {
        "asn_id": "a3001",
        "asn_pool": "none",
        "products": [{"name": "field_f150w", "members": members}],
    }
    (tmp_path / "asn.json").write_text(json.dumps(association))
    result = SkyVarStep.call(
        "asn.json", save_results=True, output_dir="out", in_memory=in_memory, save_background=True
    )
    assert isinstance(result, ModelLibrary)
    for number in (1, 2):
        (path,) = (tmp_path / "out").glob(f"{EXPOSURE.format(number)}*_match.fits")
        with datamodels.open(path) as model:
            assert model.meta.background.subtracted is True
            used = model.meta.instance["ceers_steps"]["ceers_skyvar"]["parameters"]["source_mask"]
            assert used.endswith("1fmask.fits")
            assert model.meta.cal_step.instance["ceers_skyvar"] == "COMPLETE"
            assert skyvar_lines(model)  # cut into cards, where a long version puts it
        (path,) = (tmp_path / "out").glob(f"{EXPOSURE.format(number)}*_skybkg.fits")
        # the pedestal is out of it
        assert np.abs(fits.getdata(path)).max() < 0.3 * NOISE


def test_one_mask_for_many_exposures(tmp_path):
    library = ModelLibrary([cal(number)[0] for number in (1, 2)])
    with pytest.raises(StepError, match="for 2 exposures"):
        SkyVarStep.call(library, source_mask=str(write_mask(tmp_path)))


def test_wrong_levels(tmp_path):
    with pytest.raises(StepError, match="RampModel"):
        SkyVarStep.call(datamodels.RampModel((1, 2, 8, 8)))
    mosaic, _ = cal()
    mosaic.meta.cal_step.resample = "COMPLETE"
    with pytest.raises(StepError, match="is a mosaic"):
        SkyVarStep.call(mosaic)
