"""The background of small mosaics with known sky and sources."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from jwst.datamodels import ModelLibrary
from scipy import ndimage
from stdatamodels.jwst import datamodels

from ceers_steps.files.metrics import refusals
from ceers_steps.kernels.mesh.settings import MeshSettings
from ceers_steps.kernels.rows import RowSettings
from ceers_steps.kernels.sources.mosaic_tiers import CORE
from ceers_steps.mosaics.regions import read_fits_mask
from ceers_steps.steps.base import StepError
from ceers_steps.steps.mosaic_background import MosaicBackgroundStep
from tests.history import says

NOISE = 0.01
PIXEL = 0.03  # arcsec


def plain_wcs(shape=(300, 320), pixel=PIXEL, angle=0.0, offset=(0.0, 0.0)):
    """A tangent plane around one place; the middle moved by an offset in arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cunit = "deg", "deg"
    wcs.wcs.crval = 214.9, 52.9
    middle = np.array(shape[::-1]) / 2 + 0.5
    wcs.wcs.crpix = middle + np.array(offset) / pixel
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    wcs.wcs.pc = np.array([[-cos, sin], [sin, cos]])
    wcs.wcs.cdelt = pixel / 3600, pixel / 3600
    wcs.array_shape = shape
    return wcs


SOURCES = (
    (0.0, 0.0, 0.15, 0.5),
    (3.0, 2.0, 0.08, 1.0),
    (-2.5, 2.8, 0.08, 1.0),
    (2.0, -3.0, 0.06, 2.0),
)
"""East and north (arcsec) of the middle, scale length (arcsec), central surface brightness."""


def scene(wcs, seed=1, sources=SOURCES, tilt=0.004):
    """Image, sky and light of exponential sources; noise as it is."""
    shape = wcs.array_shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    ra, dec = wcs.pixel_to_world_values(x, y)
    east = (ra - 214.9) * np.cos(np.deg2rad(52.9)) * 3600
    north = (dec - 52.9) * 3600
    light = np.zeros(shape)
    for here, there, length, brightness in sources:
        light += brightness * np.exp(-np.hypot(east - here, north - there) / length)
    sky = 0.02 + tilt * east
    image = sky + light + np.random.default_rng(seed).normal(0, NOISE, shape)
    return image.astype(np.float32), sky, light


def mosaic(wcs=None, band="F150W", image=None, **keywords):
    """An i2d model with a border of ten columns."""
    wcs = wcs or plain_wcs()
    image = scene(wcs, **keywords)[0] if image is None else image
    model = datamodels.ImageModel(image.copy())
    model.err = np.full(image.shape, NOISE, np.float32)
    model.wht = np.ones(image.shape, np.float32)
    model.data[:, :10] = model.err[:, :10] = np.nan
    model.wht[:, :10] = 0
    model.meta.instrument.name = "NIRCAM"
    model.meta.instrument.filter = band
    model.meta.exposure.type = "NRC_IMAGE"
    # as resample leaves them, of the exposures
    model.meta.subarray.name, model.meta.subarray.xstart, model.meta.subarray.ystart = "FULL", 1, 1
    model.meta.subarray.xsize = model.meta.subarray.ysize = 2048
    model.meta.cal_step.resample = "COMPLETE"
    model.meta.filename = f"field_{band.lower()}_i2d.fits"
    model.meta.bunit_data = "MJy/sr"
    info = {key.lower(): value for key, value in wcs.to_header().items()}
    for i in (1, 2):
        info[f"crpix{i}"] = wcs.wcs.crpix[i - 1]
        info[f"cdelt{i}"] = wcs.wcs.cdelt[i - 1]
        for j in (1, 2):
            info[f"pc{i}_{j}"] = wcs.wcs.pc[i - 1, j - 1]
    for key in (
        "crpix1",
        "crpix2",
        "crval1",
        "crval2",
        "ctype1",
        "ctype2",
        "cunit1",
        "cunit2",
        "cdelt1",
        "cdelt2",
        "pc1_1",
        "pc1_2",
        "pc2_1",
        "pc2_2",
    ):
        setattr(model.meta.wcsinfo, key, info[key])
    return model


def extension(model, name):
    return model.instance["extra_fits"][name]["data"]


@pytest.mark.parametrize("method", ["adaptive", "published"])
def test_sky_is_recovered(method):
    wcs = plain_wcs()
    _, sky, light = scene(wcs)
    result = MosaicBackgroundStep.call(mosaic(wcs), method=method)
    background = extension(result, "BKGD")
    blank = light < 0.05 * NOISE
    blank[:, :10] = False
    # a mean over 2e4 pixels or more, in boxes of 400: 0.05 of the noise in each box
    assert abs(np.mean((background - sky)[blank])) < 0.02 * NOISE
    np.testing.assert_allclose(result.data + background, mosaic(wcs).data, atol=1e-6)
    assert np.isnan(result.data[:, :10]).all()
    assert result.meta.cal_step.instance["ceers_mosaic_background"] == "COMPLETE"
    bits = extension(result, "TIERMASK")
    assert (bits[:, :10] & 1).all()
    assert not (bits[:, 10:] & 1).any()
    assert np.all(bits[light > 3 * NOISE] > 1)
    np.testing.assert_array_equal(extension(result, "BKGMASK"), bits > 0)


def thin_strip(noise):
    """A mosaic whose right third has a quarter of the weight, and so much noise; sky and light."""
    wcs = plain_wcs()
    image, _, light = scene(wcs)
    # neighbours share noise, as those of drizzled images do
    more = ndimage.gaussian_filter(np.random.default_rng(9).normal(0, 1, (300, 110)), 1.0)
    image[:, 210:] += more / more.std() * np.sqrt(noise**2 - NOISE**2)
    model = mosaic(wcs, image=image)
    model.wht[:, 210:] /= 4
    return model, light


def test_noise_of_thin_places_is_no_source():
    """Twice the noise is expected there, and found: the search finds no more than elsewhere."""
    masked = {}
    for method in ("adaptive", "published"):
        model, light = thin_strip(2 * NOISE)
        bits = extension(MosaicBackgroundStep.call(model, method=method), "TIERMASK")
        blank = light < 0.02 * NOISE
        blank[:, :240] = False
        masked[method] = np.mean(bits[blank] & 0b11110 > 0)
    # its threshold is 3.6 sigma of what smoothing by 2 pixels leaves of such noise, 1.8 with one
    assert masked["adaptive"] < 0.05
    # noise for all pixels, as published
    assert masked["published"] > 0.2


def test_weights_that_are_wrong_hide_no_source():
    """The noise is the same everywhere, whatever the weights say: so is the search."""
    model, light = thin_strip(NOISE)
    expected = extension(MosaicBackgroundStep.call(mosaic()), "TIERMASK")
    bits = extension(MosaicBackgroundStep.call(model), "TIERMASK")
    assert np.count_nonzero(light[:, 210:] > 3 * NOISE) > 10
    changed = np.count_nonzero((bits ^ expected)[:, 210:] & CORE)
    assert changed < 0.1 * np.count_nonzero(expected[:, 210:] & CORE)


def hst_image(path, wcs=None, separate=None, **keywords):
    """A drizzled image with plain WCS, no data in ten rows; weights beside it or in it."""
    wcs = wcs or plain_wcs()
    image = scene(wcs, **keywords)[0]
    image[:10] = 0
    weight = np.ones(image.shape, np.float32)
    weight[:10] = 0
    header = wcs.to_header()
    header["TELESCOP"], header["INSTRUME"], header["FILTER1"] = "HST", "ACS", "CLEAR1L"
    header["FILTER2"] = "F814W"
    hdus = fits.HDUList([fits.PrimaryHDU(image, header)])
    if separate:
        noise = np.where(weight > 0, NOISE, 1e10).astype(np.float32)
        array = {"rms": noise, "wht": weight}[separate]
        fits.writeto(path.with_name(path.name.replace("_drz", f"_{separate}")), array)
    else:
        hdus.append(fits.ImageHDU(weight, name="WHT"))
    hdus.writeto(path)
    return path


def only_near(wcs, place, radius=0.4):
    """Pixels within a radius (arcsec) of a place east and north of the middle."""
    y, x = np.mgrid[: wcs.array_shape[0], : wcs.array_shape[1]]
    ra, dec = wcs.pixel_to_world_values(x, y)
    east = (ra - 214.9) * np.cos(np.deg2rad(52.9)) * 3600
    return np.hypot(east - place[0], (dec - 52.9) * 3600 - place[1]) < radius


BLUE, RED = (2.0, 2.0), (-2.0, -2.0)


def two_filters():
    """Two mosaics with one source each, the second on a coarser, turned and shifted grid."""
    fine, coarse = plain_wcs(), plain_wcs((200, 180), 2 * PIXEL, 30.0, (0.7, -0.4))
    first = mosaic(fine, "F150W", sources=[(*BLUE, 0.1, 1.0)], tilt=0.0)
    second = mosaic(coarse, "F277W", sources=[(*RED, 0.1, 1.0)], tilt=0.0)
    return (fine, first), (coarse, second)


def test_share_of_outskirts_is_reported(monkeypatch, caplog):
    """In the metrics and as a keyword; a warning only when much of the sky is masked."""
    galaxy = ((0.0, 0.0, 0.9, 0.05),)
    result = MosaicBackgroundStep.call(mosaic(sources=galaxy))
    share = result.meta.ceers_steps.instance["ceers_mosaic_background"]["metrics"][
        "outskirts_fraction"
    ]
    cards = {key: value for key, value, _ in result.extra_fits.PRIMARY.instance["header"]}
    assert cards["OUTSKIRT"] == pytest.approx(share, abs=1e-4)
    assert share > 0.0
    tiers = extension(result, "TIERMASK")
    assert share == pytest.approx(np.mean((tiers == 32)[(tiers & ~np.uint8(32)) == 0]), abs=1e-9)
    assert ("outskirts of sources mask" in caplog.text) == (share > 0.15)
    caplog.clear()
    monkeypatch.setattr("ceers_steps.steps.mosaic_background._MOST_OUTSKIRTS", share / 2)
    MosaicBackgroundStep.call(mosaic(sources=galaxy))
    assert "outskirts of sources mask" in caplog.text


def test_merged_mask_over_different_grids(tmp_path):
    mosaics = two_filters()
    library = MosaicBackgroundStep.call(
        [model for _, model in mosaics], output_dir=str(tmp_path), save_results=True
    )
    assert isinstance(library, ModelLibrary)
    with library:
        for index, (wcs, _) in enumerate(mosaics):
            model = library.borrow(index)
            bits = extension(model, "TIERMASK")
            for place in (BLUE, RED):
                near = only_near(wcs, place) & (bits & 1 == 0)
                assert near.any()
                assert np.all(bits[near] > 1)
            assert np.mean(bits > 1) < 0.4
            library.shelve(model, index, modify=False)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "field_f150w_mbkgsub.fits",
        "field_f150w_mergedmask.fits",
        "field_f277w_mbkgsub.fits",
    ]
    with fits.open(tmp_path / "field_f277w_mbkgsub.fits") as hdus:
        placed = WCS(hdus["TIERMASK"].header)
        np.testing.assert_allclose(placed.wcs.crpix, mosaics[1][0].wcs.crpix)
        assert hdus["TIERMASK"].data.dtype == np.uint8
        assert hdus["BKGD"].shape == hdus["SCI"].shape == (200, 180)
        assert says(hdus[0].header, "ceers_mosaic_background COMPLETE")
    mask = fits.getdata(tmp_path / "field_f150w_mergedmask.fits")
    assert not (mask & 1).any()


def test_own_masks_of_a_list():
    mosaics = two_filters()
    library = MosaicBackgroundStep.call([model for _, model in mosaics], merge_masks=False)
    with library:
        model = library.borrow(0)
        bits = extension(model, "TIERMASK")
        library.shelve(model, 0, modify=False)
    wcs = mosaics[0][0]
    assert np.all(bits[only_near(wcs, BLUE)] > 1)
    assert np.mean(bits[only_near(wcs, RED)] > 1) < 0.1


# the temporary folder of a library ends with it
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
def test_association_of_two_products(tmp_path):
    products = []
    for band in ("f150w", "f277w"):
        mosaic(band=band.upper()).save(tmp_path / f"field_{band}_i2d.fits")
        datamodels.ImageModel((8, 8)).save(tmp_path / f"exposure_{band}_cal.fits")
        members = [{"expname": f"exposure_{band}_cal.fits", "exptype": "science"}]
        products.append({"name": f"field_{band}", "members": members})
    path = tmp_path / "asn.json"
    path.write_text(json.dumps({"asn_type": "image3", "asn_id": "a1", "products": products}))
    MosaicBackgroundStep.call(
        str(path), output_dir=str(tmp_path), save_results=True, in_memory=False
    )
    assert (tmp_path / "field_f150w_mbkgsub.fits").is_file()
    assert (tmp_path / "field_f277w_mbkgsub.fits").is_file()


def test_extensions_survive_being_read_and_written(tmp_path):
    path = tmp_path / "field_f150w_i2d.fits"
    mosaic().save(path)
    MosaicBackgroundStep.call(str(path), output_dir=str(tmp_path), save_results=True)
    with datamodels.open(tmp_path / "field_f150w_bkgsub.fits") as model:
        model.save(tmp_path / "again.fits")
    with fits.open(tmp_path / "again.fits") as hdus, fits.open(path) as before:
        np.testing.assert_array_equal(hdus["ERR"].data, before["ERR"].data)
        total = hdus["SCI"].data + hdus["BKGD"].data
        np.testing.assert_allclose(total, before["SCI"].data, atol=1e-6)
        assert hdus["BKGMASK"].data.max() == 1


def test_twice_subtracts_once():
    once = MosaicBackgroundStep.call(mosaic())
    twice = MosaicBackgroundStep.call(once)
    np.testing.assert_array_equal(once.data, twice.data)


def test_input_model_is_not_changed():
    model = mosaic()
    before = model.data.copy()
    MosaicBackgroundStep.call(model)
    np.testing.assert_array_equal(model.data, before)


def test_border_zero_as_published():
    result = MosaicBackgroundStep.call(mosaic(), method="published", border="zero")
    assert np.all(result.data[:, :10] == 0.0)


@pytest.mark.parametrize("separate", [None, "rms", "wht"])
def test_hst_image(tmp_path, separate):
    """Its source is masked in the mosaic; asked for, its own background is subtracted too."""
    wcs = plain_wcs()
    path = hst_image(
        tmp_path / "egs_f814w_drz.fits", sources=[(*RED, 0.1, 1.0)], tilt=0.0, separate=separate
    )
    result = MosaicBackgroundStep.call(
        mosaic(wcs, sources=[(*BLUE, 0.1, 1.0)], tilt=0.0),
        extra_images=[str(path)],
        subtract_extra=True,
        save_results=True,
        output_dir=str(tmp_path),
    )
    bits = extension(result, "TIERMASK")
    assert np.all(bits[only_near(wcs, RED)] > 1)
    assert not (bits[20, 20:] & 1).any()
    (written,) = tmp_path.glob("egs_f814w*_mbkgsub.fits")
    with fits.open(written) as hdus:
        assert np.all(hdus[0].data[:10] == 0)
        blank = hdus["BKGMASK"].data == 0
        # boxes of 400 pixels over the whole of it: 300 x 320 pixels
        assert abs(hdus[0].data[blank].mean()) < 0.03 * NOISE
        assert np.all(hdus["TIERMASK"].data[:10] & 1)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
@pytest.mark.parametrize("value", [1, 2])
def test_masks_of_any_type_mean_what_they_say(dtype, value, tmp_path):
    """1 for sources is what most programs write, and BKGMASK of this step."""
    wcs = plain_wcs()
    data = np.zeros(wcs.array_shape, dtype)
    data[20:40, 30:50] = value
    fits.writeto(tmp_path / "mask.fits", data, wcs.to_header())
    read = read_fits_mask(tmp_path / "mask.fits", "merged_mask")
    assert np.count_nonzero(read.image & 0b11111110) == 400


def test_merged_mask_is_used(tmp_path):
    """An edited mask stands in place of any search."""
    wcs = plain_wcs()
    mask = np.zeros(wcs.array_shape, np.int32)
    mask[100:140, 100:140] = 1 << 12
    path = tmp_path / "mask.fits"
    fits.writeto(path, mask, wcs.to_header())
    result = MosaicBackgroundStep.call(mosaic(wcs), merged_mask=str(path), method="published")
    bits = extension(result, "TIERMASK")
    np.testing.assert_array_equal(bits > 1, mask > 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_merged_mask_of_zeros_and_ones(tmp_path, dtype):
    """1 means source there, not the bit of the border."""
    wcs = plain_wcs()
    mask = np.zeros(wcs.array_shape, dtype)
    mask[100:140, 100:140] = 1
    path = tmp_path / "mask.fits"
    fits.writeto(path, mask, wcs.to_header())
    result = MosaicBackgroundStep.call(mosaic(wcs), merged_mask=str(path), method="published")
    np.testing.assert_array_equal(extension(result, "TIERMASK") > 1, mask > 0)


REGIONS = """# Region file format: DS9
fk5
circle(214.9,52.9,1.0")
-circle(214.9,52.9,0.3")
image
box(300,280,20,10,0)
"""


def test_regions_add_and_clear(tmp_path):
    wcs = plain_wcs()
    add, clear = tmp_path / "add.reg", tmp_path / "clear.reg"
    add.write_text(REGIONS)
    clear.write_text('fk5\ncircle(214.9,52.9,0.1")\nimage\nbox(300,282.5,20,5,0)\n')
    result = MosaicBackgroundStep.call(
        mosaic(wcs, sources=[(*RED, 0.1, 1.0)], tilt=0.0),
        mask_regions=str(add),
        exclude_regions=str(clear),
        method="published",
    )
    bits = extension(result, "TIERMASK")
    drawn = bits & 64 > 0
    ring = only_near(wcs, (0, 0), 0.97) & ~only_near(wcs, (0, 0), 0.33)
    assert drawn[ring].all()
    assert not drawn[only_near(wcs, (0, 0), 0.27)].any()
    # DS9 counts from 1: rows 275 to 284 are drawn, 280 to 284 cleared
    assert drawn[275:279, 290:309].all()
    assert not drawn[280:285, 290:309].any()


def test_image_regions_belong_to_the_first_mosaic(tmp_path):
    (fine, first), (coarse, second) = two_filters()
    path = tmp_path / "add.reg"
    path.write_text("image\ncircle(161,151,10)\n")
    library = MosaicBackgroundStep.call([first, second], mask_regions=str(path))
    for index, wcs in enumerate((fine, coarse)):
        with library:
            model = library.borrow(index)
            drawn = extension(model, "TIERMASK") & 64 > 0
            library.shelve(model, index, modify=False)
        # the circle of 0.3" around the middle of the first
        assert drawn[only_near(wcs, (0, 0), 0.24)].all()
        assert not drawn[~only_near(wcs, (0, 0), 0.36)].any()


def test_own_tiers(tmp_path):
    path = tmp_path / "tiers.csv"
    path.write_text("name,sigma,nsigma,npixels,growth\nnircam,2,1000,5,1\n")
    result = MosaicBackgroundStep.call(mosaic(), tiers=str(path), method="published")
    assert np.all(extension(result, "TIERMASK") <= 1)


def no_overlap(tmp_path):
    far = plain_wcs()
    far.wcs.crval = 10.0, -5.0
    path = tmp_path / "far.fits"
    fits.writeto(path, np.zeros(far.array_shape, np.uint8), far.to_header())
    return {"merged_mask": str(path)}


def no_wcs(tmp_path):
    path = tmp_path / "mask.fits"
    fits.writeto(path, np.zeros((300, 320), np.uint8))
    return {"merged_mask": str(path)}


def bad_regions(tmp_path):
    path = tmp_path / "bad.reg"
    path.write_text("fk5\ncircle(what)\n")
    return {"mask_regions": str(path)}


def point_region(tmp_path):
    path = tmp_path / "point.reg"
    path.write_text("image\npoint(10,10)\n")
    return {"exclude_regions": str(path)}


def no_such_hst(tmp_path):
    return {"extra_images": [str(tmp_path / "none_drz.fits")]}


def hst_cut_off(tmp_path):
    path = hst_image(tmp_path / "cut_f814w_drz.fits")
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 4)
    return {"extra_images": [str(path)]}


def hst_weight_empty(tmp_path):
    path = hst_image(tmp_path / "f814w_drz.fits", separate="wht")
    fits.PrimaryHDU().writeto(tmp_path / "f814w_wht.fits", overwrite=True)
    return {"extra_images": [str(path)]}


def bad_tiers(tmp_path):
    path = tmp_path / "tiers.csv"
    path.write_text("name,sigma\nnircam,2\n")
    return {"tiers": str(path)}


def everything_masked(tmp_path):
    path = tmp_path / "mask.fits"
    wcs = plain_wcs()
    fits.writeto(path, np.full(wcs.array_shape, 2, np.uint8), wcs.to_header())
    return {"merged_mask": str(path)}


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (no_overlap, "do not overlap"),
        (no_wcs, "no celestial WCS"),
        (bad_regions, "mask_regions"),
        (point_region, "have no area"),
        (no_such_hst, "none_drz.fits"),
        (hst_cut_off, "cut_f814w_drz.fits cannot be read"),
        (hst_weight_empty, "f814w_wht.fits holds no image"),
        (bad_tiers, "Give a table with the columns"),
        (everything_masked, "no background can be fitted"),
        (lambda _: {"filter_size": 4}, "odd"),
    ],
)
def test_problems_of_parameters(tmp_path, problem, message):
    with pytest.raises(StepError, match=message):
        MosaicBackgroundStep.call(mosaic(), **problem(tmp_path))


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_mosaic_without_measurable_background_is_kept(tmp_path, in_memory):
    """With on_failure='keep' it is written as it is, with the reason; the others are subtracted."""
    crowded, free = mosaic(seed=1), mosaic(seed=2)
    names = [str(tmp_path / f"{name}_i2d.fits") for name in ("crowded", "free")]
    for model, name in zip((crowded, free), names, strict=True):
        model.save(name)
    regions = everything_masked(tmp_path)["merged_mask"]
    before = crowded.data.copy()
    settings = {"on_failure": "keep", "in_memory": in_memory, "output_dir": str(tmp_path)}
    MosaicBackgroundStep.call(names[0], merged_mask=regions, save_results=True, **settings)
    MosaicBackgroundStep.call(names[1], save_results=True, **settings)
    with datamodels.open(tmp_path / "crowded_mbkgsub.fits") as kept:
        known = np.isfinite(kept.data)
        np.testing.assert_array_equal(kept.data[known], before[known])
        assert known.any()
        entry = kept.meta.instance["ceers_steps"]["ceers_mosaic_background"]
        assert kept.meta.cal_step.instance["ceers_mosaic_background"] == entry["status"] == "FAILED"
        assert entry["note"].startswith("BACKGROUND NOT SUBTRACTED (no background can be fitted: ")
        assert entry["metrics"]["masked_fraction"] == 1
        reason = entry["metrics"]["background_refused"]
        assert refusals({"x": entry["metrics"]}) == [f"background not subtracted: {reason}"]
        assert not np.any(kept.extra_fits.BKGD.data)
    with datamodels.open(tmp_path / "free_bkgsub.fits") as done:
        assert done.meta.cal_step.instance["ceers_mosaic_background"] == "COMPLETE"


def test_a_sky_in_narrow_gaps_is_marked(tmp_path):
    """Where the mask leaves nothing but gaps of eight pixels, the sky in them is subtracted."""
    wcs = plain_wcs()
    y, x = np.indices(wcs.array_shape) % 60
    path = tmp_path / "mask.fits"
    fits.writeto(path, 2 * (np.maximum(x, y) >= 8).astype(np.uint8), wcs.to_header())
    sky = np.random.default_rng(3).normal(0.3, NOISE, wcs.array_shape).astype(np.float32)
    result = MosaicBackgroundStep.call(mosaic(wcs, image=sky), merged_mask=str(path))
    entry = result.meta.instance["ceers_steps"]["ceers_mosaic_background"]
    assert entry["status"] == "COMPLETE"
    assert entry["note"].startswith("sources leave no sky but in narrow gaps")
    assert np.abs(result.extra_fits.BKGD.data - 0.3).max() < NOISE


def test_problems_of_the_input(tmp_path):
    with pytest.raises(StepError, match="does not exist"):
        MosaicBackgroundStep.call(str(tmp_path / "none_i2d.fits"))
    model = mosaic()
    model.meta.cal_step.resample = None
    del model.wht
    with pytest.raises(StepError, match="not a mosaic"):
        MosaicBackgroundStep.call(model)
    with pytest.raises(StepError, match="takes ImageModel"):
        MosaicBackgroundStep.call(datamodels.RampModel((1, 2, 8, 8)))
    with pytest.raises(StepError, match="is empty"):
        MosaicBackgroundStep.call([])
    empty = mosaic(image=np.full((64, 64), np.nan, np.float32))
    with pytest.raises(StepError, match="no sources can be searched"):
        MosaicBackgroundStep.call(empty)


def test_core_bit_is_kept_for_reuse(tmp_path):
    """A merged mask that is given back tells the outskirts where sources are."""
    mosaics = [mosaic(), mosaic(band="F200W", seed=2)]
    MosaicBackgroundStep.call(mosaics, save_results=True, output_dir=str(tmp_path))
    path = tmp_path / "field_f150w_mergedmask.fits"
    assert (fits.getdata(path) & CORE).any()
    before = path.read_bytes()
    again = MosaicBackgroundStep.call(mosaic(), merged_mask=str(path), output_dir=str(tmp_path))
    assert path.read_bytes() == before
    first = fits.getdata(tmp_path / "field_f150w_mbkgsub.fits", "TIERMASK")
    np.testing.assert_array_equal(extension(again, "TIERMASK"), first)


def contents(path):
    """Headers and data of a product, without what changes with the time."""
    with fits.open(path) as hdus:
        hdus.verify("exception")
        found = []
        for hdu in hdus:
            if hdu.name == "ASDF":
                found.append((hdu.name, None, None))
                continue
            cards = hdu.header.tostring(sep="\n").split("\n")
            cards = [card for card in cards if not card.startswith("DATE    ")]
            found.append((hdu.name, cards, None if hdu.data is None else hdu.data.copy()))
        return found


def all_planes(model):
    """Give a mosaic the planes that resample can write."""
    shape = model.data.shape
    model.con = np.arange(2 * model.data.size, dtype=np.int32).reshape(2, *shape)
    model.dq = np.full(shape, 1 << 31, np.uint32)
    model.var_rnoise = np.linspace(0, 1, model.data.size, dtype=np.float32).reshape(shape)
    model.hdrtab = np.array([(b"a", 1.0)], dtype=[("FILENAME", "S8"), ("EXPTIME", "f8")])
    return model


@pytest.fixture
def small_strips(monkeypatch):
    """Strips of 64 rows."""
    monkeypatch.setattr("ceers_steps.kernels.rows.ROWS", RowSettings(1, 1))
    monkeypatch.setattr("ceers_steps.kernels.sources.background.MESH", MeshSettings(strip_size=1))


@pytest.mark.slow
@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("method", ["adaptive", "published"])
def test_in_strips_as_in_memory(tmp_path, method):
    """Pixels, headers and order of the products of files do not depend on how they are read."""
    add = tmp_path / "add.reg"
    add.write_text(REGIONS)
    paths = []
    for _, model in two_filters():
        paths.append(str(tmp_path / model.meta.filename))
        all_planes(model).save(paths[-1])
    parameters = {"method": method, "mask_regions": str(add), "save_results": True}
    for name, in_memory in (("memory", True), ("strips", False)):
        result = MosaicBackgroundStep.call(
            paths, output_dir=str(tmp_path / name), in_memory=in_memory, **parameters
        )
    names = sorted(path.name for path in (tmp_path / "memory").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "strips").iterdir())
    assert sorted(result) == [str(tmp_path / "strips" / name) for name in names if "bkg" in name]
    for name in names:
        pairs = zip(*(contents(tmp_path / how / name) for how in ("memory", "strips")), strict=True)
        for (first, cards, data), (second, other_cards, other_data) in pairs:
            assert first == second
            assert cards == other_cards
            np.testing.assert_array_equal(data, other_data)


@pytest.mark.slow
def test_product_in_strips_is_a_model(tmp_path):
    """jwst opens it, and finds what was recorded; done a second time, it is left alone."""
    path = tmp_path / "field_f150w_i2d.fits"
    mosaic().save(path)
    product = MosaicBackgroundStep.call(str(path), output_dir=str(tmp_path), stream_above=0.01)
    assert product == str(tmp_path / "field_f150w_bkgsub.fits")
    expected = MosaicBackgroundStep.call(mosaic())
    with datamodels.open(product) as model:
        np.testing.assert_array_equal(model.data, expected.data)
        np.testing.assert_array_equal(model.err, expected.err)
        np.testing.assert_array_equal(extension(model, "BKGD"), extension(expected, "BKGD"))
        assert model.meta.cal_step.instance["ceers_mosaic_background"] == "COMPLETE"
        metrics = model.meta.instance["ceers_steps"]["ceers_mosaic_background"]["metrics"]
        assert (
            metrics == expected.meta.instance["ceers_steps"]["ceers_mosaic_background"]["metrics"]
        )
        assert model.meta.filename == "field_f150w_bkgsub.fits"
        assert model.cal_logs.instance["ceers_mosaic_background"]
    assert MosaicBackgroundStep.call(product, in_memory=False) == product


def test_strips_need_a_plain_file(tmp_path):
    """A compressed file is read into memory."""
    path = tmp_path / "field_f150w_i2d.fits"
    mosaic().save(path)
    with fits.open(path) as hdus:
        hdus.writeto(tmp_path / "field_f150w_i2d.fits.gz")
    result = MosaicBackgroundStep.call(str(tmp_path / "field_f150w_i2d.fits.gz"), in_memory=False)
    np.testing.assert_array_equal(result.data, MosaicBackgroundStep.call(mosaic()).data)


def test_no_room_for_the_product(tmp_path, monkeypatch):
    path = tmp_path / "field_f150w_i2d.fits"
    mosaic().save(path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(StepError, match="GB free"):
        MosaicBackgroundStep.call(str(path), output_dir=str(tmp_path / "out"), in_memory=False)
    assert not list((tmp_path / "out").iterdir())
