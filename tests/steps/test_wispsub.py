"""The wisp step: what it applies to, what it writes, what it refuses."""

import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy import ndimage
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.files.wisps.templates import find_templates, read_components, read_templates
from ceers_steps.names import effective_filter
from ceers_steps.steps.wispsub import WispSubStep
from tests.history import says

EXPOSURE = "jw01345001001_02201_00001_nrcb4"
SHAPE = (256, 256)
START = (1300, 1100)  # of the subarray in the full frame, (y, x) from 0: inside the wisp of B4
SKY, NOISE, SCALE = 0.12, 0.004, 0.7
NAME = "wisps_nrcb4_F150W.fits"


@pytest.fixture(autouse=True)
def _no_templates_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NIRCAM_WISP_TEMPLATES", raising=False)


def wisp(tilt=0.6):
    """A filament and a veil that leave parts of the subarray free, DN/s."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    along = (x - 128) * np.cos(tilt) + (y - 128) * np.sin(tilt)
    across = (y - 128) * np.cos(tilt) - (x - 128) * np.sin(tilt)
    image = np.exp(-0.5 * (across / 9) ** 2 - 0.5 * (along / 45) ** 2)
    image += 0.3 * np.exp(-0.5 * (across / 30) ** 2 - 0.5 * (along / 40) ** 2)
    return (0.03 * image).astype(np.float32)


def flat_field():
    rng = np.random.default_rng(3)
    return (1 + 4 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 15)).astype(np.float32)


def describe(model, **changes):
    """Fill in the keywords of a subarray of B4."""
    model.meta.filename = f"{EXPOSURE}_rate.fits"
    model.meta.instrument.name = "NIRCAM"
    keywords = {"detector": "NRCB4", "filter": "F150W", "pupil": "CLEAR", **changes}
    for key in ("detector", "filter", "pupil"):
        setattr(model.meta.instrument, key, keywords[key])
    model.meta.exposure.type = keywords.get("exp_type", "NRC_IMAGE")
    model.meta.exposure.noutputs = 1
    model.meta.subarray.name = "SUB256"
    for axis, first, size in zip("yx", START, SHAPE, strict=True):
        setattr(model.meta.subarray, f"{axis}start", first + 1)
        setattr(model.meta.subarray, f"{axis}size", size)
    return model


def rate(scale=SCALE, seed=0, n_integrations=None, **changes):
    rng = np.random.default_rng(seed)
    shape = SHAPE if n_integrations is None else (n_integrations, *SHAPE)
    data = (SKY + scale * wisp()) * flat_field() + NOISE * rng.standard_normal(shape)
    dq = np.zeros(shape, np.uint32)
    dq[..., 50, 60:70] = dqflags.pixel["DO_NOT_USE"]
    data[dq > 0] = np.nan
    kind = datamodels.ImageModel if n_integrations is None else datamodels.CubeModel
    model = kind(data=data.astype(np.float32), dq=dq)
    model.err = np.full(shape, NOISE, np.float32)
    model.var_rnoise = np.full(shape, NOISE**2, np.float32)
    return describe(model, **changes)


@pytest.fixture(scope="session")
def flat_file(tmp_path_factory):
    model = describe(datamodels.FlatModel(data=flat_field()))
    model.dq = np.zeros(SHAPE, np.uint32)
    model.dq[20, 30] = dqflags.pixel["NO_FLAT_FIELD"]
    path = tmp_path_factory.mktemp("flat") / "flat.fits"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def template_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    full = np.zeros((2048, 2048), np.float32)
    full[START[0] : START[0] + SHAPE[0], START[1] : START[1] + SHAPE[1]] = wisp()
    fits.writeto(folder / NAME, full)
    return folder


@pytest.fixture
def subtract(flat_file, template_dir):
    def run(model, **parameters):
        given = {"template_dir": str(template_dir), "override_flat": str(flat_file)}
        # `process` is what a pipeline runs; nothing of it needs CRDS when the flat is given
        return WispSubStep(**given | parameters).process(model)

    return run


def status(model):
    return model.meta.cal_step.instance["ceers_wispsub"]


def metrics(model):
    return model.meta.instance["ceers_steps"]["ceers_wispsub"]["metrics"]


def note(model):
    return model.meta.instance["ceers_steps"]["ceers_wispsub"]["note"]


def test_wisp_goes_and_the_rest_stays(subtract, tmp_path):
    model = rate()
    before = model.data.copy()
    result = subtract(model)
    assert status(result) == "COMPLETE"
    found = metrics(result)
    assert abs(found["scale"] - SCALE) < 4 * found["scale_err"]
    assert found["scale"] == found["measured_scale"]
    assert found["significance"] > 5
    # what is subtracted is the template times the flat; beyond its extent nothing is
    expected = found["scale"] * wisp() * flat_field()
    assert np.nanmax(np.abs(before - result.data - expected)) < 0.02 * 0.03
    np.testing.assert_array_equal(result.data[:8], before[:8])
    # the input is not touched, flags neither; the error of the scale is added where the wisp is
    np.testing.assert_array_equal(model.data, before)
    np.testing.assert_array_equal(result.dq, model.dq)
    np.testing.assert_array_equal(result.err[:8], model.err[:8])
    added = (found["scale_err"] * wisp() * flat_field()) ** 2
    np.testing.assert_allclose(result.err**2 - model.err**2, added, atol=0.05 * added.max())
    np.testing.assert_allclose(result.var_rnoise, result.err**2, rtol=1e-5)
    result.save(tmp_path / "saved.fits")
    header = fits.getheader(tmp_path / "saved.fits")
    assert says(header, "ceers_wispsub COMPLETE; wisp subtracted; method=lsq")


def test_second_run_does_nothing(subtract):
    once = subtract(rate(), scale=0.7)
    twice = subtract(once, scale=0.7)
    np.testing.assert_array_equal(once.data, twice.data)
    assert status(twice) == "COMPLETE"


def test_no_wisp(subtract):
    model = rate(scale=0)
    result = subtract(model)
    assert status(result) == "SKIPPED"
    np.testing.assert_array_equal(result.data, model.data)
    assert "no significant wisp" in note(result)
    assert metrics(result)["scale"] == 0
    assert metrics(result)["significance"] < 5


def test_every_integration_has_its_own_scale(subtract):
    model = rate(n_integrations=2)
    model.data[1] -= 0.3 * wisp() * flat_field()
    result = subtract(model)
    assert status(result) == "COMPLETE"
    errors = np.array(metrics(result)["scale"]) - [SCALE, SCALE - 0.3]
    assert np.all(np.abs(errors) < 4 * np.array(metrics(result)["scale_err"]))


def test_scale_by_hand_and_from_the_table(subtract, tmp_path):
    table = tmp_path / "overrides.csv"
    table.write_text(f"exposure,wisp_scale,skip_wispsub\n{EXPOSURE},0.5,false\n")
    model = rate()
    by_hand = subtract(model, scale=0.5)
    from_table = subtract(model, scale=0.9, overrides=str(table))
    np.testing.assert_array_equal(by_hand.data, from_table.data)
    assert metrics(by_hand)["scale"] == 0.5
    expected = 0.5 * wisp() * flat_field()
    assert np.nanmax(np.abs(model.data - by_hand.data - expected)) < 0.02 * 0.03

    table.write_text(f"exposure,wisp_scale,skip_wispsub\n{EXPOSURE},0.5,true\n")
    skipped = subtract(model, overrides=str(table))
    assert status(skipped) == "SKIPPED"
    assert "skip_wispsub" in note(skipped)


def test_template_frame(subtract, tmp_path):
    fits.writeto(tmp_path / NAME, wisp() * flat_field())
    model = rate()
    raw = subtract(model, template_dir=str(tmp_path), template_frame="raw")
    flat = subtract(model)
    assert metrics(raw)["scale"] == pytest.approx(
        metrics(flat)["scale"], abs=metrics(flat)["scale_err"]
    )
    np.testing.assert_allclose(raw.data, flat.data, atol=0.02 * 0.03)


def test_published_method(subtract, template_dir):
    model = rate()
    result = subtract(model, method="ceers")
    scale = metrics(result)["scale"]
    assert scale in np.arange(0.01, 1.2, 0.02)
    assert scale == pytest.approx(SCALE, abs=0.1)
    # as published, the template is subtracted as it is
    np.testing.assert_allclose(
        result.data, model.data - np.float32(scale) * wisp(), atol=1e-7, equal_nan=True
    )
    by_hand = subtract(model, method="ceers", scale=0.53)
    np.testing.assert_allclose(by_hand.data, model.data - np.float32(0.53) * wisp(), atol=1e-7)


def test_several_components(subtract, template_dir, tmp_path):
    second = wisp(tilt=-0.7)
    fits.writeto(tmp_path / NAME, wisp())
    fits.writeto(tmp_path / NAME.replace(".fits", "_1.fits"), second)
    fits.writeto(tmp_path / "both.fits", np.stack([wisp(), second]))
    model = rate()
    model.data += 0.4 * second * flat_field()
    by_name = subtract(model, template_dir=str(tmp_path))
    errors = np.array(metrics(by_name)["scale"]) - [SCALE, 0.4]
    assert np.all(np.abs(errors) < 4 * np.array(metrics(by_name)["scale_err"]))
    listed = subtract(model, templates=[str(tmp_path / "both.fits")])
    np.testing.assert_array_equal(listed.data, by_name.data)
    for parameters in ({"scale": 0.7}, {"method": "ceers"}):
        with pytest.raises(CeersError, match="2 wisp components are given"):
            subtract(model, templates=[str(tmp_path / "both.fits")], **parameters)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"detector": "NRCB1"}, "NRCB1 has no wisps"),
        ({"detector": "NRCBLONG", "filter": "F277W"}, "NRCBLONG has no wisps"),
        ({"filter": "F090W"}, "no wisp template for NRCB4 F090W"),
        ({"filter": "F150W2", "pupil": "F164N"}, "no wisp template for NRCB4 F164N"),
        ({"exp_type": "NRC_CORON"}, "not NIRCam imaging"),
    ],
)
def test_what_is_skipped(subtract, changes, reason):
    model = rate(**changes)
    result = subtract(model)
    assert status(result) == "SKIPPED"
    assert reason in note(result)
    np.testing.assert_array_equal(result.data, model.data)


def test_wisp_outside_the_subarray(subtract):
    model = rate()
    model.meta.subarray.xstart, model.meta.subarray.ystart = 1, 1
    for method in ("lsq", "ceers"):
        # a flat made for this place
        flat = describe(datamodels.FlatModel(data=flat_field(), dq=np.zeros(SHAPE, np.uint32)))
        flat.meta.subarray.xstart, flat.meta.subarray.ystart = 1, 1
        flat.save("flat.fits")
        result = subtract(model, method=method, override_flat="flat.fits")
        assert status(result) == "SKIPPED"
        assert "does not reach subarray SUB256" in note(result)


def test_extra_products(subtract, tmp_path):
    pytest.importorskip("matplotlib")
    for model in (rate(), rate(n_integrations=2)):
        ints = "ints" if model.data.ndim == 3 else ""
        result = subtract(
            model, save_wisp_model=True, save_plots=True, output_dir=str(tmp_path / "out")
        )
        with datamodels.open(tmp_path / "out" / f"{EXPOSURE}_wispmodel{ints}.fits") as product:
            assert product.meta.instrument.detector == "NRCB4"
            np.testing.assert_allclose(model.data - product.data, result.data, atol=1e-7)
        figure = tmp_path / "out" / f"{EXPOSURE}_wisp{ints}.png"
        assert figure.read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize(("scale", "at_bound"), [(0.6, False), (1.98, True)])
def test_a_published_scale_at_the_end_of_its_range_is_told(subtract, caplog, scale, at_bound):
    result = subtract(rate(scale=scale), method="ceers")
    metrics = result.meta.ceers_steps.instance["ceers_wispsub"]["metrics"]
    assert metrics["at_bound"] is at_bound
    assert ("at the end of the range" in caplog.text) is at_bound


def test_missing_template(subtract, tmp_path, monkeypatch):
    monkeypatch.setenv("NIRCAM_WISP_TEMPLATES", f"{tmp_path}/a:{tmp_path}/b")
    with pytest.raises(CeersError) as caught:
        subtract(rate(filter="F200W"))
    for part in ("wisps_nrcb4_F200W.fits", f"{tmp_path}/a", f"{tmp_path}/b", "template_dir"):
        assert part in str(caught.value)
    with pytest.raises(CeersError, match=r"absent\.fits of templates does not exist"):
        subtract(rate(), templates=["absent.fits"])


def test_templates_of_the_environment(subtract, template_dir, monkeypatch):
    monkeypatch.setenv("NIRCAM_WISP_TEMPLATES", f"elsewhere:{template_dir}")
    assert status(subtract(rate(), template_dir=None)) == "COMPLETE"
    assert find_templates("NRCB4", "F150W", None) == [template_dir / NAME]


def test_a_cal_image_is_refused(subtract):
    """It has the data model of a rate image, and another unit than the template."""
    model = rate()
    model.meta.cal_step.photom = "COMPLETE"
    with pytest.raises(CeersError, match=r"photom applied already.*_rate\.fits"):
        subtract(model)


def test_unusable_templates(subtract, tmp_path):
    path = tmp_path / NAME

    def refuse(message):
        with pytest.raises(CeersError, match=message) as caught:
            subtract(rate(), template_dir=str(tmp_path))
        assert str(path) in str(caught.value)

    path.write_text("no FITS file")
    refuse("cannot be read")
    fits.writeto(path, wisp(), overwrite=True)
    os.truncate(path, 100_000)
    refuse("is not complete")
    fits.HDUList([fits.PrimaryHDU()]).writeto(path, overwrite=True)
    refuse("holds no image")
    fits.writeto(path, np.zeros(10), overwrite=True)
    refuse("holds an image of shape")
    fits.writeto(path, wisp()[:100], overwrite=True)
    refuse("does not cover")
    fits.writeto(path, np.zeros(SHAPE), overwrite=True)
    refuse("it holds no wisp")
    fits.writeto(path, np.full(SHAPE, np.inf), overwrite=True)
    refuse("infinite values")
    fits.writeto(path, 1e-40 * wisp().astype(float), overwrite=True)
    refuse("wisps have less than 1 DN/s, and more than 1e-06")
    fits.writeto(path, 1e4 * wisp(), overwrite=True)
    refuse("wisps have less than 1 DN/s")
    one_pixel, few = wisp(), np.full(SHAPE, np.nan, np.float32)
    one_pixel[3, 4], few[100] = 1e30, wisp()[100]
    fits.writeto(path, one_pixel, overwrite=True)
    refuse(r"to 1e\+30")
    fits.writeto(path, few, overwrite=True)
    refuse("has values in 256 pixels only")
    for keyword, value, message in (
        ("DETECTOR", "NRCA3", "is that of DETECTOR=NRCA3, .* is of NRCB4"),
        ("INSTRUME", "MIRI", "is that of INSTRUME=MIRI"),
        ("BUNIT", "electron/s", "is in electron/s; wanted is DN/s"),
        ("BUNIT", "MJy/sr", "Divide it by PHOTMJSR"),
    ):
        fits.writeto(path, wisp(), fits.Header({keyword: value}), overwrite=True)
        refuse(message)
    fits.writeto(path, wisp(), overwrite=True)
    fits.writeto(tmp_path / NAME.replace(".fits", "_1.fits"), wisp()[:100])
    refuse("give templates of one size")


@pytest.mark.parametrize("error", [np.inf, -1.0, 1e30, np.nan])
def test_errors_of_a_template_that_are_none(error, tmp_path):
    names = {"WISP_0": wisp(), "ERR": np.full(SHAPE, error, np.float32)}
    images = [fits.ImageHDU(image, name=name) for name, image in names.items()]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "x.fits")
    message = r"x\.fits: ERR has negative, infinite, huge or no values"
    with pytest.raises(CeersError, match=message):
        read_components(tmp_path / "x.fits")


def test_a_template_of_another_filter_is_warned_of(subtract, tmp_path, caplog):
    fits.writeto(tmp_path / NAME, wisp(), fits.Header({"FILTER": "F115W", "PUPIL": "CLEAR"}))
    assert status(subtract(rate(), template_dir=str(tmp_path))) == "COMPLETE"
    assert f"{NAME} is that of F115W, not of " in caplog.text


def test_a_template_dir_that_does_not_exist_is_an_error(subtract, template_dir, monkeypatch):
    monkeypatch.setenv("NIRCAM_WISP_TEMPLATES", str(template_dir))
    with pytest.raises(CeersError, match=r"template_dir=/nowhere: no such directory"):
        subtract(rate(), template_dir="/nowhere")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("template_dir", "/nowhere", "template_dir=/nowhere: no such directory"),
        ("templates", ["/no"], "/no of templates does not exist"),
    ],
)
def test_so_are_places_that_this_exposure_does_not_need(subtract, name, value, message):
    model = rate()
    model.meta.instrument.detector = "NRCB1"  # it has no wisps
    with pytest.raises(CeersError, match=message):
        subtract(model, **{"template_dir": None, name: value})


def test_home_and_variables_in_template_dir(subtract, template_dir, monkeypatch):
    monkeypatch.setenv("HOME", str(template_dir.parent))
    monkeypatch.setenv("WISPS", str(template_dir))
    for name in (f"~/{template_dir.name}", "$WISPS"):
        assert status(subtract(rate(), template_dir=name)) == "COMPLETE"


@pytest.mark.parametrize("scale", [-5.0, np.inf, 1e30, np.nan])
def test_impossible_scales_are_refused(subtract, tmp_path, scale):
    table = tmp_path / "overrides.ecsv"
    Table({"exposure": [EXPOSURE], "wisp_scale": [scale]}).write(table, format="ascii.ecsv")
    if np.isnan(scale):  # an empty cell: it is fitted
        assert status(subtract(rate(), overrides=str(table))) == "COMPLETE"
        return
    with pytest.raises(CeersError, match=r"wisp_scale.*use 0 to 100"):
        subtract(rate(), overrides=str(table))


class TestFilesOfOthers:
    """Templates as NMFwisp and STScI give them out."""

    def read(self, tmp_path, hdus, model=None, name="template.fits"):
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / name, overwrite=True)
        model = model or datamodels.ImageModel((2048, 2048))
        return read_templates([tmp_path / name], model).components

    def test_every_component_is_read(self, tmp_path):
        rng = np.random.default_rng(2)
        planes = rng.normal(0, 1, (3, 64, 64)).astype(np.float32)
        hdus = [fits.ImageHDU(plane, name=f"WISP_{k}") for k, plane in enumerate(planes)]
        others = ("MASK", "MASK_HSNR", "ERR")
        hdus += [fits.ImageHDU(np.abs(planes[0]), name=name) for name in others]
        found = self.read(tmp_path, hdus, datamodels.ImageModel((64, 64)))
        np.testing.assert_array_equal(found, planes)

    def test_quarter_resolution_holds_means_over_blocks(self, tmp_path):
        y, x = np.indices((2048, 2048), np.float32)
        whole = np.exp(-((x - 700.3) ** 2 + (y - 1500.8) ** 2) / (2 * 150**2)).astype(np.float32)
        quarter = whole.reshape(512, 4, 512, 4).mean(axis=(1, 3))
        (found,) = self.read(tmp_path, [fits.ImageHDU(quarter, name="WISP_0")])
        # no shift: means over blocks, and interpolation, blur by 4 pixels at most
        np.testing.assert_allclose(found, whole, atol=2e-3)
        assert found.sum(dtype=float) == pytest.approx(whole.sum(dtype=float), rel=1e-4)
        for places in (x, y):
            both = [np.average(places, weights=image) for image in (found, whole)]
            assert both[0] == pytest.approx(both[1], abs=0.01)

    def test_rate_is_taken_beside_cal(self, tmp_path):
        image = np.random.default_rng(2).normal(0, 1, (64, 64)).astype(np.float32)
        cal = fits.ImageHDU(2 * image, fits.Header([("BUNIT", "MJy/sr")]), name="CAL")
        hdus = [cal, fits.ImageHDU(image, fits.Header([("BUNIT", "DN/s")]), name="RATE")]
        model = datamodels.ImageModel((64, 64))
        name = "WISP_NRCB4_F150W_CLEAR.fits"
        np.testing.assert_array_equal(self.read(tmp_path, hdus, model, name)[0], image)
        assert find_templates("NRCB4", "F150W", str(tmp_path)) == [tmp_path / name]
        # it is subtracted from rate images as they are: the flat is not divided out
        assert read_templates([tmp_path / name], model).frame == "raw"
        with pytest.raises(CeersError, match=r"is in MJy/sr; wanted is DN/s"):
            self.read(tmp_path, [cal], model)

    @pytest.mark.parametrize(
        ("name", "filter_name"),
        [
            ("WISP_NRCB4_F150W2_F162M.fits", "F162M"),
            ("nrcb4_f150w_wisp.fits", "F150W"),
            ("nrcb4_f150w_wisp.fits.gz", "F150W"),
        ],
    )
    def test_found_by_their_own_names(self, tmp_path, name, filter_name):
        (tmp_path / name).touch()
        assert find_templates("NRCB4", filter_name, str(tmp_path)) == [tmp_path / name]
        with pytest.raises(CeersError, match="not found"):
            find_templates("NRCB4", "F200W", str(tmp_path))

    def test_frames_are_not_mixed(self, tmp_path):
        for name in ("RATE", "WISP_0"):
            hdu = fits.ImageHDU(np.eye(64, dtype=np.float32), name=name)
            hdu.writeto(tmp_path / f"{name}.fits")
        paths = [tmp_path / "RATE.fits", tmp_path / "WISP_0.fits"]
        with pytest.raises(CeersError, match="Give templates of one kind"):
            read_templates(paths, datamodels.ImageModel((64, 64)))

    def test_several_images_of_other_names_are_refused(self, tmp_path):
        image = np.eye(64, dtype=np.float32)
        hdus = [fits.ImageHDU(image, name=name) for name in ("A", "B")]
        with pytest.raises(CeersError, match=r"several images \(A, B\)"):
            self.read(tmp_path, hdus, datamodels.ImageModel((64, 64)))
        for name in ("", "A"):
            hdus = [fits.ImageHDU(image, name=name) for _ in range(2)]
            with pytest.raises(CeersError, match="several images of one name"):
                self.read(tmp_path, hdus, datamodels.ImageModel((64, 64)))


class TestPackage:
    """Templates of nmfwisp, where it is installed."""

    @pytest.mark.parametrize(
        ("detector", "filter_name", "name"),
        [
            ("NRCB4", "F150W", "nrcb4_org/nrcb4_f150w_wisp.fits.gz"),
            ("NRCB4", "F115W", "nrcb4/nrcb4_f115w_wisp.fits.gz"),
            ("NRCB4", "F162M", "nrcb4/nrcb4_f150w2_wisp.fits.gz"),
            ("NRCB4", "F164N", "nrcb4/nrcb4_f150w2_wisp.fits.gz"),
            ("NRCA3", "F200W", "nrca3/nrca3_f200w_wisp.fits.gz"),
            ("NRCB4", "F090W", None),
        ],
    )
    def test_found_by_detector_and_effective_filter(
        self, wisp_package, detector, filter_name, name
    ):
        expected = [wisp_package / name] if name else []
        assert find_templates(detector, filter_name, None) == expected

    def test_own_templates_win(self, wisp_package, template_dir, monkeypatch):
        own = [template_dir / NAME]
        assert find_templates("NRCB4", "F150W", str(template_dir)) == own
        monkeypatch.setenv("NIRCAM_WISP_TEMPLATES", str(template_dir))
        assert find_templates("NRCB4", "F150W", None) == own
        assert find_templates("NRCB4", "F115W", None)[0].is_relative_to(wisp_package)

    def test_without_any_the_package_is_named(self, wisp_package):
        with pytest.raises(CeersError, match=r"pip install 'ceers_steps\[wisps\]'"):
            find_templates("NRCB3", "F200W", None)

    def test_what_was_used_is_recorded(self, wisp_package, subtract, tmp_path):
        model = rate(scale=0)
        full = np.zeros((2048, 2048), np.float32)
        for scale, image in zip((0.8, 0.3), self.components(wisp_package), strict=True):
            full += scale * image
        part = full[START[0] : START[0] + SHAPE[0], START[1] : START[1] + SHAPE[1]]
        model.data += part * flat_field()
        result = subtract(model, template_dir=None)
        assert status(result) == "COMPLETE"
        used = result.meta.instance["ceers_steps"]["ceers_wispsub"]["parameters"]
        assert used["templates"] == ["nrcb4_f150w_wisp.fits.gz"]
        assert used["template_package"] == "nmfwisp 9.8.7"
        assert (used["components"], used["template_frame"]) == (2, "flat")
        errors = np.array(metrics(result)["scale"]) - [0.8, 0.3]
        assert np.all(np.abs(errors) < 4 * np.array(metrics(result)["scale_err"]))
        result.save(tmp_path / "saved.fits")
        assert says(fits.getheader(tmp_path / "saved.fits"), "template_package=nmfwisp 9.8.7")

    def test_the_error_of_the_template_is_added(self, wisp_package, subtract):
        model = rate()
        result = subtract(model, template_dir=None)
        scales = np.array(metrics(result)["scale"])
        # ERR of the package, 1e-4 for a scale of 1, where the wisp is
        least = 1e-4 * np.sqrt((scales**2).sum()) * flat_field()
        added = np.sqrt(result.var_rnoise - model.var_rnoise)
        assert np.all(added[100:150, 100:150] >= 0.999 * least[100:150, 100:150])

    def test_persistence_of_a3_is_one_more_component(self, wisp_package):
        model = describe(datamodels.ImageModel((2048, 2048)), detector="NRCA3", filter="F200W")
        plain, _ = WispSubStep().template_files(model, {})
        paths, _ = WispSubStep(persistence=True).template_files(model, {})
        extra = wisp_package / "nrca3" / "nrca3_persistence.fits.gz"
        assert paths == [*plain, extra]
        found = read_templates(paths, datamodels.ImageModel((2048, 2048)))
        assert found.components.shape == (2, 2048, 2048)  # in quarter resolution, too
        other = describe(datamodels.ImageModel((2048, 2048)))
        paths, _ = WispSubStep(persistence=True).template_files(other, {})
        assert [path.name for path in paths] == ["nrcb4_f150w_wisp.fits.gz"]

    @staticmethod
    def components(folder):
        with fits.open(folder / "nrcb4_org" / "nrcb4_f150w_wisp.fits.gz") as hdus:
            return [hdus[f"WISP_{k}"].data for k in (0, 1)]


def test_flat_that_does_not_cover(subtract):
    flat = describe(datamodels.FlatModel(data=flat_field()[:100]))
    flat.save("flat.fits")
    with pytest.raises(CeersError, match="override_flat"):
        subtract(rate(), override_flat="flat.fits")


@pytest.mark.parametrize("method", ["lsq", "ceers"])
@pytest.mark.parametrize("spoilt", ["data", "dq"])
def test_nothing_usable(subtract, method, spoilt):
    model = rate()
    if spoilt == "data":
        model.data[:] = np.nan
    else:
        model.dq[:] = dqflags.pixel["DO_NOT_USE"]
    for options in ({"method": method}, {"scale": 0.5}):
        result = subtract(model, **options)
        assert result.meta.cal_step.instance["ceers_wispsub"] == "SKIPPED"
        np.testing.assert_array_equal(result.data, model.data)


def test_wisp_masked(subtract):
    model = rate()
    model.dq[8:] = dqflags.pixel["DO_NOT_USE"]
    result = subtract(model)
    assert status(result) == "SKIPPED"
    assert "no usable pixel on the wisp: nothing subtracted" in note(result)
    assert metrics(result)["n_pixels"] == 0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("F150W", "CLEAR"), "F150W"),
        (("F150W2", "F162M"), "F162M"),
        (("F200W", "WLP8"), "F200W"),
        (("F200W", "FLAT"), "F200W"),
        (("F444W", "F405N"), "F405N"),
        (("f150w", None), "F150W"),
    ],
)
def test_the_filter_that_decides(names, expected):
    assert effective_filter(*names) == expected


def test_the_method_of_stpipe_is_not_shadowed():
    # a parameter called save_model would replace the method by which stpipe saves products
    assert callable(WispSubStep(save_wisp_model=True).save_model)
