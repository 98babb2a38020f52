"""Backgrounds from other exposures: dithers over a detector-fixed pattern, sources on the sky."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage
from stdatamodels.jwst import datamodels

from ceers_steps.errors import CeersError
from ceers_steps.steps.image_background import ImageBackgroundStep
from tests.drizzled import CENTRE, SCALE, distorted_wcs, mosaic_grid

SHAPE = (200, 220)
SIGMA = 0.05
N = 9
BLOCK = 16
WESTERN = [(-9.5, -5), (-9, -2), (-9, 1), (-8.5, 4), (-8, 7)]  # places of sources, arcsec


def light_of(wcs, shape, sky):
    """Return the light of the sources, a Gaussian with outskirts each, on the pixels of a WCS."""
    y, x = np.indices(shape, float)
    ra, dec = wcs(x, y, with_bounding_box=False)
    light = np.zeros(shape)
    for ra0, dec0, flux in sky:
        east = 3600 * (ra - ra0) * np.cos(np.deg2rad(dec0))
        squared = (east**2 + (3600 * (dec - dec0)) ** 2) / SCALE**2
        light += flux * (np.exp(-squared / (2 * 2.0**2)) + 0.03 * np.exp(-squared / (2 * 5.0**2)))
    return light


def save(model, folder, name, wcs=None):
    model.meta.filename = name
    model.meta.instrument.name, model.meta.instrument.detector = "MIRI", "MIRIMAGE"
    model.meta.instrument.filter = "F770W"
    model.meta.exposure.type, model.meta.exposure.readpatt = "MIR_IMAGE", "FASTR1"
    model.meta.subarray.name = "FULL"
    model.meta.telescope = "JWST"
    model.meta.wcs = wcs
    model.save(folder / name)
    return str(folder / name)


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Rates, cals, a mosaic, the pattern and the light in each exposure."""
    folder = tmp_path_factory.mktemp("background")
    rng = np.random.default_rng(5)
    # some where only a few exposures see them, at the edge of the mosaic
    turns = np.vstack([rng.uniform(-9, 9, (9, 2)), WESTERN]) / 3600
    sky = [
        (CENTRE[0] + a / np.cos(np.deg2rad(CENTRE[1])), CENTRE[1] + d, flux)
        for (a, d), flux in zip(turns, rng.uniform(4, 16, len(turns)), strict=True)
    ]
    y, x = np.indices(SHAPE) / 200
    pattern = 3 + 0.8 * x * y + rng.normal(0, 5 * SIGMA, SHAPE)
    rates, lights, wcses = [], [], []
    for number in range(N):
        offset = rng.uniform(-4, 4, 2) / 3600
        wcs = distorted_wcs(CENTRE[0] + offset[0], CENTRE[1] + offset[1], 15 + number, SHAPE)
        lights.append(light_of(wcs, SHAPE, sky))
        model = datamodels.ImageModel(SHAPE)
        model.data = ((1 + 0.01 * number) * pattern + lights[-1]).astype(np.float32)
        model.data += rng.normal(0, SIGMA, SHAPE).astype(np.float32)
        model.var_rnoise = np.full(SHAPE, 0.5 * SIGMA**2, np.float32)
        model.var_poisson = np.full(SHAPE, 0.5 * SIGMA**2, np.float32)
        model.dq = np.zeros(SHAPE, np.uint32)
        if not number:
            model.var_flat = np.zeros(SHAPE, np.float32)
        model.meta.exposure.start_time = 60000.0 + number
        name = f"jw01345001001_02101_{number + 1:05d}_mirimage"
        rates.append(save(model, folder, f"{name}_rate.fits"))
        save(model, folder, f"{name}_cal.fits", wcs)
        wcses.append(wcs)
    with fits.open(rates[0]) as hdus:  # counts as missing, as it is in the others
        hdus["VAR_FLAT"].data = None
        hdus.writeto(rates[0], overwrite=True)
    wcs, shape = mosaic_grid(wcses)
    mosaic = datamodels.ImageModel(shape)
    mosaic.data = light_of(wcs, shape, sky).astype(np.float32)
    mosaic.data += rng.normal(0, SIGMA, shape).astype(np.float32)
    mosaic.wht = np.ones(shape, np.float32)
    save(mosaic, folder, "group_i2d.fits", wcs)
    return folder, rates, pattern, lights


def run(field, **parameters):
    folder, rates, *_ = field
    parameters = {"mosaic": str(folder / "group_i2d.fits")} | parameters
    library = ImageBackgroundStep.call(rates, save_results=False, **parameters)
    with library:
        models = [library.borrow(index) for index in range(len(library))]
        for index, model in enumerate(models):
            library.shelve(model, index, modify=False)
    return models


@pytest.fixture(scope="module")
def cleaned(field):
    """All exposures, with the mosaic and everything as it is by default."""
    return run(field)


def test_the_pattern_goes_and_the_light_stays(field, cleaned):
    _, _, pattern, lights = field
    fluxes, noises = [], []
    for number, model in enumerate(cleaned):
        metrics = model.meta.instance["ceers_steps"]["ceers_image_background"]["metrics"]
        assert metrics["interpolated_fraction"] < 0.02
        left = model.data - lights[number]
        blank = (lights[number] < 0.01 * SIGMA) & (model.dq == 0)
        # its own noise and that of the others, half of which are masked here and there
        assert (left / model.err)[blank].std() == pytest.approx(1.0, abs=0.03)
        assert np.median(model.err) < SIGMA * np.sqrt(1 + 2 / (N - 1))
        # what is left of the pattern: that part of the image which looks like it
        shape = pattern - pattern.mean()
        amplitude = np.sum((left * shape)[blank]) / np.sum(shape[blank] ** 2)
        error = SIGMA / np.sqrt(np.sum(shape[blank] ** 2))
        assert abs(amplitude) < 1 / 20
        assert error < 1 / 100  # the test can tell
        inside = ndimage.binary_dilation(lights[number] > 0.2 * SIGMA, iterations=2)
        fluxes.append(model.data[inside].sum() / lights[number][inside].sum() - 1)
        noises.append(SIGMA * np.sqrt(np.count_nonzero(inside)) / lights[number][inside].sum())
    assert abs(np.mean(fluxes)) < 0.005
    assert np.mean(noises) / np.sqrt(N) < 0.005 / 2  # the test can tell


def test_blocks_have_no_more_noise_than_exposure_and_background(field, cleaned):
    """Light that is left in one exposure is in the backgrounds of all others."""
    *_, lights = field
    pulls = []
    for light, model in zip(lights, cleaned, strict=True):
        blank = (light < 0.01 * SIGMA) & (model.dq == 0)
        ny, nx = (side // BLOCK for side in SHAPE)
        window, shape = np.s_[: ny * BLOCK, : nx * BLOCK], (ny, BLOCK, nx, BLOCK)
        total, variance = (
            np.where(blank, plane, 0.0)[window].reshape(shape).sum((1, 3))
            for plane in (model.data - light, model.var_rnoise + model.var_poisson)
        )
        chosen = blank[window].reshape(shape).sum((1, 3)) > BLOCK**2 / 2
        pull = total[chosen] / np.sqrt(variance[chosen])
        pulls.append(pull - pull.mean())  # the level of an exposure has an error, too
    pulls = np.concatenate(pulls)
    assert pulls.std() < 1.05
    assert 2 / np.sqrt(2 * pulls.size) < 0.05  # the test can tell
    assert np.abs(pulls).max() < 5


def test_errors_predict_the_scatter(field, cleaned):
    *_, lights = field
    model = cleaned[2]
    chi = (model.data - lights[2]) / model.err
    blank = (lights[2] < 0.01 * SIGMA) & (model.dq == 0)
    assert chi[blank].std() == pytest.approx(1.0, abs=0.03)
    assert model.meta.cal_step.instance["ceers_image_background"] == "COMPLETE"


def test_the_emission_is_masked_through_the_wcs(field, cleaned):
    # without the mosaic sources stay in the background of others, as far as they are not clipped
    *_, lights = field
    with_mosaic, without = cleaned[0], run(field, mosaic=None)[0]
    faint = np.zeros(SHAPE, bool)
    for light in lights[1:]:
        faint |= (light > 0.5 * SIGMA) & (light < 3 * SIGMA)
    faint &= lights[0] < 0.01 * SIGMA
    assert without.data[faint].mean() < 5 * with_mosaic.data[faint].mean() - SIGMA / 50


def test_an_exposure_is_known_by_its_keywords_whatever_its_file_is_called(field, tmp_path):
    folder, rates, *_ = field
    renamed = []
    for rate in rates:
        name = Path(rate).name
        with datamodels.open(rate) as model:
            keys = ("program_number", "observation_number", "visit_number", "visit_group")
            parts = (name[2:7], name[7:10], name[10:13], name[14:16])
            for key, value in zip(keys, parts, strict=True):
                setattr(model.meta.observation, key, value)
            model.meta.observation.sequence_id, model.meta.observation.activity_id = name[16], "01"
            model.meta.observation.exposure_number = name[20:25]
            model.meta.filename = f"mine_{len(renamed)}.fits"
            renamed.append(str(tmp_path / model.meta.filename))
            model.save(renamed[-1])
    options = {"mosaic": str(folder / "group_i2d.fits"), "aligned_dir": str(folder)}
    library = ImageBackgroundStep.call(renamed, **options)
    with library:
        model = library.borrow(0)
        assert model.meta.cal_step.instance["ceers_image_background"] == "COMPLETE"
        library.shelve(model, 0, modify=False)


def test_too_few_others_are_skipped_with_the_reason(field, caplog):
    models = run(field, max_days=1.5)
    states = [model.meta.cal_step.instance["ceers_image_background"] for model in models]
    assert states == ["SKIPPED"] * N  # two neighbours in time, three are needed
    note = models[0].meta.instance["ceers_steps"]["ceers_image_background"]["note"]
    assert "1 other exposures of MIRIMAGE F770W" in note
    assert "min_others=3" in note


def test_background_is_written(field, tmp_path):
    folder, rates, pattern, _ = field
    ImageBackgroundStep.call(
        rates,
        mosaic=str(folder / "group_i2d.fits"),
        save_background=True,
        save_results=True,
        output_dir=str(tmp_path),
    )
    assert len(list(tmp_path.glob("*_imgbkgsub.fits"))) == N
    with datamodels.open(next(iter(sorted(tmp_path.glob("*_imgbkg.fits"))))) as background:
        chi = (background.data - pattern) / background.err
    assert np.median(np.abs(chi)) == pytest.approx(0.6745, rel=0.03)
    assert np.median(background.err) < SIGMA * np.sqrt(2 / (N - 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mosaic": "/nowhere_i2d.fits"}, "does not exist"),
        ({"aligned_dir": "."}, "_cal.fits .* with a WCS"),
    ],
)
def test_missing_files_are_named(field, change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CeersError, match=message):
        run(field, **change)


def test_a_flattened_exposure_is_refused(field, tmp_path):
    _, rates, *_ = field
    with datamodels.open(rates[0]) as model:
        model.meta.cal_step.flat_field = "COMPLETE"
        with pytest.raises(CeersError, match="must be applied once"):
            ImageBackgroundStep.call([model], save_results=False)


def test_a_copy_of_an_exposure_is_refused(field, tmp_path):
    _, rates, *_ = field
    copy = tmp_path / "mine_rate.fits"
    copy.write_bytes(Path(rates[0]).read_bytes())
    with pytest.raises(CeersError, match=r"and mine_rate\.fits are both of exposure"):
        ImageBackgroundStep.call([*rates, str(copy)], save_results=False)
