"""Products made from the truth, with known faults: the comparison has to find just those."""

from dataclasses import dataclass

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.validate.checks import describe
from ceers_steps.validate.exposures import _wisp_scale, compare

SIGMA = 0.01  # DN/s: about that of a MEDIUM8 exposure
ROW_SIGMA = 0.005
LOST = 0.2  # of the flux of sources
JUMP_DET = dqflags.group["JUMP_DET"]


@dataclass(frozen=True)
class Faulty:
    """Products with faults, and the truth they were made from."""

    simulated: object
    products: object
    root: str
    truth: object
    template: np.ndarray


@pytest.fixture(scope="module")
def faulty(simulated_field, tmp_path_factory):
    """Stripes left in, 20 % of the source flux lost, wisp scale 10 % low, halos half flagged."""
    uncal = simulated_field.uncal("NRCB4", "sub640")
    truth = simulated_field.truth("NRCB4", "sub640")
    folder = simulated_field.folder
    root = uncal.name.removesuffix("_uncal.fits")
    products = tmp_path_factory.mktemp("products")

    with datamodels.open(uncal) as raw:
        corner = raw.meta.subarray.ystart - 1, raw.meta.subarray.xstart - 1
        size = raw.data.shape[-2:]
        shape = raw.data.shape
        window = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        rate = datamodels.ImageModel(size)
        rate.update(raw)
    template = fits.getdata(folder / "wisp_templates" / "wisps_nrcb4_F150W.fits")[window]
    flat = fits.getdata(
        folder / "crds_cache/references/jwst/nircam/jwst_nircam_flat_nrcb4_sub640.fits"
    )
    true = truth.wisp_scales[0]
    wisp = true * template * flat
    sources = truth.rate - wisp - truth.sky * flat
    sources[truth.rate == 0] = 0

    rng = np.random.default_rng(6)
    noise = rng.normal(0, SIGMA, size)
    stripes = rng.normal(0, ROW_SIGMA, (size[0], 1))
    clean = truth.rate - 0.9 * wisp - LOST * np.maximum(sources, 0) + noise
    rate.data[:] = clean
    rate.err = np.full(size, SIGMA, np.float32)
    rate.dq = np.zeros(size, np.uint32)
    rate.dq[truth.rate == 0] = 1
    rate.meta.ceers_steps = {
        "ceers_wispsub": {"metrics": {"scale": 0.9 * true, "scale_err": 0.05 * true}}
    }
    rate.save(products / f"{root}_rate.fits")
    for suffix, extra in (("prewisp", stripes + 0.9 * wisp), ("pre1f", stripes + 1e-3)):
        hdu = fits.ImageHDU((clean + extra).astype(np.float32), name="SCI")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(products / f"{root}_{suffix}.fits")
    mask = fits.PrimaryHDU((sources > SIGMA).astype(np.uint8))
    mask.writeto(products / f"{root}_1fmask.fits")

    hit = np.zeros(shape, bool)
    for group in range(1, shape[1]):
        hit[0, group] = truth.snowball_charge(0, group) > truth.difference_sigma
    half = hit & (np.indices(shape).sum(axis=0) % 2 == 0)
    beside = np.zeros_like(hit)
    beside[0, 1, :10, :10] = True
    for suffix, flags in (("jump", np.zeros_like(hit)), ("snowball", half | beside)):
        hdus = [
            fits.ImageHDU(np.zeros(shape, np.float32), name="SCI"),
            fits.ImageHDU(flags.astype(np.uint8) * JUMP_DET, name="GROUPDQ"),
        ]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(products / f"{root}_{suffix}.fits")
    return Faulty(folder, products, root, truth, template)


def test_every_fault_is_found(faulty):
    result = compare(faulty.products, faulty.simulated, faulty.root)
    found = result.metrics

    assert abs(found.noise.ratio - 1) < 0.1 + 4 * found.noise.ratio_err  # 10 % of a faint wisp
    # Rows of scatter s leave s / 4 in the mean of 16: 40 bands, 4 standard errors of those.
    expected = np.hypot(SIGMA / 16, ROW_SIGMA / 4) / (SIGMA / 16)
    assert found.noise_before.ratio == pytest.approx(expected, rel=4 / np.sqrt(2 * 39))
    assert found.flux.ratio == pytest.approx(1 - LOST, abs=4 * found.flux.ratio_err)
    # the mean of 640 rows of the stripes that were taken out counts too
    assert found.pedestal.change == pytest.approx(-1e-3, abs=4 * ROW_SIGMA / np.sqrt(640))
    assert found.snowballs.recall == pytest.approx(
        0.5, abs=4 * 0.5 / np.sqrt(found.snowballs.n_contaminated)
    )
    # flagged beside the events, on pixels that see light
    assert found.snowballs.n_extra == np.count_nonzero(faulty.truth.rate[:10, :10])
    assert found.wisp.relative == pytest.approx(-0.1)
    assert found.wisp.pull == pytest.approx(-2)
    spread = found.wisp_left.correlation_err / found.wisp_left.correlation
    assert abs(spread) < 0.2
    assert found.wisp_left.scale == pytest.approx(
        0.1 * faulty.truth.wisp_scales[0], rel=abs(4 * spread)
    )
    assert result.view.contaminated.any()


def test_checks_say_what_was_missed(faulty):
    metrics = compare(faulty.products, faulty.simulated, faulty.root).metrics
    lines = {line.what: line for line in describe(metrics)}
    assert lines["source flux"].reached is False
    assert lines["snowballs: hit pixels flagged"].reached is False
    assert all(line.exposure == "NRCB4 F150W" for line in lines.values())


def test_components_count_by_their_light():
    """A quarter and three quarters of it; one number stands for both."""
    shares = np.array([0.25, 0.75])
    fit = {"scale": [0.9, 0.6], "scale_err": [0.04, float("nan")]}
    found = _wisp_scale((1.0, 0.6), shares, fit)
    assert (found.true, found.fitted) == (pytest.approx(0.7), pytest.approx(0.675))
    assert found.fitted_err == pytest.approx(0.01)
    assert _wisp_scale((1.0, 0.6), shares, {}).fitted == 0
    assert _wisp_scale((0.7,), np.ones(1), {"scale": 0.5, "scale_err": 0.1}).fitted == 0.5


def test_a_missing_product_is_named(faulty, tmp_path):
    with pytest.raises(CeersError, match="prewisp"):
        compare(tmp_path, faulty.simulated, faulty.root)
