"""The striping step on small subarray exposures with known stripes."""

import os

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags
from stpipe.exceptions import ValidationError

from ceers_steps.errors import CeersError
from ceers_steps.figures import exposures
from ceers_steps.kernels.sky.level import gaussian_peak
from ceers_steps.kernels.sources.tiers import mask_sources
from ceers_steps.kernels.stripes import exposure
from ceers_steps.kernels.stripes.median import flatten, median_stripes
from ceers_steps.simulate.detector.noise import one_over_f_frame
from ceers_steps.steps.base import StepError
from ceers_steps.steps.remstriping import RemStripingStep

EXPOSURE = "jw01345001001_02201_00001_nrcb4"
SHAPE = (160, 160)
SKY, NOISE = 0.3, 0.02
DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
JUMP = dqflags.pixel["JUMP_DET"]


def scene(seed=1, n_outputs=1):
    """Sky with a source through a flat field, stripes on top: rate, flat, stripes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = (1.0 + 0.1 * np.sin(x / 30.0) + rng.normal(0, 0.01, SHAPE)).astype(np.float32)
    light = SKY + 2.0 * np.exp(-np.hypot(y - 100, x - 40) / 2.0)
    stripes = one_over_f_frame(
        SHAPE, n_outputs=n_outputs, fast_axis=-1, slow_axis=2, rng=rng, amplitude=0.006
    )
    stripes -= stripes.mean()
    rate = light * flat + stripes + rng.normal(0, NOISE, SHAPE)
    return rate.astype(np.float32), flat, stripes


def describe(model, n_outputs=1, size=SHAPE):
    """Fill in the keywords of a square NIRCam subarray."""
    model.meta.instrument.name = "NIRCAM"
    model.meta.instrument.detector = "NRCB4"
    model.meta.instrument.filter = "F150W"
    model.meta.instrument.pupil = "CLEAR"
    model.meta.exposure.type = "NRC_IMAGE"
    model.meta.exposure.noutputs = n_outputs
    model.meta.subarray.name = "SUB160"
    for axis, length in zip("yx", size, strict=True):
        setattr(model.meta.subarray, f"{axis}start", 1)
        setattr(model.meta.subarray, f"{axis}size", length)
    model.meta.subarray.fastaxis = -1
    model.meta.subarray.slowaxis = 2
    return model


@pytest.fixture
def flat_file(tmp_path):
    model = describe(datamodels.FlatModel(scene()[1]))
    model.dq = np.zeros(SHAPE, np.uint32)
    model.dq[0, 5] = dqflags.pixel["NO_FLAT_FIELD"]
    path = tmp_path / "flat.fits"
    model.save(path)
    return path


def rate_model(data, kind=datamodels.ImageModel, **keywords):
    model = describe(kind(data), **keywords)
    model.dq = np.zeros(data.shape, np.uint32)
    model.err = np.full_like(data, NOISE)
    model.var_rnoise = np.full_like(data, NOISE**2)
    model.var_poisson = np.zeros_like(data)
    model.meta.filename = f"{EXPOSURE}_{'rate' if data.ndim == 2 else 'rateints'}.fits"
    return model


@pytest.fixture
def rate():
    data, _, _ = scene()
    model = rate_model(data)
    model.dq[30, 40] = DO_NOT_USE
    model.data[30, 40] = np.nan
    model.dq[31, 40] = JUMP
    model.data[50, 60] = 0.0
    return model


pytestmark = pytest.mark.usefixtures("without_crds")


@pytest.fixture(autouse=True)
def _new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def clean(model, flat_file, **parameters):
    return RemStripingStep.call(model, override_flat=str(flat_file), **parameters)


def entry(model):
    return model.meta.ceers_steps.instance["ceers_remstriping"]


WHITE_LIMIT = NOISE / 10
"""Scatter of means of 10 x 10 pixels by white noise alone."""


def block_scatter(image):
    """Scatter of 10 x 10-pixel means, far from the source."""
    return np.std(image[:, 90:].reshape(16, 10, 7, 10).mean(axis=(1, 3)))


def sky_change(result, before):
    """Mean change of the pixels of the sky, outside the mask that was written."""
    sky = (before.dq & DO_NOT_USE) == 0
    sky &= fits.getdata(f"{EXPOSURE}_1fmask.fits") == 0
    change = (result.data - before.data)[sky]
    # the pixel that was exactly 0 keeps its value
    return np.sum(change, dtype=float) / change.size


def test_median_is_the_kernel_on_the_flattened_frame(rate, flat_file):
    result = clean(
        rate,
        flat_file,
        method="median",
        mask_threshold=0.8,
        pedestal="published",
        search_destriped=False,
    )
    _, flat, _ = scene()
    flat[0, 5] = np.nan
    work = flatten(rate.data, flat)
    bits = mask_sources(work, (rate.dq & DO_NOT_USE) > 0)
    usable = np.isfinite(work) & (rate.dq == 0) & (bits == 0)
    level = gaussian_peak(work[usable], -1.0, 1.5, 0.001)
    expected = rate.data - median_stripes(work, ~usable, 1, 0.8, level).total
    expected[50, 60] = 0.0
    expected[30, 40] = 0.0
    np.testing.assert_allclose(result.data, expected, atol=1e-7)
    assert result.meta.cal_step.instance["ceers_remstriping"] == "COMPLETE"
    assert entry(result)["parameters"]["mask_threshold"] == 0.8


def test_stripes_go_and_the_sky_stays(rate, flat_file):
    data, _, stripes = scene()
    result = clean(rate, flat_file, method="median")
    error = block_scatter(data - stripes - result.data)
    # clipped medians of 100 pixels or more along rows, and drifts within a row
    assert error < 1.8 * WHITE_LIMIT < 0.5 * block_scatter(stripes)
    assert abs(sky_change(result, rate)) < 1e-4 * SKY
    assert abs(entry(result)["metrics"]["sky_change"]) < 1e-6 * SKY
    assert entry(result)["metrics"]["sky"] == pytest.approx(SKY, abs=0.005)


@pytest.mark.parametrize("n_ints", [0, 2])
def test_errors_know_what_is_left_under_sources(flat_file, n_ints):
    """Pixels of the mask scatter by more; the weights of mosaics, from VAR_RNOISE, stay."""
    data = scene()[0]
    kind = datamodels.CubeModel if n_ints else datamodels.ImageModel
    rate = rate_model(np.stack(n_ints * [data]) if n_ints else data, kind)
    result = clean(rate, flat_file)
    masked = fits.getdata(f"{EXPOSURE}_1fmask.fits") & ~np.uint8(2) > 0  # all but the widest tier
    added = result.var_poisson - rate.var_poisson
    assert added[..., masked].min() > 1e-3 * NOISE**2
    assert np.median(added[..., ~masked]) == 0
    np.testing.assert_array_equal(result.var_rnoise, rate.var_rnoise)
    np.testing.assert_allclose(result.err, np.sqrt(rate.err**2 + added), rtol=1e-6)
    published = clean(rate, flat_file, method="median")
    np.testing.assert_array_equal(published.var_poisson, rate.var_poisson)


def test_wiener_is_better_than_median_and_keeps_the_sky(rate, flat_file):
    data, _, stripes = scene()
    errors = {}
    for method in ("wiener", "median"):
        result = clean(rate, flat_file, method=method)
        errors[method] = block_scatter(data - stripes - result.data)
        assert entry(result)["parameters"]["method"] == method
    assert errors["wiener"] < 1.1 * WHITE_LIMIT < 0.8 * errors["median"]
    result = clean(rate, flat_file)
    assert entry(result)["parameters"]["method"] == "wiener"
    assert abs(sky_change(result, rate)) < 1e-4 * SKY
    metrics = entry(result)["metrics"]
    assert metrics["sky"] == pytest.approx(SKY, abs=0.005)
    # the fastest of the 1/f noise cannot be told from white noise
    assert NOISE < metrics["white_sigma"] < 1.3 * NOISE


def test_wiener_leaves_nan_as_jwst_has_it(rate, flat_file):
    rate.data[70, 71] = np.nan
    result = clean(rate, flat_file, method="wiener")
    assert np.isnan(result.data[70, 71])
    assert result.dq[70, 71] & DO_NOT_USE
    assert result.data[50, 60] == 0.0
    assert np.sum(np.isnan(result.data)) == 2


def test_input_is_not_changed(rate, flat_file):
    before, dq = rate.data.copy(), rate.dq.copy()
    clean(rate, flat_file)
    np.testing.assert_array_equal(rate.data, before)
    np.testing.assert_array_equal(rate.dq, dq)


def test_twice_is_once(rate, flat_file):
    once = clean(rate, flat_file)
    twice = clean(once, flat_file)
    np.testing.assert_array_equal(twice.data, once.data)


def test_covered_by_wide_light_is_fitted_all_the_same(rate, flat_file, monkeypatch):
    """A frame that the widest tier covers whole: the sky is modelled there, not masked."""
    everywhere = np.full(SHAPE, 0b10, np.uint8)
    monkeypatch.setattr(exposure, "mask_sources", lambda *arguments: everywhere)
    data, _, stripes = scene()
    result = clean(rate, flat_file, method="wiener")
    assert block_scatter(data - stripes - result.data) < 1.2 * WHITE_LIMIT


def test_zero_stays_and_bad_pixels_are_flagged(rate, flat_file):
    rate.data[70, 71] = np.nan
    result = clean(rate, flat_file, method="median")
    assert result.data[50, 60] == 0.0
    assert result.data[70, 71] == result.data[30, 40] == 0.0
    assert result.dq[70, 71] & DO_NOT_USE
    assert np.sum(result.dq & DO_NOT_USE > 0) == 2


def test_extra_products(rate, flat_file, tmp_path):
    out = tmp_path / "out"
    result = clean(
        rate,
        flat_file,
        save_patterns=True,
        save_plots=True,
        save_results=True,
        tilted_angles=[30.0, 150.0],
        output_dir=str(out),
    )
    names = {"remstriping.fits", "1fmask.fits", "horiz.fits", "vert.fits", "tilt.fits", "1f.png"}
    assert {path.name for path in out.iterdir()} == {f"{EXPOSURE}_{name}" for name in names}
    pattern = sum(fits.getdata(out / f"{EXPOSURE}_{n}.fits") for n in ("horiz", "vert", "tilt"))
    kept = rate.data != 0
    kept &= np.isfinite(rate.data)
    np.testing.assert_allclose((rate.data - pattern)[kept], result.data[kept], atol=1e-7)
    bits = fits.getdata(out / f"{EXPOSURE}_1fmask.fits")
    assert bits[100, 40] > 1
    assert bits[30, 40] & 1


def test_extra_products_of_rate_and_rateints_are_different_files(flat_file, tmp_path, monkeypatch):
    # test_extra_products draws one
    monkeypatch.setattr(exposures, "striping_figure", lambda path, *args, **kwargs: path.touch())
    data = np.stack([scene(seed)[0] for seed in (1, 2)])
    extras = {"save_patterns": True, "save_plots": True, "output_dir": str(tmp_path)}
    clean(rate_model(data[0]), flat_file, **extras)
    clean(rate_model(data, datamodels.CubeModel), flat_file, **extras)
    for suffix in ("horiz", "vert"):
        assert fits.getdata(tmp_path / f"{EXPOSURE}_{suffix}.fits").shape == SHAPE
        assert fits.getdata(tmp_path / f"{EXPOSURE}_{suffix}ints.fits").shape == (2, *SHAPE)
    assert {path.name for path in tmp_path.glob("*_1f*.png")} == {
        f"{EXPOSURE}_1f.png",
        f"{EXPOSURE}_1fints.png",
    }


def test_mask_from_a_file_takes_the_place_of_the_search(rate, flat_file, tmp_path):
    mask = np.zeros(SHAPE, np.int32)
    mask[80:120, 20:60] = 256
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(mask)]).writeto(tmp_path / "mask.fits")
    clean(rate, flat_file, source_mask=str(tmp_path / "mask.fits"))
    np.testing.assert_array_equal(fits.getdata(f"{EXPOSURE}_1fmask.fits") > 0, mask > 0)


def test_a_cal_image_is_refused(rate, flat_file):
    """It has the data model of a rate image, and another unit."""
    rate.meta.cal_step.flat_field = rate.meta.cal_step.photom = "COMPLETE"
    with pytest.raises(StepError, match=r"flat_field and photom applied already.*_rate\.fits"):
        clean(rate, flat_file)


@pytest.mark.parametrize("content", [None, np.zeros((3, 3), np.uint8), "text", "cut off"])
def test_unusable_mask_file(rate, flat_file, tmp_path, content):
    path = tmp_path / "mask.fits"
    if isinstance(content, str) and content == "cut off":
        fits.PrimaryHDU(np.zeros(SHAPE, np.uint8)).writeto(path)
        os.truncate(path, 20000)
    elif isinstance(content, str):
        path.write_text(content)
    else:
        fits.PrimaryHDU(content).writeto(path)
    with pytest.raises(StepError, match=r"source_mask=.*mask\.fits"):
        clean(rate, flat_file, source_mask=str(path))


@pytest.mark.parametrize("method", ["median", "wiener"])
def test_every_integration_has_stripes_of_its_own(flat_file, method):
    frames = [scene(), scene(seed=2)]
    # the flat field of the second scene differs in its noise only: use that of the first
    cube = np.stack([data for data, _, _ in frames])
    model = rate_model(cube, datamodels.CubeModel)
    result = clean(model, flat_file, method=method)
    for plane, (data, _, stripes) in zip(result.data, frames, strict=True):
        assert block_scatter(data - stripes - plane) < 1.8 * WHITE_LIMIT
    assert fits.getdata(f"{EXPOSURE}_1fmask.fits").shape == SHAPE


@pytest.mark.parametrize("method", ["median", "wiener"])
def test_four_outputs(flat_file, method):
    data, _, stripes = scene(n_outputs=4)
    model = rate_model(data, n_outputs=4)
    result = clean(model, flat_file, method=method)
    assert block_scatter(data - stripes - result.data) < 1.8 * WHITE_LIMIT


@pytest.mark.parametrize(
    "given", [{"apply_flat": False}, {"override_flat": "N/A"}, {"override_flat": ""}]
)
def test_without_flat_field(rate, given):
    result = RemStripingStep.call(rate, **given)
    assert entry(result)["parameters"]["apply_flat"] is False


def test_overrides(rate, flat_file, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(f"exposure,mask_threshold,skip_remstriping\n{EXPOSURE},0.25,\n")
    result = clean(rate, flat_file, method="median", overrides=str(table))
    assert entry(result)["parameters"]["mask_threshold"] == 0.25
    table.write_text(f"exposure,mask_threshold,skip_remstriping\n{EXPOSURE},0.25,true\n")
    result = clean(rate, flat_file, overrides=str(table))
    assert result.meta.cal_step.instance["ceers_remstriping"] == "SKIPPED"
    np.testing.assert_array_equal(result.data, rate.data)


@pytest.mark.parametrize(("name", "kind"), [("NIRCAM", "NRC_WFSS"), ("NIRISS", "NIS_IMAGE")])
def test_other_exposures_are_skipped(rate, name, kind):
    rate.meta.instrument.name = name
    rate.meta.exposure.type = kind
    result = RemStripingStep.call(rate)
    assert result.meta.cal_step.instance["ceers_remstriping"] == "SKIPPED"
    np.testing.assert_array_equal(result.data, rate.data)


@pytest.mark.parametrize(
    ("detector", "kind", "axes"),
    [("MIRIMAGE", "MIR_IMAGE", (1, 2)), ("NIS", "NIS_IMAGE", (-2, -1))],
)
@pytest.mark.parametrize("method", ["median", "wiener"])
def test_other_instruments_on_request(rate, flat_file, detector, kind, axes, method):
    """Whatever the order of read-out: stripes of any direction, rows and columns too."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    tilted = NOISE * np.sin((y * np.cos(np.pi / 6) - x * np.sin(np.pi / 6)) / 4.0)
    rate.data += tilted.astype(np.float32)
    rate.meta.instrument.name = {"MIR_IMAGE": "MIRI", "NIS_IMAGE": "NIRISS"}[kind]
    rate.meta.instrument.detector = detector
    rate.meta.exposure.type = kind
    rate.meta.subarray.fastaxis, rate.meta.subarray.slowaxis = axes
    with fits.open(flat_file, mode="update") as flat:
        flat[0].header.update(INSTRUME=rate.meta.instrument.name, DETECTOR=detector)
    options = {"other_instruments": True, "method": method}
    result = clean(rate, flat_file, tilted_angles=[30.0, 150.0], **options)
    assert result.meta.cal_step.instance["ceers_remstriping"] == "COMPLETE"
    rate.data -= tilted.astype(np.float32)
    without = clean(rate, flat_file, **options)
    inside = np.hypot(y - 80, x - 80) < 60
    inside &= np.isfinite(result.data - without.data)
    # lines of 60 to 90 pixels, of which 40% are masked
    left = np.polyfit(tilted[inside], (result.data - without.data)[inside], 1)[0]
    assert abs(left) < 0.2


@pytest.mark.parametrize("value", ["automatic", -0.1, 1.5, "nan"])
def test_bad_threshold(rate, flat_file, value):
    with pytest.raises(StepError, match="mask_threshold="):
        clean(rate, flat_file, mask_threshold=value)


def test_stripes_that_jwst_has_taken_out(rate, flat_file, caplog):
    expected = clean(rate, flat_file).data
    rate.meta.cal_step.clean_flicker_noise = "COMPLETE"
    left = clean(rate, flat_file)
    np.testing.assert_array_equal(left.data, rate.data)
    assert left.meta.cal_step.instance["ceers_remstriping"] == "SKIPPED"
    assert "S_CLNFNS" in caplog.text
    np.testing.assert_array_equal(clean(rate, flat_file, force=True).data, expected)


def test_done_before_is_known_by_the_header_alone(rate, flat_file):
    done = clean(rate, flat_file)
    del done.meta.cal_step.instance["ceers_remstriping"]  # as when the ASDF extension is lost
    np.testing.assert_array_equal(clean(done, flat_file).data, done.data)


@pytest.mark.parametrize("keyword", ["fastaxis", "slowaxis"])
def test_read_out_order_follows_from_the_detector(rate, flat_file, keyword):
    expected = clean(rate, flat_file).data
    setattr(rate.meta.subarray, keyword, None)
    np.testing.assert_array_equal(clean(rate, flat_file).data, expected)


@pytest.mark.parametrize("keyword", ["fastaxis", "slowaxis"])
def test_unknown_read_out_order(rate, flat_file, keyword):
    setattr(rate.meta.subarray, keyword, None)
    rate.meta.instrument.detector = None
    with pytest.raises(StepError, match=keyword.upper()):
        clean(rate, flat_file)


def test_rows_are_not_read_along_x(rate, flat_file):
    rate.meta.subarray.fastaxis, rate.meta.subarray.slowaxis = 2, 1
    with pytest.raises(StepError, match="FASTAXIS=2"):
        clean(rate, flat_file)


def test_unknown_method(rate):
    with pytest.raises(ValidationError, match="method"):
        RemStripingStep.call(rate, method="mean")


@pytest.mark.parametrize("how", ["nan", "flagged", "covered"])
def test_nothing_to_fit(rate, flat_file, tmp_path, how):
    parameters = {}
    if how == "nan":
        rate.data[:] = np.nan
    elif how == "flagged":
        rate.dq[:] = DO_NOT_USE
    else:
        fits.PrimaryHDU(np.ones(SHAPE, np.uint8)).writeto(tmp_path / "mask.fits")
        parameters["source_mask"] = str(tmp_path / "mask.fits")
    if how == "covered":
        with pytest.raises(StepError, match=rf"{EXPOSURE}_rate\.fits: no stripes can be fitted"):
            clean(rate, flat_file, save_results=True, **parameters)
        assert issubclass(StepError, CeersError)
        assert not list(tmp_path.glob("*remstriping*"))
    else:
        result = clean(rate, flat_file, save_results=True, **parameters)
        assert result.meta.cal_step.instance["ceers_remstriping"] == "SKIPPED"
    assert not list(tmp_path.glob("*1fmask*"))


def test_light_that_hides_the_stripes_is_said(caplog):
    rate = scene()[0]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    star = 3e3 / (1.0 + np.hypot(y - 80, x - 85) ** 2)
    rate += star.astype(np.float32)
    with caplog.at_level("INFO", "ceers_steps"):
        result = RemStripingStep.call(rate_model(rate), apply_flat=False)
    # better nothing than wings taken for stripes
    np.testing.assert_array_equal(result.data, rate)
    assert "light hides the stripes" in caplog.text
    entry = result.meta.instance["ceers_steps"]["ceers_remstriping"]
    assert np.isnan(entry["metrics"]["predicted_error"])
