"""Stripes of known noise come back, and nothing else goes with them."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ceers_steps.kernels.stripes import left_over, posterior
from ceers_steps.kernels.stripes.posterior import fit_stripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.kernels.stripes.samples import Samples
from ceers_steps.kernels.stripes.series import StripeSeries
from ceers_steps.kernels.stripes.settings import LEFT_OVER, POSTERIOR
from ceers_steps.kernels.stripes.smooth_light import SmoothLight
from ceers_steps.simulate.detector.noise import one_over_f_frame
from ceers_steps.validate.metrics import block_noise

SKY, NOISE = 0.2, 0.01
FAST, SLOW = -1, 2


@dataclasses.dataclass
class Frame:
    """An image, its parts, and the order in which it was read."""

    stripes: np.ndarray
    white: np.ndarray
    layout: ReadoutLayout

    @property
    def image(self):
        return SKY + self.stripes + self.white

    def fit(self, added=0.0, mask=None, **parameters):
        """Fit the image with something added to it."""
        mask = np.zeros(self.white.shape, bool) if mask is None else mask
        return fit_stripes(self.image + added, mask, NOISE, self.layout, **parameters)

    def block_noise(self, stripes, mask=None):
        """Noise of 16 x 16 pixels after subtraction, white noise = 1."""
        # the limit is the white noise of this very frame
        left = block_noise(self.stripes + self.white - stripes, 0, NOISE, mask=mask)
        return left.scatter / block_noise(self.white, 0, NOISE, mask=mask).scatter


def make_frame(shape=(640, 1024), n_outputs=4, seed=1, strength=0.15, correlated=0.4, exponent=1.0):
    """A frame whose stripes have this rms, in units of the white noise, per e-folding at 1 Hz."""
    rng = np.random.default_rng(seed)
    stripes = one_over_f_frame(
        shape,
        n_outputs=n_outputs,
        fast_axis=FAST,
        slow_axis=SLOW,
        rng=rng,
        amplitude=strength * NOISE,
        correlated_fraction=correlated,
        exponent=exponent,
    )
    layout = ReadoutLayout.from_keywords(shape, fast_axis=FAST, slow_axis=SLOW, n_outputs=n_outputs)
    white = rng.normal(0, NOISE, shape).astype(np.float32)
    return Frame((stripes - stripes.mean()).astype(np.float32), white, layout)


@pytest.fixture(scope="module")
def frame():
    """A frame with stripes as strong as in a rate image: blocks are three times too noisy."""
    return make_frame()


@pytest.fixture(scope="module")
def fit(frame):
    return frame.fit()


@pytest.fixture(scope="module")
def small():
    """A frame for what must be equal, whatever the noise of its blocks."""
    return make_frame((128, 512))


def distance(frame, y, x):
    """Distance of every pixel from a place, in units of the size of the frame."""
    ny, nx = frame.white.shape
    return np.hypot(*np.ogrid[-y * ny : (1 - y) * ny - 0.5, -x * nx : (1 - x) * nx - 0.5])


def disc(frame, y, x, half_light_radius=100, brightness=0.5):
    """An exponential galaxy, its brightness at the half-light radius in units of the noise."""
    radius = distance(frame, y, x) / half_light_radius
    return (brightness * NOISE * np.exp(1.678 * (1 - radius))).astype(np.float32)


def test_stripes_go_down_to_the_white_noise(frame, fit):
    """The target of 1.05, from about 3."""
    assert frame.block_noise(0) > 2.5
    assert frame.block_noise(fit.stripes) < 1.05


def test_error_is_the_predicted_one(frame, fit):
    """The error of the stripes is what the spectrum says it must be."""
    error = np.std(fit.stripes - frame.stripes)
    # stripes within one sample of four pixels are not modelled: 1/f noise above 1/8 per tick
    fast = 0.15 * NOISE * np.sqrt(np.log(4))
    assert error == pytest.approx(np.hypot(fit.predicted_error, fast), rel=0.1)


def test_spectrum_is_found(frame, fit):
    """Amplitude and common fraction of the spectrum, where there is enough of it to see."""
    seen = (fit.frequency > 3e-5) & (fit.frequency < 3e-3)
    # two-sided and per tick: S = amplitude^2 / (2 f)
    expected = (0.15 * NOISE) ** 2 / 2 / fit.frequency
    total = fit.common_spectrum + fit.output_spectrum
    ratio = total[seen] / expected[seen]
    assert np.median(ratio) == pytest.approx(1, abs=0.15)
    fraction = fit.common_spectrum[seen].sum() / total[seen].sum()
    assert fraction == pytest.approx(0.4, abs=0.12)


def test_noise_given_in_wrong_units_is_corrected(frame, fit):
    """Only the pattern of the noise given matters, its level is measured."""
    mask = np.zeros(frame.white.shape, bool)
    halved = fit_stripes(frame.image, mask, NOISE / 2, frame.layout)
    # stripes that change from one sample to the next pass for white noise
    assert 1.0 < fit.noise_scale < 1.1
    assert halved.noise_scale == pytest.approx(2 * fit.noise_scale, rel=1e-3)
    assert_allclose(halved.stripes, fit.stripes, atol=0.02 * NOISE)


def test_sky_level_stays(frame, fit):
    """Stripes have no mean over the pixels used, to rounding, and the sky is found."""
    mask = np.zeros(frame.white.shape, bool)
    mask[100:300, 200:700] = True
    masked = frame.fit(mask=mask)
    assert abs(masked.stripes[~mask].mean(dtype=float)) < 1e-5 * SKY
    assert abs(fit.stripes.mean(dtype=float)) < 1e-5 * SKY
    assert fit.sky == pytest.approx(SKY, abs=0.1 * NOISE)


def test_a_brighter_sky_changes_nothing(frame, fit):
    """Stripes do not depend on the level of the sky."""
    brighter = frame.fit(added=np.float32(10 * SKY))
    assert_allclose(brighter.stripes, fit.stripes, atol=0.01 * NOISE)
    assert brighter.sky - fit.sky == pytest.approx(10 * SKY, abs=0.01 * NOISE)


def test_units_do_not_matter(small):
    """An image in other units has stripes in those units."""
    factor = 1e3
    mask = np.zeros(small.white.shape, bool)
    scaled = fit_stripes(factor * small.image, mask, factor * NOISE, small.layout)
    assert_allclose(scaled.stripes / factor, small.fit().stripes, atol=0.01 * NOISE)


@pytest.mark.parametrize(
    ("y", "x"), [(0.5, 0.375), (0.5, 0.5), (0.9, 0.85), (0.1, 0.1), (0.12, 0.9)]
)
def test_a_smooth_galaxy_is_kept(frame, fit, y, x):
    """In the middle of an output, where two meet, cut by the edges: no trend of the sky.

    A galaxy of two thirds of the size that is asked for, in a third of the pixels: stripes leave
    its flux uncertain by about 2%, so that one frame in ten may exceed 4%.
    """
    galaxy = disc(frame, y, x)
    found = frame.fit(added=galaxy)
    bright = galaxy > 0.15 * NOISE
    taken = (found.stripes - fit.stripes)[bright].sum(dtype=float) / galaxy[bright].sum(dtype=float)
    assert abs(taken) < 0.04
    assert frame.block_noise(found.stripes, mask=galaxy > 0.05 * NOISE) < 1.05
    # and it is in the model of the light
    shown = found.light[bright] - found.sky
    assert shown.sum() == pytest.approx(galaxy[bright].sum(dtype=float), rel=0.1)


def test_a_slope_of_the_sky_is_kept(frame, fit):
    """A gradient that is seen along the rows is not taken for a drift of the outputs."""
    ny, nx = frame.white.shape
    slope = np.float32(0.3 * NOISE) * np.linspace(-1, 1, nx, dtype=np.float32)[None, :]
    taken = frame.fit(added=np.repeat(slope, ny, axis=0)).stripes - fit.stripes
    profile = taken.mean(axis=0)
    assert np.sum(profile * slope[0]) < 0.05 * np.sum(slope[0] ** 2)


def test_a_slope_along_the_columns_is_kept_where_it_is_no_drift(frame, fit):
    """Six times what outputs drift; nothing along x confirms it."""
    slope = np.float32(NOISE) * np.linspace(-1, 1, frame.white.shape[0], dtype=np.float32)[:, None]
    taken = (frame.fit(added=slope).stripes - fit.stripes).mean(axis=1, keepdims=True)
    assert np.sum(taken * slope) < 0.5 * np.sum(slope**2)


def test_flat_field_is_not_taken_for_stripes(frame, fit):
    """An uneven response to a bright sky is told by the flat."""
    rng = np.random.default_rng(5)
    flat = (1 + 0.03 * rng.normal(size=(frame.white.shape[0], 1))).astype(np.float32)
    flat = np.repeat(flat, frame.white.shape[1], axis=1)
    added = (flat - 1) * np.float32(SKY)
    with_flat = frame.fit(added=added, flat=flat)
    assert np.std(with_flat.stripes - fit.stripes) < 0.05 * NOISE
    assert np.std(frame.fit(added=added).stripes - fit.stripes) > 0.3 * NOISE


def test_masked_pixels_do_not_matter(small):
    """Whatever is under the mask, not finite values included, the result is the same."""
    rng = np.random.default_rng(3)
    mask = rng.random(small.white.shape) < 0.3
    mask[40:60, 150:400] = True
    clean = small.fit(mask=mask)
    rubbish = np.where(mask, rng.choice([np.nan, np.inf, 1e6, -1e6], mask.shape), 0)
    assert_array_equal(small.fit(added=rubbish, mask=mask).stripes, clean.stripes)
    assert np.isfinite(clean.stripes).all()


@pytest.mark.parametrize("n_outputs", [1, 4])
def test_masked_pixels_scatter_by_what_is_left_under_them(n_outputs):
    """Stripes are known less well there than beside used pixels, the less the wider the mask."""
    expected, seen = [], []
    for seed in (21, 22, 23):
        frame = make_frame((384, 512), n_outputs, seed, strength=0.3)
        y, x = np.mgrid[:384, :512]
        wide = np.hypot(y - 200, x - 220) < 60
        narrow = np.hypot(y % 48 - 24, x % 64 - 32) < 6
        masks = narrow & ~wide, wide
        fit = frame.fit(mask=narrow | wide)
        left = (frame.stripes + frame.white - fit.stripes) / NOISE
        used = ~(narrow | wide)
        assert np.mean(fit.masked_variance()[used] > 0) < 1e-3  # outliers that the fit leaves out
        expected.append([fit.masked_variance()[mask].mean() / NOISE**2 for mask in masks])
        seen.append([np.var(left[mask]) - np.var(left[used]) for mask in masks])
    expected, seen = np.mean(expected, axis=0), np.mean(seen, axis=0)
    assert seen[1] > seen[0] > 0.1
    # 34,000 pixels of either kind tell a variance to 0.01; slow stripes, of which there are few,
    # differ by a fifth from frame to frame
    assert_allclose(expected, seen, rtol=0.25)


def test_nothing_is_left_where_nothing_is_subtracted(small):
    """No stripes, or all pixels used."""
    mask = np.random.default_rng(3).random(small.white.shape) < 0.3
    assert not small.fit(added=-small.stripes, mask=mask).masked_variance().any()
    assert not small.fit().masked_variance().any()


def test_stripes_beside_a_mask_go_down_to_the_white_noise(frame):
    """A third of the pixels at random, and a part of an output and of its neighbours."""
    mask = np.random.default_rng(3).random(frame.white.shape) < 0.3
    mask[200:260, 300:800] = True
    assert frame.block_noise(frame.fit(mask=mask).stripes, mask=mask) < 1.05


def test_pixels_that_are_not_finite_are_left_out(small):
    """NaN in the image, the noise or the flat, and a noise of 0, count as masked."""
    bad = np.random.default_rng(4).random(small.white.shape) < 0.01
    masked = small.fit(mask=bad).stripes
    nan = np.where(bad, np.float32(np.nan), np.float32(1))
    nothing = np.zeros(bad.shape, bool)
    assert_array_equal(small.fit(added=nan - 1).stripes, masked)
    assert_array_equal(fit_stripes(small.image, nothing, NOISE * nan, small.layout).stripes, masked)
    no_noise = np.where(bad, np.float32(0), np.float32(NOISE))
    assert_array_equal(fit_stripes(small.image, nothing, no_noise, small.layout).stripes, masked)
    with_flat = small.fit(flat=nan).stripes
    assert_allclose(with_flat, masked, atol=0.01 * NOISE)


def test_unmasked_outliers_do_little(frame, fit):
    """A cosmic ray or a star that the mask misses is left out."""
    outliers = np.zeros(frame.white.shape, np.float32)
    outliers.flat[:: outliers.size // 300] = 100 * NOISE
    assert np.std(frame.fit(added=outliers).stripes - fit.stripes) < 0.05 * NOISE


def test_other_outputs_help_where_one_is_masked():
    """Noise common to all outputs is subtracted in rows of which an output has no pixel."""
    frame = make_frame(correlated=0.95, seed=3)
    mask = np.zeros(frame.white.shape, bool)
    rows = np.s_[300:330, 256:512]
    mask[rows] = True
    error = frame.fit(mask=mask).stripes - frame.stripes
    assert np.std(error[rows].mean(axis=1)) < 1.5 * np.std(error[400:600, 256:512].mean(axis=1))
    assert np.std(error[rows].mean(axis=1)) < 0.4 * np.std(frame.stripes[rows].mean(axis=1))


def test_a_drift_that_passed_for_a_trend_goes_back_to_the_stripes():
    """Once trends are not free any more: the gradient is small, but the way is long."""
    frame = make_frame((640, 320), 1, strength=0.3)
    drift = np.linspace(-1, 1, 640, dtype=np.float32)[:, None] * NOISE
    mask = np.zeros(frame.white.shape, bool)
    samples = Samples.of(frame.image + drift, mask, NOISE, frame.layout, None)
    light = SmoothLight(samples.weight, None, binning=4, spacing=32.0, kernel_length=90.0)
    series = StripeSeries(samples)
    covariance = series.first_covariance()
    amplitude = np.full(light.shape, POSTERIOR.least_amplitude * NOISE)
    light.set_amplitude(amplitude, np.full(len(light.degrees), np.inf))
    start, _ = series.solve(covariance, light, None)
    light.set_amplitude(amplitude, np.where(light.degrees == 0, np.inf, 0.2 * NOISE))

    def slope(tolerance, drifts=()):
        modes, _ = series.solve(covariance, light, start, tolerance, drifts)
        rows = (series.to_image(modes) - frame.stripes[:, ::4]).mean(axis=1)
        return np.polyfit(drift[:, 0], rows, 1)[0]

    assert slope(1e-3, [light.trend_along_y(1)]) == pytest.approx(slope(1e-6), abs=0.05)


@pytest.mark.parametrize("seed", [7, 11, 13])
def test_noise_steeper_than_1_over_f_is_no_trend_of_the_sky(seed):
    """What drifts more slowly than the sky varies goes on as steeply as the rest."""
    frame = make_frame((320, 320), 1, seed=seed, strength=0.2, exponent=1.5)
    left = (frame.fit().stripes - frame.stripes) / NOISE
    # white noise leaves 1 / 32 in a block; a drift that is kept is some tenths
    assert left.reshape(10, 32, 10, 32).mean(axis=(1, 3)).std() < 1 / 32


@pytest.mark.parametrize("seed", [1, 4, 5])
@pytest.mark.parametrize(("shape", "n_outputs"), [((256, 512), 4), ((64, 64), 1)])
def test_without_stripes_nothing_is_subtracted(shape, n_outputs, seed):
    """White noise stays as it is, and what is not there has no error."""
    fit = make_frame(shape, n_outputs, seed=seed, strength=0.0).fit()
    assert not fit.stripes.any()
    assert not fit.output_spectrum.any()
    assert fit.predicted_error == 0
    assert fit.sky == pytest.approx(SKY, abs=0.1 * NOISE)


def test_faint_stripes_are_subtracted_where_that_helps():
    """Of a fifteenth of what a rate image has."""
    frame = make_frame(strength=0.01)
    left = frame.stripes - frame.fit().stripes
    blocks = [a.reshape(40, 16, 64, 16).mean(axis=(1, 3)).std() for a in (left, frame.stripes)]
    assert 0 < blocks[0] < 0.9 * blocks[1]


def crowded(frame, n_sources, seed):
    """Light of sources of some eight pixels all over a frame, and a mask of what is bright."""
    rng = np.random.default_rng(seed)
    light = np.zeros(frame.white.shape, np.float32)
    for _ in range(n_sources):
        brightness = min(0.3 + 0.3 * rng.pareto(1.2), 30)
        light += disc(frame, *rng.uniform(size=2), rng.lognormal(2.1, 0.5), brightness)
    return light, light > np.median(light) + 1.5 * NOISE


@pytest.mark.parametrize("seed", [51, 52, 53])
def test_where_light_hides_stripes_it_does_not_go_with_them(seed):
    """In a field without sky it is better to leave stripes than to subtract sources."""
    frame = make_frame((320, 320), seed=seed)
    light, mask = crowded(frame, 400, seed)
    fit = frame.fit(added=light, mask=mask)
    assert np.std(frame.stripes - fit.stripes) < 1.05 * np.std(frame.stripes)


def test_light_of_a_crowded_field_is_left_out(monkeypatch):
    """More stripes are found once what is seen of it has no weight."""
    frame = make_frame((320, 640), seed=53)
    light, mask = crowded(frame, 130, 53)
    fit = frame.fit(added=light, mask=mask)
    assert not mask[fit.outskirts].all()
    monkeypatch.setattr(posterior, "POSTERIOR", dataclasses.replace(POSTERIOR, crowded_fits=0))
    once = frame.fit(added=light, mask=mask)
    assert not once.outskirts.any()
    assert np.std(frame.stripes - fit.stripes) < 0.9 * np.std(frame.stripes - once.stripes)


def dark_spots(frame, n_spots, seed):
    """Spots that are two to three sigma deep, and not in the flat field."""
    rng = np.random.default_rng(seed)
    dark = np.zeros(frame.white.shape, np.float32)
    for _ in range(n_spots):
        spot = distance(frame, *rng.uniform(size=2)) < rng.uniform(6, 14)
        dark[spot] = -NOISE * rng.uniform(2, 3.4)
    return dark


@pytest.mark.parametrize("seed", [4, 5])
def test_dark_spots_do_not_brighten_their_rows(seed):
    """Stripes are as good as with a mask."""
    frame = make_frame((320, 320), n_outputs=1, seed=seed)
    dark = dark_spots(frame, 6, seed)
    errors = [
        np.std((frame.stripes - frame.fit(added=dark, mask=mask).stripes)[dark == 0])
        for mask in (None, dark < 0)
    ]
    assert errors[0] < 1.15 * errors[1]


@pytest.mark.parametrize("seed", [4, 9])
def test_dark_spots_are_no_light_that_hides_stripes(seed):
    """A part of the frame as large as that which a star lights up."""
    frame = make_frame((320, 320), n_outputs=1, seed=seed)
    dark = dark_spots(frame, 12, seed)
    fit = frame.fit(added=dark)
    assert not fit.hidden
    seen = dark == 0
    assert np.std((frame.stripes - fit.stripes)[seen]) < 0.85 * np.std(frame.stripes[seen])


@pytest.mark.parametrize("strength", [0.03, 0.5])
def test_one_setting_for_weak_and_strong_stripes(strength):
    """As after many averaged frames, or few."""
    frame = make_frame(strength=strength, seed=2)
    assert frame.block_noise(frame.fit().stripes) < 1.05


@pytest.mark.parametrize(("strength", "n_outputs"), [(0.05, 4), (0.1, 4), (0.1, 1)])
def test_unmasked_sources_keep_light_as_far_as_noise_allows(strength, n_outputs, monkeypatch):
    """Of 0.8 sigma in the middle, which no search finds in one exposure."""
    frame = make_frame(n_outputs=n_outputs, strength=strength, seed=21)
    y, x = np.indices(frame.white.shape)
    light = 0.8 * NOISE * np.exp(-((y % 40 - 20) ** 2 + (x % 40 - 20) ** 2) / (2 * 1.3**2))

    def taken():
        difference = frame.fit(added=light.astype(np.float32)).stripes - frame.fit().stripes
        return (difference * light).sum() / (light**2).sum()

    some, noise = taken(), frame.block_noise(frame.fit().stripes)
    monkeypatch.setattr(left_over, "LEFT_OVER", dataclasses.replace(LEFT_OVER, returned=0.0))
    more = taken()
    assert 0 < some < 0.8 * more
    assert noise < 1.03


@pytest.mark.parametrize("part", [0.1, 0.5])
def test_the_part_returned_follows_from_the_spectrum(part):
    """Nothing else is asked for, so that other sources change nothing; its noise is predicted."""
    samples = SimpleNamespace(binning=4, white_sigma=2.0)
    series = SimpleNamespace(samples=samples, part_taken=lambda *_: np.full(101, part))
    taps, variance = left_over.LearntStripes(series, None, None).own_taps()
    assert_allclose(taps, [0, LEFT_OVER.returned * part * (1 - part), 0], atol=1e-6)
    rest = (1 - part) * np.random.default_rng(1).normal(0, 2 / np.sqrt(4 * (1 - part)), 100_000)
    assert variance == pytest.approx(np.var(taps[1] * rest), rel=0.02)


@pytest.mark.parametrize("shape", [(640, 640), (160, 160), (64, 64)])
def test_subarrays_with_one_output(shape):
    """Blocks are few in a subarray: its noise is uncertain by 1 / sqrt(2 n)."""
    frame = make_frame(shape, n_outputs=1, seed=6)
    n_blocks = (shape[0] // 16) ** 2
    fit = frame.fit()
    assert frame.block_noise(fit.stripes) < 1.05 + 2 / np.sqrt(2 * n_blocks)
    assert not fit.common_spectrum.any()


def test_odd_widths_work():
    """Widths that do not divide by four are not binned by four."""
    frame = make_frame((96, 90), n_outputs=1, seed=7)
    fit = frame.fit()
    assert fit.stripes.shape == (96, 90)
    assert frame.block_noise(fit.stripes) < 1.3


def test_few_pixels_left(frame):
    """A frame masked but for a corner gives a finite answer."""
    mask = np.ones(frame.white.shape, bool)
    mask[:40, :40] = False
    fit = frame.fit(mask=mask)
    assert np.isfinite(fit.stripes).all()
    assert np.abs(fit.stripes).max() < 10 * NOISE


def test_inputs_are_not_changed(small):
    """Kernels leave their arguments alone."""
    image, mask = small.image, np.zeros(small.white.shape, bool)
    before = image.copy()
    fit_stripes(image, mask, NOISE, small.layout, flat=np.ones_like(image))
    assert_array_equal(image, before)
    assert not mask.any()


def test_nothing_to_use_is_an_error(frame):
    """All masked, or all NaN."""
    with pytest.raises(ValueError, match="no pixel is left"):
        frame.fit(mask=np.ones(frame.white.shape, bool))
    with pytest.raises(ValueError, match="no pixel is left"):
        frame.fit(added=np.nan)


def test_shapes_must_agree(frame):
    """The message names the array and both shapes."""
    with pytest.raises(ValueError, match=r"flat has the shape \(3, 3\)"):
        frame.fit(flat=np.ones((3, 3)))
