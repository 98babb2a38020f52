"""The scale of a wisp: known wisps under noise, stripes, sources and bad pixels."""

import numpy as np
import pytest
from astropy.stats import median_absolute_deviation
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import Background2D
from scipy import ndimage, optimize

from ceers_steps.kernels.wisps.fit import fit_wisp
from ceers_steps.kernels.wisps.published import (
    PUBLISHED_BOXES,
    cold_source_mask,
    fit_wisp_published,
    published_box,
)
from ceers_steps.kernels.wisps.system import solve_non_negative
from ceers_steps.kernels.wisps.template import prepare_template
from ceers_steps.simulate.detector.noise import one_over_f_frame

SHAPE = (320, 512)
SKY, NOISE, PEAK, SCALE = 0.12, 0.01, 0.03, 0.7
NOTHING_MASKED = np.zeros(SHAPE, bool)
ERR = np.full(SHAPE, NOISE, np.float32)


def wisp(turn=0.5, x_middle=300, y_middle=190):
    """Two curved filaments with a veil, in DN/s."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    x, y = x - x_middle, y - y_middle
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    image = np.zeros(SHAPE, np.float32)
    for offset, width, strength in ((-30, 8, 1.0), (35, 14, 0.7), (0, 45, 0.3)):
        distance = across - offset - along**2 / 400
        image += strength * np.exp(-0.5 * (distance / width) ** 2 - 0.5 * (along / 70) ** 2)
    return (PEAK * image / image.max()).astype(np.float32)


def exposure(seed, scale=SCALE, stripes=0.0, light=0.0):
    rng = np.random.default_rng(seed)
    image = SKY + scale * wisp() + light + NOISE * rng.standard_normal(SHAPE)
    if stripes:
        image = image + one_over_f_frame(
            SHAPE, n_outputs=4, fast_axis=1, slow_axis=2, rng=rng, amplitude=stripes
        )
    return image.astype(np.float32)


def fit(image, template=None, mask=NOTHING_MASKED, **keywords):
    template = prepare_template(wisp()) if template is None else template
    return fit_wisp(image, ERR, mask, template, **keywords)


@pytest.fixture(scope="module")
def template():
    return prepare_template(wisp())


def errors_of(template, n_seeds, **keywords):
    """Errors of the scale over seeds, in DN/DN and in quoted standard errors."""
    fits = [fit(exposure(seed, **keywords), template) for seed in range(n_seeds)]
    error = np.array([found.scales[0] for found in fits]) - SCALE
    return error, error / [found.scale_errs[0] for found in fits]


@pytest.mark.parametrize("stripes", [0.0, 0.001])
def test_scale_and_its_error(template, stripes):
    # of 16 draws, the mean lies within 4 standard errors and the rms pull below 1.5 (99.8%)
    error, pull = errors_of(template, 16, stripes=stripes)
    assert abs(error.mean()) < 4 * error.std(ddof=1) / np.sqrt(16)
    assert np.sqrt(np.mean(pull**2)) < 1.5
    assert np.sqrt(np.mean(error**2)) < 0.03 * SCALE


def test_nothing_is_found_where_there_is_nothing(template):
    # a one-sided 5 sigma event in 16 draws has a probability of 5e-6
    fits = [fit(exposure(seed, scale=0, stripes=0.001), template) for seed in range(16)]
    assert max(found.significance for found in fits) < 5
    assert all(found.scales[0] >= 0 for found in fits)


def test_noise_in_the_template_does_not_dilute_the_scale():
    # this noise is a third of the wisp's rms: regressed on itself, it costs 7% of the scale
    rng = np.random.default_rng(1007)
    noise = 0.003 * rng.standard_normal(SHAPE)
    error, _ = errors_of(prepare_template(wisp() + noise), 16)
    # the noise of the one template shifts all draws alike, by about noise / NOISE of a draw's error
    shift = np.hypot(1 / np.sqrt(16), 0.3 * SCALE) * error.std(ddof=1)
    assert abs(error.mean()) < 4 * shift


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), size=st.floats(0.001, 0.3), constant=st.floats(-0.3, 0.3))
def test_row_levels_and_a_smooth_background_change_nothing(template, seed, size, constant):
    image = exposure(1)
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.normal(0, size, (SHAPE[0], 4)), SHAPE[1] // 4, axis=1)
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    sky = constant * (1 + 0.3 * x - 0.2 * y + 0.1 * x * y + 0.1 * x**2 * y - 0.3 * x**3)
    plain = fit(image, template)
    # the source masks differ by the rounding of single pixels at the threshold
    assert_allclose(
        fit((image + levels + sky).astype(np.float32), template).scales,
        plain.scales,
        atol=0.2 * plain.scale_errs[0],
    )


def test_masked_pixels_are_left_out(template):
    image = exposure(2)
    mask = np.random.default_rng(0).random(SHAPE) < 0.1
    spoilt = image.copy()
    spoilt[mask] = np.random.default_rng(1).choice([np.nan, np.inf, 0.0, 1e6], mask.sum())
    found = fit(spoilt, template, mask)
    assert_array_equal(found.scales, fit(image, template, mask).scales)
    assert found.n_pixels <= (~mask).sum()
    assert_array_equal(mask, np.random.default_rng(0).random(SHAPE) < 0.1)


@pytest.mark.parametrize("spoil", [np.nan, "mask"])
def test_nothing_to_fit(template, spoil):
    image = exposure(3)
    mask = np.full(SHAPE, spoil == "mask")
    if spoil != "mask":
        image[:] = spoil
    found = fit(image, template, mask)
    assert_array_equal(found.scales, [0.0])
    assert (found.significance, found.n_pixels) == (0.0, 0)


def test_an_image_of_one_value_has_no_wisp(template):
    found = fit(np.full(SHAPE, SKY, np.float32), template)
    assert_allclose(found.scales, 0, atol=1e-6)


def test_a_bright_galaxy_on_the_wisp(template):
    # it outshines the wisp over thousands of pixels; what is left must do, and the error say so
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for seed, (yc, xc) in enumerate([(190, 300), (150, 260), (220, 340)]):
        galaxy = 2.0 * np.exp(-np.hypot(y - yc, (x - xc) / 0.7) / 6)
        found = fit(exposure(seed, light=galaxy), template)
        assert abs(found.scales[0] - SCALE) < 3 * found.scale_errs[0]
        assert found.scale_errs[0] < 0.06 * SCALE


def test_the_flat_and_the_two_frames_of_a_template(template):
    rng = np.random.default_rng(5)
    flat = (1 + 0.2 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 20) * 40).astype("f4")
    assert np.ptp(flat) > 0.3
    image = exposure(4)
    plain = fit(image, template)
    flat[10, 20] = np.nan
    same = fit(np.where(np.isnan(flat), 1, flat) * image, template, flat=flat)
    # the error is divided by the flat as well: weights differ a little
    assert_allclose(same.scales, plain.scales, atol=0.5 * plain.scale_errs[0])

    # a template that holds the flat: the wisp is subtracted as it is
    flat[10, 20] = 1
    raw = prepare_template(wisp() * flat)
    same = fit(image * flat, raw, flat=flat, flatten_template=True)
    assert_allclose(same.scales, plain.scales, atol=0.5 * plain.scale_errs[0])


def test_several_components():
    other = wisp(turn=-0.6, x_middle=250, y_middle=160)
    template = prepare_template(np.stack([wisp(), other]))
    image = exposure(6) + np.float32(0.4) * other
    found = fit(image, template)
    assert np.all(np.abs(found.scales - [SCALE, 0.4]) < 4 * found.scale_errs)
    model = np.zeros(SHAPE)
    model[template.box] = template.model([SCALE, 0.4])
    # all but the faint outskirts is in the model
    assert_allclose(model, SCALE * wisp() + 0.4 * other, atol=0.02 * PEAK)

    image -= np.float32(0.9) * other
    found = fit(image, template)
    assert found.scales[1] == 0
    assert found.scales[0] > 0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10000), size=st.integers(1, 5))
def test_non_negative_solution_is_that_of_scipy(seed, size):
    rng = np.random.default_rng(seed)
    design, data = rng.normal(size=(20, size)), rng.normal(size=20)
    expected, _ = optimize.nnls(design, data)
    assert_allclose(solve_non_negative(design.T @ design, design.T @ data), expected, atol=1e-8)


@pytest.mark.parametrize("wrong", ["err", "mask", "flat", "template"])
def test_wrong_shapes(template, wrong):
    arrays = {"err": ERR, "mask": NOTHING_MASKED, "flat": np.ones(SHAPE)}
    image = exposure(0)
    if wrong == "template":
        image, arrays = image[:-1], {name: array[:-1] for name, array in arrays.items()}
    else:
        arrays[wrong] = arrays[wrong][:-1]
    with pytest.raises(ValueError, match=f"{wrong} has shape"):
        fit_wisp(image, arrays["err"], arrays["mask"], template, n_outputs=4, flat=arrays["flat"])
    with pytest.raises(ValueError, match="n_outputs=3"):
        fit(exposure(0), template, n_outputs=3)


class TestTemplate:
    def test_pedestal_and_noise_stay_out_of_the_model(self):
        noise = 0.002 * np.random.default_rng(3).standard_normal(SHAPE)
        template = prepare_template(wisp() + noise + 0.01)
        model = np.zeros(SHAPE, np.float32)
        model[template.box] = template.model([1.0])
        assert (model == 0).mean() > 0.3
        assert_array_equal(model[:30, :100], 0)
        assert abs(np.mean(model - wisp())) < 0.01 * PEAK
        assert_allclose(template.model([0.5]), 0.5 * template.model([1.0]), rtol=1e-6)

    def test_it_fades_without_a_step(self):
        template = prepare_template(wisp())
        for axis in (0, 1):
            assert np.abs(np.diff(template.taper, axis=axis)).max() < 0.07
        assert template.taper.max() == 1

    def test_unknown_pixels(self):
        image = wisp()
        image[180:184, 295:300] = np.nan
        template = prepare_template(image)
        assert np.all(np.isfinite(template.model([1.0])))
        assert fit(exposure(0), template).scales[0] == pytest.approx(SCALE, rel=0.03)

    def test_nothing_but_noise_is_refused(self):
        for empty in (np.zeros(SHAPE), np.full(SHAPE, np.nan)):
            with pytest.raises(ValueError, match="no wisp above its noise"):
                prepare_template(empty)
        with pytest.raises(ValueError, match="neither one template nor a stack"):
            prepare_template(np.zeros(5))

    def test_subarray(self, template):
        part = template.cut(100, 128, (200, 256))
        assert part.shape == (200, 256)
        whole, cut = np.zeros(SHAPE, np.float32), np.zeros((200, 256), np.float32)
        whole[template.box] = template.model([1.0])
        cut[part.box] = part.model([1.0])
        assert_array_equal(cut, whole[100:300, 128:384])
        inside = slice(100, 300), slice(128, 384)
        found = fit_wisp(
            exposure(0)[inside], ERR[inside], NOTHING_MASKED[inside], part, n_outputs=1
        )
        assert abs(found.scales[0] - SCALE) < 4 * found.scale_errs[0]

        assert template.cut(0, 0, (40, 40)) is None
        with pytest.raises(ValueError, match="does not fit"):
            template.cut(300, 0, (40, 40))


class TestPublished:
    box = (slice(40, 300), slice(100, 480))

    def test_same_as_the_published_formula(self):
        image = exposure(8)
        mask = np.random.default_rng(2).random(SHAPE) < 0.05
        image[5, 5:9] = 0
        template = wisp()
        template[200, 300] = np.nan
        found = fit_wisp_published(image, mask, template, self.box)

        plain = np.nan_to_num(template)
        plain[image == 0] = 0
        plain = ndimage.gaussian_filter(plain, 2.0, mode="constant", truncate=3.5)[self.box]
        data = np.where(mask, 0, image)[self.box]
        coefficients = np.arange(0.01, 1.2, 0.02)
        spread = [median_absolute_deviation(data - c * plain) ** 2 for c in coefficients]
        curve = np.poly1d(np.polyfit(coefficients, spread, 2))(coefficients)
        assert_array_equal(found.scales, coefficients[np.argmin(curve)])
        assert_allclose(found.objective, spread, rtol=1e-4)
        assert np.isnan(found.scale_errs[0])

    def test_source_mask(self):
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
        galaxy = 1.0 * np.exp(-np.hypot(y - 90, x - 90) / 5)
        image = exposure(9, light=galaxy)
        err = ERR.copy()
        image[:4], err[:4] = np.nan, np.nan
        image[100, 400:410] = 5.0  # fewer than 15 pixels in a row
        found = cold_source_mask(image, err)

        # the same thresholds and shapes with another implementation of the background
        missing = np.isnan(image)
        filled = np.where(missing, 0, image)
        background = Background2D(
            filled, 256, mask=missing | ndimage.maximum_filter(galaxy > 0.01, 11), filter_size=3
        ).background
        labels, n = ndimage.label((filled > background + 5.5 * NOISE) & ~missing, np.ones((3, 3)))
        bright = np.isin(labels, 1 + np.flatnonzero(np.bincount(labels.ravel())[1:] >= 15))
        expected = ndimage.binary_dilation(bright, np.ones((15, 15)))
        assert n > 1
        assert (found ^ expected).mean() < 0.001
        assert found[90, 90]
        assert not found[100, 405]
        # the wisp is not taken for a source
        assert not found[wisp() > 0.3 * PEAK].any()

    def test_nothing_to_look_at(self):
        assert not cold_source_mask(np.full(SHAPE, np.nan), ERR).any()
        with pytest.raises(ValueError, match="no pixel"):
            fit_wisp_published(np.full(SHAPE, np.nan), NOTHING_MASKED, wisp(), self.box)
        with pytest.raises(ValueError, match="shapes differ"):
            fit_wisp_published(exposure(0), NOTHING_MASKED[1:], wisp(), self.box)

    def test_boxes(self):
        assert published_box("NRCB4", (0, 0), (2048, 2048)) == PUBLISHED_BOXES["NRCB4"]
        assert published_box("NRCB4", (1000, 1000), (640, 640)) == (slice(0, 640), slice(0, 600))
        assert published_box("NRCA4", (1000, 0), (640, 640)) is None
