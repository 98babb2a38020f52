"""The WCS step: known corrections come back, from single files to libraries; bad files do not."""

import gc
import json
import os
import warnings
from copy import deepcopy
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling.models import Polynomial1D, Rotation2D, Scale, Shift
from astropy.wcs import WCS as FitsWCS
from astropy.wcs import FITSFixedWarning
from gwcs import WCS
from jwst.assign_wcs import AssignWcsStep
from jwst.datamodels import ModelLibrary
from jwst.resample import ResampleStep
from jwst.stpipe import Pipeline
from stdatamodels.jwst import datamodels
from tweakwcs.correctors import JWSTWCSCorrector

from ceers_steps import UpdateWcsStep
from ceers_steps.errors import CeersError
from ceers_steps.files.wcs_files import read_wcs_file, wcs_file_name
from ceers_steps.steps.base import StepError
from tests.history import says

MAS = 1 / 3600_000  # degree
PIXEL = 31.0  # mas
SHIFT = (0.25, -0.12)  # arcsec along V2 and V3
ROLL = np.deg2rad(40 / 3600)


def at(model_or_wcs):
    """Return the sky positions of a grid of pixels."""
    y, x = np.mgrid[0:640:71, 0:640:71].astype(float)
    wcs = model_or_wcs if isinstance(model_or_wcs, WCS) else model_or_wcs.meta.wcs
    return SkyCoord(*wcs(x, y), unit="deg")


def largest_distance(one, other):
    """Return the largest distance of sky positions, mas."""
    return one.separation(other).mas.max()


def corrector_of(model):
    """Return what tweakreg starts from."""
    wcsinfo = {key: model.meta.wcsinfo.instance[key] for key in ("roll_ref", "v2_ref", "v3_ref")}
    return JWSTWCSCorrector(model.meta.wcs, wcsinfo)


def corrected(model):
    """Return the WCS of a model with a known correction of the pointing, as tweakreg makes it."""
    corrector = corrector_of(model)
    matrix = [[np.cos(ROLL), -np.sin(ROLL)], [np.sin(ROLL), np.cos(ROLL)]]
    corrector.set_correction(matrix, SHIFT)
    corrector.wcs.name = "FIT-LVL3-USERCAT"
    return corrector.wcs


@pytest.fixture(scope="module")
def exposures(simulated_field):
    """Two dithers with the WCS of the header, 2 arcsec apart, and one star each."""
    with datamodels.open(simulated_field.uncal("NRCB4", "sub640")) as raw:
        name = raw.meta.filename.replace("_uncal", "_cal")
        models = []
        for number in (1, 2):
            model = datamodels.ImageModel((640, 640))
            model.update(raw)
            model.meta.filename = name.replace("_00001_", f"_0000{number}_")
            model.meta.observation.exposure_number = str(number)
            model.err = np.full((640, 640), 0.1, np.float32)
            model.var_rnoise = model.err**2
            model.dq = np.zeros((640, 640), np.uint32)
            model.meta.wcsinfo.dec_ref += 2 / 3600 * (number - 1)
            models.append(AssignWcsStep.call(model))
    return models


@pytest.fixture
def images(exposures):
    return [model.copy() for model in exposures]


@pytest.fixture(scope="module")
def wcs_dir(exposures, tmp_path_factory):
    """WCS files as published: keywords of before the alignment, standard 1.5, other file name."""
    folder = tmp_path_factory.mktemp("wcs")
    for model in exposures:
        tree = {
            "filename": model.meta.filename.replace("_cal", "_a3001_tweakreg"),
            "wcs": corrected(model),
            "wcsinfo": dict(model.meta.wcsinfo.instance),
        }
        asdf.AsdfFile(tree, version="1.5.0").write_to(folder / wcs_file_name(model))
    return folder


def members(models, folder):
    """Save images; return the members of an association of them."""
    folder.mkdir(exist_ok=True)
    return [
        {"expname": str(model.save(folder / model.meta.filename)), "exptype": "science"}
        for model in models
    ]


def save(models, folder):
    """Save images and an association of them, one product each; return its path."""
    products = [
        {"name": "product", "members": [{**member, "expname": Path(member["expname"]).name}]}
        for member in members(models, folder)
    ]
    path = folder / "asn.json"
    association = {"asn_type": "image3", "asn_id": "a3001", "asn_pool": "none"}
    path.write_text(json.dumps({**association, "products": products}))
    return path


def status(model):
    return model.meta.cal_step.instance.get("ceers_update_wcs")


def test_the_correction_is_what_it_should_be(exposures):
    """The truth of these tests: all pixels move by the shift, and turn."""
    moved = at(exposures[0]).separation(at(corrected(exposures[0]))).mas
    np.testing.assert_allclose(np.median(moved), 1000 * np.hypot(*SHIFT), atol=5)
    assert np.ptp(moved) > 1  # the roll: 40 arcsec over 20 arcsec of image are 4 mas


class TestOneExposure:
    def test_sky_positions_are_those_of_the_file(self, images, wcs_dir):
        result = UpdateWcsStep.call(images[0], wcs_dir=str(wcs_dir))
        truth = at(corrected(images[0]))
        assert largest_distance(at(result), truth) < 0.01
        assert largest_distance(at(images[0]), truth) > 200  # the input is left as it was
        assert result.meta.wcs.bounding_box == images[0].meta.wcs.bounding_box

    def test_saved_file(self, images, wcs_dir, tmp_path):
        path = tmp_path / images[0].meta.filename
        images[0].save(path)
        out = tmp_path / "out"
        UpdateWcsStep.call(str(path), wcs_dir=str(wcs_dir), save_results=True, output_dir=str(out))
        (product,) = out.iterdir()
        assert product.name == path.name.replace("_cal", "_tweakreg")
        truth = corrected(images[0])
        with datamodels.open(product) as model:
            assert largest_distance(at(model), at(truth)) < 0.01
        # what other programs read: SIP keywords, which may be wrong by 0.01 pixel
        y, x = np.mgrid[0:640:71, 0:640:71].astype(float)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)  # derived dates
            keywords = FitsWCS(fits.getheader(product, "SCI"))
        from_keywords = SkyCoord(*keywords.all_pix2world(x, y, 0), unit="deg")
        assert largest_distance(from_keywords, at(truth)) < 0.01 * PIXEL
        region = fits.getheader(product, "SCI")["S_REGION"].split()[2:]
        corners = SkyCoord(np.reshape(region, (4, 2)).astype(float), unit="deg")
        expected = SkyCoord(
            *truth([-0.5, 639.5, 639.5, -0.5], [-0.5, -0.5, 639.5, 639.5]), unit="deg"
        )
        nearest = expected.match_to_catalog_sky(corners)[1]
        assert nearest.mas.max() < 1.5 * PIXEL  # which corner of the corner pixel is meant

    def test_record(self, images, wcs_dir, tmp_path):
        result = UpdateWcsStep.call(images[0], wcs_dir=str(wcs_dir))
        assert result.meta.cal_step.tweakreg == "COMPLETE"
        assert status(result) == "COMPLETE"
        entry = result.meta.ceers_steps.instance["ceers_update_wcs"]
        shift = np.hypot(*SHIFT)
        assert entry["metrics"]["mean_shift_arcsec"] == pytest.approx(shift, abs=0.005)
        assert entry["metrics"]["largest_shift_arcsec"] < shift + 0.01
        result.save(tmp_path / "x.fits")
        header = fits.getheader(tmp_path / "x.fits")
        assert says(header, "ceers_update_wcs COMPLETE")
        assert says(header, wcs_file_name(images[0]))

    def test_again_changes_nothing(self, images, wcs_dir):
        once = UpdateWcsStep.call(images[0], wcs_dir=str(wcs_dir))
        twice = UpdateWcsStep.call(once, wcs_dir=str(wcs_dir))
        assert largest_distance(at(once), at(twice)) == 0

    def test_name_of_the_product_can_be_given(self, images, wcs_dir, tmp_path):
        UpdateWcsStep.call(
            images[0],
            wcs_dir=str(wcs_dir),
            output_file="mine.fits",
            output_dir=str(tmp_path),
        )
        assert [path.name for path in tmp_path.iterdir()] == ["mine_tweakreg.fits"]

    @pytest.mark.parametrize("in_a_list", [False, True])
    def test_a_file_with_a_name_of_its_own_is_known_by_its_keywords(
        self, images, wcs_dir, tmp_path, in_a_list
    ):
        images[0].save(tmp_path / images[0].meta.filename)
        path = (tmp_path / images[0].meta.filename).rename(tmp_path / "mine.fits")
        result = UpdateWcsStep.call([str(path)] if in_a_list else str(path), wcs_dir=str(wcs_dir))
        if in_a_list:
            with result:
                model = result.borrow(0)
                result.shelve(model, 0, modify=False)
        else:
            model = result
        assert largest_distance(at(model), at(corrected(images[0]))) < 0.01


class TestMissing:
    def test_error_names_the_file_the_folder_and_the_remedy(self, images, tmp_path):
        with pytest.raises(StepError) as caught:
            UpdateWcsStep.call(images[0], wcs_dir=str(tmp_path))
        for word in (wcs_file_name(images[0]), f"wcs_dir={tmp_path}", "missing='skip'"):
            assert word in str(caught.value)

    def test_skip(self, images, tmp_path):
        result = UpdateWcsStep.call(images[0], wcs_dir=str(tmp_path), missing="skip")
        assert status(result) == "SKIPPED"
        assert result.meta.cal_step.tweakreg is None
        assert largest_distance(at(result), at(images[0])) == 0
        assert wcs_file_name(images[0]) in result.meta.ceers_steps.ceers_update_wcs.note

    def test_no_such_folder(self, images, tmp_path):
        with pytest.raises(StepError, match=r"wcs_dir=.*nowhere: no such folder"):
            UpdateWcsStep.call(images[0], wcs_dir=str(tmp_path / "nowhere"), missing="skip")

    def test_nothing_to_do(self, images):
        with pytest.raises(StepError, match=r"nothing to do. Give wcs_dir"):
            UpdateWcsStep.call(images[0])

    def test_association_is_refused_before_the_first_change(self, images, wcs_dir, tmp_path):
        folder = tmp_path / "wcs"
        folder.mkdir()
        name = wcs_file_name(images[0])
        (folder / name).symlink_to(wcs_dir / name)
        library = ModelLibrary(images)
        with pytest.raises(StepError, match=rf"1 of 2 .*{wcs_file_name(images[1])}"):
            UpdateWcsStep(wcs_dir=str(folder)).run(library)
        assert [status(model) for model in images] == [None, None]

    def test_association_with_one_skipped(self, images, wcs_dir, tmp_path):
        folder = tmp_path / "wcs"
        folder.mkdir()
        name = wcs_file_name(images[1])
        (folder / name).symlink_to(wcs_dir / name)
        library = UpdateWcsStep.call(
            str(save(images, tmp_path / "in")), wcs_dir=str(folder), missing="skip"
        )
        assert list(library.map_function(lambda model, _: status(model), modify=False)) == [
            "SKIPPED",
            "COMPLETE",
        ]


class TestSeveralExposures:
    def check(self, library, images):
        truth = [at(corrected(model)) for model in images]
        assert len(library) == 2
        with library:
            for index in range(2):
                model = library.borrow(index)
                assert largest_distance(at(model), truth[index]) < 0.01
                assert status(model) == model.meta.cal_step.tweakreg == "COMPLETE"
                library.shelve(model, index, modify=False)

    @pytest.mark.slow
    @pytest.mark.parametrize("in_memory", [True, False])
    @pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
    def test_association_saves_one_file_per_exposure(
        self, images, wcs_dir, tmp_path, monkeypatch, in_memory
    ):
        monkeypatch.chdir(tmp_path)  # the library has its temporary files in the working folder
        association = save(images, tmp_path / "in")
        out = tmp_path / "out"
        library = UpdateWcsStep.call(
            str(association),
            wcs_dir=str(wcs_dir),
            in_memory=in_memory,
            save_results=True,
            output_dir=str(out),
        )
        self.check(library, images)
        names = {model.meta.filename.replace("_cal", "_tweakreg") for model in images}
        assert {path.name for path in out.iterdir()} == names
        for model in images:
            with datamodels.open(out / model.meta.filename.replace("_cal", "_tweakreg")) as saved:
                assert largest_distance(at(saved), at(corrected(model))) < 0.01
        del library
        gc.collect()
        assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}

    def test_list_of_files(self, images, wcs_dir, tmp_path):
        save(images, tmp_path)
        files = [str(tmp_path / model.meta.filename) for model in images]
        self.check(UpdateWcsStep.call(files, wcs_dir=str(wcs_dir)), images)

    def test_list_of_models_is_left_as_it_was(self, images, wcs_dir):
        before = [at(model) for model in images]
        self.check(UpdateWcsStep.call(images, wcs_dir=str(wcs_dir)), images)
        for model, positions in zip(images, before, strict=True):
            assert largest_distance(at(model), positions) == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("on_disk", [True, False])
    def test_in_a_pipeline(self, exposures, images, wcs_dir, tmp_path, on_disk):
        """A library goes through, its models changed in place."""
        library = ModelLibrary(images)
        if on_disk:
            association = {"products": [{"members": members(images, tmp_path / "in")}]}
            (tmp_path / "scratch").mkdir()
            library = ModelLibrary(association, on_disk=True, temp_directory=tmp_path / "scratch")
        step = UpdateWcsStep("update_wcs", parent=Pipeline(), wcs_dir=str(wcs_dir))
        assert step.run(library) is library
        self.check(library, exposures)

    def test_in_a_pipeline_without_a_folder(self, images):
        step = UpdateWcsStep("update_wcs", parent=Pipeline())
        step.run(ModelLibrary(images))
        assert [status(model) for model in images] == ["SKIPPED"] * 2

    def test_one_name_for_two(self, images, wcs_dir):
        with pytest.raises(StepError, match=r"output_file=.*x\.fits' names one product"):
            UpdateWcsStep.call(images, wcs_dir=str(wcs_dir), output_file="x.fits")


class TestSaveWcs:
    def test_of_the_image_as_it_is(self, images, tmp_path):
        result = UpdateWcsStep.call(images[0], save_wcs=True, output_dir=str(tmp_path))
        assert status(result) == "SKIPPED"
        assert result.meta.cal_step.tweakreg is None
        (path,) = tmp_path.iterdir()
        assert path.name == wcs_file_name(images[0])
        assert largest_distance(at(read_wcs_file(path).wcs), at(images[0])) == 0

    def test_round_trip(self, images, wcs_dir, tmp_path):
        options = {"save_wcs": True, "output_dir": str(tmp_path), "suffix": "mine"}
        images[0].meta.wcs = corrected(images[0])
        UpdateWcsStep.call(images[0], **options)
        other = images[0].copy()
        other.meta.wcs = images[1].meta.wcs
        back = UpdateWcsStep.call(other, wcs_dir=str(tmp_path), suffix="mine")
        assert largest_distance(at(back), at(images[0])) < 1e-3
        assert back.meta.wcs.available_frames == images[0].meta.wcs.available_frames

    def test_published_keywords_are_brought_up_to_date(self, images, wcs_dir, tmp_path):
        UpdateWcsStep.call(images[0], wcs_dir=str(wcs_dir), save_wcs=True, output_dir=str(tmp_path))
        saved = read_wcs_file(tmp_path / wcs_file_name(images[0]))
        moved = (saved.wcsinfo["crval2"] - images[0].meta.wcsinfo.crval2) / MAS
        assert abs(moved) > 50

    def test_the_file_that_was_read_is_not_written_over(self, images, wcs_dir):
        path = wcs_dir / wcs_file_name(images[0])
        before = path.read_bytes()
        UpdateWcsStep.call(images[0], wcs_dir=str(wcs_dir), save_wcs=True, output_dir=str(wcs_dir))
        assert path.read_bytes() == before


class TestBadInput:
    """One message that names the file and the remedy."""

    def folder(self, tmp_path, model, **changes):
        tree = {
            "filename": model.meta.filename,
            "wcs": model.meta.wcs,
            "wcsinfo": dict(model.meta.wcsinfo.instance),
        }
        asdf.AsdfFile({**tree, **changes}).write_to(tmp_path / wcs_file_name(model))
        return str(tmp_path)

    def test_file_that_is_cut_off(self, images, tmp_path):
        folder = self.folder(tmp_path, images[0])
        path = tmp_path / wcs_file_name(images[0])
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(StepError, match=r"_tweakreg\.asdf cannot be read.*Copy it again"):
            UpdateWcsStep.call(images[0], wcs_dir=folder)

    def test_file_of_another_detector(self, images, tmp_path):
        folder = self.folder(
            tmp_path, images[0], filename=images[0].meta.filename.replace("b4", "b3")
        )
        with pytest.raises(StepError, match=r"is that of \w+_nrcb3 .*not of \w+_nrcb4"):
            UpdateWcsStep.call(images[0], wcs_dir=folder)

    def test_file_of_another_detector_under_the_right_name(self, images, tmp_path):
        wcsinfo = dict(images[0].meta.wcsinfo.instance)
        wcsinfo["v2_ref"] += 70.0
        folder = self.folder(tmp_path, images[0], wcsinfo=wcsinfo)
        with pytest.raises(StepError, match="another detector or aperture: its v2_ref is"):
            UpdateWcsStep.call(images[0], wcs_dir=folder)

    @pytest.mark.parametrize("arcsec", [8.0, 3.6e5])
    def test_file_of_another_place(self, images, tmp_path, arcsec):
        far = deepcopy(images[0].meta.wcs)
        corrector = corrector_of(images[0])
        if arcsec < 3600:
            corrector.set_correction(np.eye(2), (arcsec, 0.0))
            far = corrector.wcs
        else:
            far.insert_transform("world", Shift(0.0) & Shift(-arcsec / 3600), after=False)
        folder = self.folder(tmp_path, images[0], wcs=far)
        with pytest.raises(StepError, match=r"moves .* by .* arcsec, above max_shift=5\.0"):
            UpdateWcsStep.call(images[0], wcs_dir=folder)
        if arcsec < 3600:
            result = UpdateWcsStep.call(images[0], wcs_dir=folder, max_shift=20.0)
            assert result.meta.cal_step.tweakreg == "COMPLETE"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (Scale(-1) & Scale(1), "it mirrors it"),
            (Rotation2D(2.0), "it turns it by 2 degrees"),
            (Scale(1.03) & Scale(1.03), "it changes its scale by 3%"),
            # the corners stay where they are, the middle moves by 10 pixels
            (Polynomial1D(2, c0=-10, c1=1, c2=10 / 320**2) & Scale(1), "it bends it by 0.15"),
        ],
    )
    def test_file_of_another_shape(self, images, tmp_path, change, message):
        """About the middle of the image, so that no corner moves far."""
        middle = Shift(-319.5) & Shift(-319.5)
        bent = deepcopy(images[0].meta.wcs)
        bent.insert_transform("detector", middle | change | middle.inverse, after=True)
        folder = self.folder(tmp_path, images[0], wcs=bent)
        with pytest.raises(StepError, match=rf"_tweakreg\.asdf has another shape of .*{message}"):
            UpdateWcsStep.call(images[0], wcs_dir=folder, max_shift=3600.0)

    @pytest.mark.parametrize("end", [np.nan, np.inf])
    def test_file_without_a_size(self, images, tmp_path, end):
        endless = deepcopy(images[0].meta.wcs)
        endless.bounding_box = ((-0.5, end), (-0.5, 639.5))
        folder = self.folder(tmp_path, images[0], wcs=endless)
        with pytest.raises(StepError, match=f"is for an image of {end} x 640 pixels"):
            UpdateWcsStep.call(images[0], wcs_dir=folder)

    def test_file_without_a_wcs(self, images, tmp_path):
        folder = self.folder(tmp_path, images[0], wcs=None)
        with pytest.raises(StepError, match=r"_tweakreg\.asdf: wcs is not a WCS"):
            UpdateWcsStep.call(images[0], wcs_dir=folder)

    def test_file_of_another_subarray(self, images, tmp_path):
        folder = self.folder(tmp_path, images[0])
        part = datamodels.ImageModel(images[0].data[:160, :320].copy())
        part.update(images[0])
        part.meta.wcs = images[0].meta.wcs
        with pytest.raises(StepError, match=r"SUBSIZE1=640 .* array has 320 columns and 160 rows"):
            UpdateWcsStep.call(part, wcs_dir=folder)
        part.meta.subarray.name, part.meta.subarray.xsize, part.meta.subarray.ysize = None, 320, 160
        with pytest.raises(StepError, match=r"640 x 640 pixels; .* has 320 x 160"):
            UpdateWcsStep.call(part, wcs_dir=folder)

    def test_wcs_without_a_bounding_box_gets_one(self, images, tmp_path):
        images[0].meta.wcs.bounding_box = None
        folder = self.folder(tmp_path, images[0])
        result = UpdateWcsStep.call(images[0], wcs_dir=folder)
        assert result.meta.wcs.bounding_box.bounding_box() == ((-0.5, 639.5), (-0.5, 639.5))

    def test_rate_image(self, images, wcs_dir):
        images[0].meta.wcs = None
        with pytest.raises(StepError, match=r"has no WCS.*_cal\.fits"):
            UpdateWcsStep.call(images[0], wcs_dir=str(wcs_dir))

    def test_mosaic(self, images, wcs_dir):
        images[0].meta.cal_step.resample = "COMPLETE"
        with pytest.raises(StepError, match=r"is a mosaic.*_cal\.fits"):
            UpdateWcsStep.call(images[0], wcs_dir=str(wcs_dir))

    def test_other_level(self, simulated_field, wcs_dir):
        uncal = str(simulated_field.uncal("NRCB4", "sub640"))
        with pytest.raises(StepError, match="holds a Level1bModel"):
            UpdateWcsStep.call(uncal, wcs_dir=str(wcs_dir))

    def test_in_a_pipeline_the_error_is_that_of_the_pipeline_to_tell(self, images, tmp_path):
        step = UpdateWcsStep("update_wcs", parent=Pipeline(), wcs_dir=str(tmp_path))
        with pytest.raises(CeersError, match="1 of 1 WCS files are missing"):
            step.run(images[0])


@pytest.mark.slow
def test_stage_3_of_jwst_takes_the_new_wcs(images, wcs_dir):
    """A star drawn in each exposure where the file has it is one star in the mosaic, there."""
    truth = SkyCoord(*corrected(images[0])(300.3, 350.7), unit="deg")
    y, x = np.indices((640, 640))
    for model in images:
        x0, y0 = corrected(model).invert(truth.ra.deg, truth.dec.deg)
        model.data[:] = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 2.0**2))
    library = UpdateWcsStep.call(images, wcs_dir=str(wcs_dir))
    with library:
        model = library.borrow(0)
        corrector_of(model)  # raises if tweakreg could not go on from it
        library.shelve(model, 0, modify=False)
    mosaic = ResampleStep.call(library)
    data = np.where(mosaic.data > 0.02, mosaic.data, 0)
    y, x = np.indices(data.shape)
    found = mosaic.meta.wcs((data * x).sum() / data.sum(), (data * y).sum() / data.sum())
    # two images of a noiseless star; the threshold cuts off the wings evenly
    assert SkyCoord(*found, unit="deg").separation(truth).mas < 1
    assert data.max() == pytest.approx(1, abs=0.1)


def by_keywords(wcsinfo, x, y):
    """Return the sky positions that FITS keywords give."""
    numbers_and_text = {
        key.upper(): value
        for key, value in wcsinfo.items()
        if isinstance(value, (int, float, str)) and len(key) <= 8
    }
    keywords = FitsWCS(fits.Header(numbers_and_text))
    return SkyCoord(*keywords.all_pix2world(x, y, 0), unit="deg")


def without_correction(saved):
    """Return the WCS of a published file as it was before the alignment."""
    detector, v2v3, corrected_frame, from_corrected, world = saved.wcs.pipeline
    assert corrected_frame.frame.name == "v2v3vacorr"
    frame = corrected_frame.frame
    before = WCS([detector, v2v3, (frame, from_corrected.transform), world])
    before.bounding_box = ((-0.5, 2047.5), (-0.5, 2047.5))
    return before


def by_cubic(wcs, x, y):
    """Return the sky positions that FITS keywords with polynomials of the third degree give."""
    header = wcs.to_fits_sip(degree=3, max_pix_error=0.25, inv_degree=3, npoints=12)
    return SkyCoord(*FitsWCS(header).all_pix2world(x, y, 0), unit="deg")


SAMPLE = 53
"""Every so many of the published files are tried: 14 of them, of all ten detectors. With
``CEERS_EVERY_WCS=1`` all are, which takes four minutes."""


@pytest.mark.slow
@pytest.mark.skipif("CEERS_SHARED_DATA" not in os.environ, reason="CEERS_SHARED_DATA is not set")
def test_published_files(exposures, tmp_path):
    """Files of DR0.5, each into an image of its exposure, as it was before they were."""
    folder = Path(os.environ["CEERS_SHARED_DATA"]) / "ceers_dr05" / "tweakreg_wcs"
    paths = sorted(folder.glob("*_tweakreg.asdf"))
    assert len(paths) == 690
    y, x = np.mgrid[0:2048:341, 0:2048:341].astype(float)
    step = UpdateWcsStep("update_wcs", parent=Pipeline(), wcs_dir=str(folder))
    image = datamodels.ImageModel((2048, 2048))
    image.update(exposures[0])
    detectors = set()
    if "CEERS_EVERY_WCS" not in os.environ:
        paths = paths[::SAMPLE]
    for number, path in enumerate(paths):
        image.meta.filename = path.name.replace("_tweakreg.asdf", "_cal.fits")
        saved = read_wcs_file(path)
        original = without_correction(saved)
        image.meta.wcs = original
        for key in ("ra_ref", "dec_ref", "roll_ref", "v2_ref", "v3_ref"):
            setattr(image.meta.wcsinfo, key, saved.wcsinfo[key])
        step.run(image)
        assert image.meta.cal_step.tweakreg == "COMPLETE"
        truth = SkyCoord(*saved.wcs(x, y), unit="deg")
        pixel = truth[0, 0].separation(truth[0, 1]).mas / 341
        assert largest_distance(SkyCoord(*image.meta.wcs(x, y), unit="deg"), truth) < 0.01, path
        if number % 100 == 0:
            image.save(tmp_path / "x.fits")
            with datamodels.open(tmp_path / "x.fits") as again:
                found = SkyCoord(*again.meta.wcs(x, y), unit="deg")
                assert largest_distance(found, truth) < 0.01, path
        # old files mean what they meant: their keywords, written by software of their time, are
        # those of the WCS without the correction. They have polynomials of the third degree, which
        # leave up to 0.12 pixel (NRCALONG), within the 0.25 that were asked of them
        before = SkyCoord(*original(x, y), unit="deg")
        keywords = by_keywords(saved.wcsinfo, x, y)
        assert largest_distance(keywords, before) < 0.25 * pixel, path
        detector = path.name.split("_")[3]
        if detector not in detectors:  # to fit such polynomials takes as long as all the rest
            assert largest_distance(keywords, by_cubic(original, x, y)) < 0.05 * pixel, path
            detectors.add(detector)
        # and those of the image are those of the aligned WCS now
        keywords = by_keywords(image.meta.wcsinfo.instance, x, y)
        assert largest_distance(keywords, truth) < 0.02 * pixel, path
    assert len(detectors) == 10
