"""MIRI and NIRISS: what is simulated of them, and what the stages make of it."""

from types import SimpleNamespace

import numpy as np
import pytest
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.pipelines.detector1 import CeersDetector1
from ceers_steps.pipelines.image2 import CeersImage2
from ceers_steps.simulate import SimulationConfig, active, read_truth, simulate
from ceers_steps.simulate.arguments import choose_instrument
from ceers_steps.simulate.config.simulation import CosmicRayConfig
from ceers_steps.simulate.detector.calibration import BadPixel, make_calibration
from ceers_steps.simulate.references.miri import coronagraph_areas
from ceers_steps.simulate.sky.glow import fixed_light
from ceers_steps.simulate.sky.psf import point_spread_function
from ceers_steps.simulate.telescope.instrument import (
    bands_of,
    find_subarray,
    get_band,
    get_detector,
    subarrays_of,
    zero_point,
)
from ceers_steps.simulate.telescope.patterns import PIXEL_TIME, Readout, get_pattern
from ceers_steps.simulate.telescope.plan import read_out
from ceers_steps.survey.references.check import check_references

MIRI, NIS = get_detector("MIRIMAGE"), get_detector("NIS")
# rays that the jump step misses are no matter of the instrument, and 64 pixels hold no
# more of the slow noise of NIRISS than its mean
CONFIG = SimulationConfig().without("cosmic_rays", "one_over_f", "snowballs", "pointing")
SKIPPED = {
    f"ceers_{name}"
    for name in ("jump_check", "trapped_charge", "snowball", "wispsub", "remstriping")
}


@pytest.fixture(scope="module")
def exposures(tmp_path_factory):
    """One exposure each of MIRI and NIRISS, 64 pixels high, in one folder."""
    folder = tmp_path_factory.mktemp("others")
    settings = {"dithers": 1, "size": "sub64", "config": CONFIG, "target": (214.9, 52.8)}
    simulated = {
        "MIRI": simulate(folder, instrument="MIRI", n_groups=16, **settings)[0],
        "NIRISS": simulate(folder, ["NIS"], ["F150W"], n_groups=6, n_ints=2, **settings)[0],
    }
    with active(folder):
        yield SimpleNamespace(folder=folder, **simulated)


@pytest.mark.parametrize("instrument", ["MIRI", "NIRISS"])
def test_stages_1_and_2(exposures, instrument):
    """The rate is the truth within its errors; ours are skipped; cal images have units and WCS."""
    exposure = getattr(exposures, instrument)
    truth = read_truth(exposure.truth)
    rate = CeersDetector1.call(str(exposure.uncal))
    status = rate.meta.cal_step.instance
    assert {name for name, value in status.items() if name.startswith("ceers_")} == SKIPPED
    assert {status[name] for name in SKIPPED} == {"SKIPPED"}
    needed = {"MIRI": ("reset", "rscd", "lastframe"), "NIRISS": ("superbias", "refpix")}
    assert {status[name] for name in needed[instrument]} == {"COMPLETE"}
    assert {status[name] for name in ("linearity", "dark_sub", "jump")} == {"COMPLETE"}
    notes = {entry["note"] for entry in rate.meta.instance["ceers_steps"].values()}
    assert notes == {f"not NIRCam imaging (EXP_TYPE {rate.meta.exposure.type})"}

    good = (rate.dq & dqflags.pixel["DO_NOT_USE"]) == 0
    pull = ((rate.data - truth.rate) / rate.err)[good]
    # 5 sigma of a median, and of that of the reference pixels (odd and even ones) where used
    shares = 1 / good.sum()
    if status["refpix"] == "COMPLETE":
        shares += 2 / ((rate.dq & dqflags.pixel["REFERENCE_PIXEL"]) != 0).sum()
    assert abs(np.median(pull)) < 5 * 1.25 * np.sqrt(shares)
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1, abs=0.1)

    (cal,) = CeersImage2.call(rate)
    used = {str(each.get("name")) for each in cal.meta.ref_file.instance.values()}
    names = {name.removeprefix("crds://") for name in used if name.startswith("crds://")}
    report = check_references([exposure.uncal])
    assert report.ok
    assert {item.name for item in report.references} == names
    light = truth.sky * cal.meta.photometry.conversion_megajanskys
    table = truth.sources
    if instrument == "MIRI":
        light *= np.median(1 + truth.fixed_light / truth.sky)
    far = np.ones(cal.data.shape, bool)
    y, x = np.indices(cal.data.shape)
    for row in table:
        if row["flux"] > 1e-3 * truth.sky:
            far &= np.hypot(x - row["x"], y - row["y"]) > 12
    sky = cal.data[far & ((cal.dq & 1) == 0)]
    assert far.sum() > 200
    sigma = 1.4826 * np.median(np.abs(sky - np.median(sky)))
    error = 1.25 * sigma * np.sqrt(shares + 1 / sky.size)
    assert np.median(sky) == pytest.approx(light, abs=5 * error + 0.03 * light)
    ny, nx = cal.data.shape
    inside = (table["x"] > 0) & (table["x"] < nx - 1) & (table["y"] > 0) & (table["y"] < ny - 1)
    table = table[inside]
    ra, dec = cal.meta.wcs(table["x"], table["y"])
    np.testing.assert_allclose(dec, table["dec"], atol=3e-3 / 3600)
    np.testing.assert_allclose(ra, table["ra"], atol=5e-3 / 3600)


def test_missing_references_of_all_instruments_are_named(exposures, tmp_path):
    """Those of every instrument are looked for by its own rules, whatever is in a folder."""
    cache = exposures.folder / "crds_cache" / "references" / "jwst"
    lost = [
        cache / "miri" / "jwst_miri_reset_mirimage_sub64_fastr1.fits",
        cache / "niriss" / "jwst_niriss_superbias_nis_sub64.fits",
    ]
    for path in lost:
        path.rename(tmp_path / path.name)
    try:
        report = check_references([exposures.MIRI.uncal, exposures.NIRISS.uncal])
    finally:
        for path in lost:
            (tmp_path / path.name).rename(path)
    assert report.n_configurations == 2
    assert {(item.name, item.state) for item in report.problems} == {
        (path.name, "missing") for path in lost
    }


def test_ends_of_a_ramp_would_be_seen(exposures):
    """Without the three corrections of MIRI the rate is wrong by more than its noise."""
    steps = {name: {"skip": True} for name in ("reset", "rscd", "lastframe")}
    rate = CeersDetector1.call(str(exposures.MIRI.uncal), steps=steps)
    truth = read_truth(exposures.MIRI.truth)
    pull = (rate.data - truth.rate) / rate.err
    assert abs(np.nanmedian(pull)) > 0.5


def test_headers(exposures):
    from astropy.io import fits

    wanted = {
        "MIRI": ("MIR_IMAGE", "MIRIMAGE", "F770W", None, 1, 2, 0.08512, (1, 779, 72, 64)),
        "NIRISS": ("NIS_IMAGE", "NIS", "CLEAR", "F150W", -2, -1, 0.05016, (1985, 1985, 64, 64)),
    }
    for instrument, values in wanted.items():
        header = fits.getheader(getattr(exposures, instrument).uncal)
        names = ("EXP_TYPE", "DETECTOR", "FILTER", "PUPIL", "FASTAXIS", "SLOWAXIS", "TFRAME")
        assert tuple(header.get(name) for name in names) == values[:-1]
        window = ("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2")
        assert tuple(header[name] for name in window) == values[-1]
        assert header["INSTRUME"] == instrument
        assert header.get("MODULE") is None
        assert header.get("CHANNEL") is None


@pytest.mark.parametrize(
    ("detector", "size", "frame_time"),
    [
        (MIRI, "full", 2.77504),  # what their headers say
        (MIRI, "brightsky", 0.86528),
        (MIRI, "sub128", 0.11904),
        (NIS, "full", 10.73676),
        (NIS, "sub64", 0.05016),
    ],
)
def test_frame_times(detector, size, frame_time):
    readout = read_out(detector, find_subarray(detector, size))
    assert readout.frame_time == pytest.approx(frame_time, rel=1e-6)


def test_niriss_is_read_along_y():
    readout = Readout((16, 8), 4, -2, -1)
    series = np.tile(np.arange(readout.frame_ticks), (4, 1))
    image = readout.series_to_image(series)
    assert image.shape == (16, 8)
    # the fast direction alternates from output to output: blocks of 4 rows
    assert (np.diff(image[:4], axis=0) == -1).all()
    assert (np.diff(image[4:8], axis=0) == 1).all()
    assert (np.diff(image, axis=1) == -readout.row_ticks).all()
    y, x = np.indices(image.shape)
    np.testing.assert_allclose(readout.read_delay(y, x), image * PIXEL_TIME)


def test_layouts():
    config = SimulationConfig().only("bad_pixels")
    miri, nis = make_calibration("MIRIMAGE", config), make_calibration("NIS", config)
    assert (miri.shape, nis.shape) == ((1024, 1032), (2048, 2048))
    reference = miri.flagged(BadPixel.REFERENCE_PIXEL)
    assert reference[:, [0, 3, 1028, 1031]].all()
    assert not reference[:, 4:1028].any()
    assert nis.flagged(BadPixel.REFERENCE_PIXEL)[:4].all()
    assert miri.reset is None  # the effect is off
    assert miri.flagged(BadPixel.HOT)[512:, 516:].any()


def test_coronagraphs_are_no_imaging():
    """Lyot and the phase masks are masked in the full frame, the imager and subarrays are not."""
    areas = coronagraph_areas(find_subarray(MIRI, "full"))
    assert areas[[133, 355, 576, 885], [121, 120, 120, 144]].all()  # their centres
    assert not areas[:, 358:].any()
    assert not coronagraph_areas(find_subarray(MIRI, "sub64")).any()
    brightsky = find_subarray(MIRI, "brightsky")
    assert not areas[brightsky.slices].any()


def test_every_band_has_a_zero_point():
    for detector in (MIRI, NIS):
        for band in bands_of(detector.instrument):
            photmjsr, pixar = zero_point(detector, band)
            assert photmjsr > 0
            assert pixar > 0
        assert subarrays_of(detector.instrument)[0] == "FULL"
    assert (get_band("F115W").channel, get_band("F115W", "NIRISS").pupil) == ("SHORT", "F115W")


def test_cross_of_bright_sources():
    """The cross lies along rows and columns, where the same filter without it has less."""
    with_cross = point_spread_function(get_band("F770W", "MIRI"), 0.11)
    without = point_spread_function(get_band("F1280W", "MIRI"), 0.11)
    middle, away = 767, 767 + 3 * 60  # 60 pixels out
    assert with_cross.sum() == pytest.approx(9, rel=1e-5)

    def contrast(image):
        diagonal = 767 + round(3 * 60 / 2**0.5)
        around = image[diagonal - 20 : diagonal + 21, diagonal - 20 : diagonal + 21].mean()
        return image[middle - 1 : middle + 2, away - 20 : away + 21].mean() / around

    assert contrast(with_cross) > 20 * contrast(without)
    assert contrast(with_cross) == pytest.approx(contrast(with_cross.T), rel=0.5)


def test_fixed_light():
    """Glow and pattern stand still: one image for a band, whatever the seed, of the size asked."""
    band = get_band("F770W", "MIRI")
    pattern = fixed_light(MIRI, band, SimulationConfig().without("glow"))
    assert pattern.std() == pytest.approx(0.02, rel=1e-3)
    glow = fixed_light(MIRI, band, SimulationConfig().without("pattern"))
    assert glow.max() == pytest.approx(0.1, rel=1e-3)
    assert np.abs(np.diff(glow, axis=0)).max() < 1e-3
    other = fixed_light(MIRI, get_band("F1000W", "MIRI"), SimulationConfig().without("glow"))
    assert abs(np.corrcoef(pattern.ravel(), other.ravel())[0, 1]) < 0.1


def test_effects_of_other_instruments_are_off():
    config = SimulationConfig(cosmic_rays=CosmicRayConfig(flux=1.0))
    miri, nircam = config.for_instrument("MIRI"), config.for_instrument("NIRCAM")
    for name in ("glow", "pattern", "reset_anomaly"):
        assert getattr(miri, name).enabled
        assert not getattr(nircam, name).enabled
    for name in ("one_over_f", "snowballs", "wisps"):
        assert not getattr(miri, name).enabled
        assert getattr(nircam, name).enabled
    assert miri.cosmic_rays.flux == 1.0


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: choose_instrument("FGS", None), "one of NIRCAM, MIRI, NIRISS"),
        (lambda: choose_instrument("MIRI", ["NRCB4"]), "NRCB4 is a detector of NIRCAM"),
        (lambda: choose_instrument(None, ["NIS", "MIRIMAGE"]), "one instrument after the other"),
        (lambda: get_band("F150W", "MIRI"), "not a MIRI imaging filter.*F770W"),
        (lambda: get_pattern("MEDIUM8", "MIRI"), "not a MIRI read pattern: use one of FASTR1"),
        (lambda: find_subarray(MIRI, "sub640"), "no subarray 'sub640'. It has FULL, BRIGHTSKY"),
    ],
)
def test_what_does_not_fit_is_named(run, message):
    with pytest.raises(CeersError, match=message):
        run()
