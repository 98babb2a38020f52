"""Stage 3 on simulated exposures: both ways of use, products, provenance, clear errors."""

import json
import re
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from jwst.datamodels import ModelLibrary
from jwst.pipeline import Image3Pipeline
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags
from stpipe import config_parser

from ceers_steps import CeersImage3, SkyVarStep, TiledResampleStep, UpdateWcsStep
from ceers_steps.files.associations import as_json, build_association
from ceers_steps.files.membership import PATHS
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.steps.base import StepError
from ceers_steps.steps.inputs.errors import scale_errors
from ceers_steps.survey.select.association_files import write_associations
from ceers_steps.survey.select.associations import group_exposures, name_products
from ceers_steps.survey.select.exposures import read_exposures
from tests.dithers import NOISE, SKY, make_sources
from tests.pipelines.test_detector1 import strun, strun_here

FAST = {
    "tweakreg": {"skip": True},
    "outlier_detection": {"skip": True},
    "skyvar": {"skip": True},
    "mosaic_background": {"skip": True},
}


@pytest.fixture(scope="module")
def field(calibrated_dithers):
    """Two dithers of NRCB4 F150W and NRCBLONG F277W, SUB640, with associations."""
    return calibrated_dithers


def everything(field):
    return field / "field_allfilters_asn.json"


def grid(center=(214.92, 52.87), size=900):
    """A grid that all exposures touch."""
    return {
        "crpix": [(size - 1) / 2] * 2,
        "crval": list(center),
        "rotation": 0.0,
        "pixel_scale": 0.06,
        "output_shape": [size, size],
    }


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("instrument", "snr", "scale"),
    [("NIRCAM", "4.0 3.0", "2.5 1.5"), ("MIRI", "5.0 4.0", "1.0 0.8")],
)
def test_outliers_are_not_the_cores_of_stars(instrument, snr, scale, monkeypatch):
    def from_crds(parameters, observatory):
        steps = {name: {} for name in CeersImage3.step_defs}
        steps["outlier_detection"] = {"snr": "5.0 4.0", "scale": "1.0 0.8"}
        return config_parser.ConfigObj({"steps": steps})

    bare = CeersImage3().outlier_detection
    assert (bare.snr, bare.scale) == ("4.0 3.0", "2.5 1.5")
    own = CeersImage3(steps={"outlier_detection": {"snr": "6.0 5.0"}}).outlier_detection
    assert (own.snr, own.scale) == ("6.0 5.0", "2.5 1.5")
    monkeypatch.setattr(Image3Pipeline, "_get_config_from_parameters", from_crds)
    config = CeersImage3._get_config_from_parameters({"meta.instrument.name": instrument}, "jwst")
    outliers = config["steps"]["outlier_detection"]
    assert (outliers["snr"], outliers["scale"]) == (snr, scale)


@pytest.fixture(scope="module")
def products(field, tmp_path_factory):
    """The best values through strun, on the association of both filters."""
    out = tmp_path_factory.mktemp("out")
    options = [
        f"--steps.resample.{key}={','.join(map(str, np.atleast_1d(value)))}"
        for key, value in grid().items()
    ]
    process = strun(
        parameter_files_dir() / "image3.asdf", everything(field), f"--output_dir={out}", *options
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return out


@pytest.mark.slow
def test_products(products, field):
    exposures = [path.name.removesuffix("_cal.fits") for path in field.glob("*_cal.fits")]
    wanted = {f"{name}_a3001_{kind}.fits" for name in exposures for kind in ("crf", "match")}
    for band in ("f150w", "f277w"):
        wanted |= {f"field_{band}_{kind}.fits" for kind in ("i2d", "mbkgsub")}
        wanted |= {f"field_{band}_alignment.{kind}" for kind in ("ecsv", "png")}
    assert wanted <= set(names_in(products))
    assert not [name for name in names_in(products) if name.startswith((".", "tmp"))]
    assert not [name for name in names_in(products) if name.endswith("_cat.ecsv")]


@pytest.mark.slow
def test_provenance_survives_to_the_mosaic(products):
    with datamodels.open(products / "field_f150w_mbkgsub.fits") as mosaic:
        status = mosaic.meta.cal_step.instance
    steps = ("ceers_align", "skymatch", "outlier_detection", "ceers_skyvar", "resample")
    assert {name: status[name] for name in steps} == dict.fromkeys(steps, "COMPLETE")
    assert status["ceers_mosaic_background"] == "COMPLETE"


@pytest.mark.slow
def test_both_filters_have_the_same_pixels_and_mask(products):
    tiers = 0b11110  # what was found in any filter; the outskirts are those of each mosaic
    masks = []
    for band in ("f150w", "f277w"):
        with fits.open(products / f"field_{band}_mbkgsub.fits") as hdus:
            assert hdus["SCI"].data.shape == (900, 900)
            seen = np.isfinite(hdus["SCI"].data)
            masks.append(np.where(seen, hdus["TIERMASK"].data.astype(int) & tiers, -1))
    both = (masks[0] >= 0) & (masks[1] >= 0)
    np.testing.assert_array_equal(masks[0][both], masks[1][both])
    assert 0.01 < (masks[0][both] > 0).mean() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("band", ["f150w", "f277w"])
def test_sky_is_gone_and_sources_are_where_they_were(products, band):
    """Sky: to the noise of boxes of 20 pixels; fluxes: those of the true scene."""
    with datamodels.open(products / f"field_{band}_mbkgsub.fits") as mosaic:
        data, err, wcs = mosaic.data.copy(), mosaic.err.copy(), mosaic.meta.wcs
        sources = make_sources()
        x, y = wcs.invert(sources["ra"], sources["dec"], with_bounding_box=False)
    with fits.open(products / f"field_{band}_mbkgsub.fits") as hdus:
        blank = (hdus["BKGMASK"].data == 0) & np.isfinite(data)
    assert abs(np.median(data[blank])) < 0.1 * np.median(err[blank])
    inside = (x > 5) & (x < 894) & (y > 5) & (y < 894)
    bright = sources["mag"] < 24
    peaks = [
        np.nanmax(data[int(v) - 2 : int(v) + 4, int(u) - 2 : int(u) + 4], initial=0.0)
        for u, v in zip(x[inside & bright], y[inside & bright], strict=True)
        if np.isfinite(data[int(v), int(u)])
    ]
    assert len(peaks) >= 5
    assert np.min(peaks) > 5 * np.nanmedian(err)


@pytest.mark.slow
def test_published_two_passes(field, tmp_path):
    """WCS from files and crf; sky and variance as a step of its own; mosaics on a given grid."""
    wcs, one, two = tmp_path / "wcs", tmp_path / "one", tmp_path / "two"
    UpdateWcsStep.call(str(everything(field)), save_wcs=True, output_dir=str(wcs))
    dr05 = parameter_files_dir() / "dr05"
    for band in ("f150w", "f277w"):
        strun_here(
            dr05 / "image3_part1.asdf",
            field / f"field_{band}_asn.json",
            f"--output_dir={one}",
            f"--steps.update_wcs.wcs_dir={wcs}",
        )
    assert {name.rpartition("_")[2] for name in names_in(one)} == {"crf.fits"}
    crfs = sorted(one.glob("*_crf.fits"))
    published = {"sky_method": "gaussian", "variance_method": "published"}
    for path in crfs:
        SkyVarStep.call(str(path), output_dir=str(two), save_results=True, **published)
    matched = sorted(two.glob("*_match.fits"))
    assert len(matched) == len(crfs) == 4
    for path in matched:
        with datamodels.open(path) as model:
            assert model.meta.cal_step.tweakreg == "COMPLETE"
            assert model.meta.cal_step.instance["ceers_update_wcs"] == "COMPLETE"
    found, _ = read_exposures(matched)
    write_associations(name_products(group_exposures(found, "program"), "final_{filter}"), two)
    options = [
        f"--steps.resample.{key}={','.join(map(str, np.atleast_1d(value)))}"
        for key, value in grid().items()
    ]
    strun_here(
        dr05 / "image3_nircam1.asdf",
        two / "final_allfilters_asn.json",
        f"--output_dir={tmp_path / 'three'}",
        *options,
    )
    for band in ("f150w", "f277w"):
        data = fits.getdata(tmp_path / "three" / f"final_{band}_mbkgsub.fits", "SCI")
        assert np.isfinite(data).all()  # the published border is 0
        assert (data == 0).any()
        assert abs(np.median(data[data != 0])) < NOISE


@pytest.mark.slow
def test_tiles_give_the_same_mosaic(field, tmp_path):
    association = str(field / "field_f150w_asn.json")
    for name, extra in (("whole", {}), ("tiles", {"tile_size": 400})):
        CeersImage3.call(
            association,
            output_dir=str(tmp_path / name),
            save_results=True,
            steps={
                **FAST,
                "resample": {**grid(), **extra},
                "mosaic_background": {"skip": False},
            },
        )
    for product in ("field_f150w_i2d.fits", "field_f150w_bkgsub.fits"):
        whole, tiles = (fits.getdata(tmp_path / name / product) for name in ("whole", "tiles"))
        np.testing.assert_allclose(tiles, whole, rtol=1e-4, atol=1e-3 * NOISE)


@pytest.mark.slow
def test_source_catalogue_of_a_tiled_mosaic(field, tmp_path):
    """The same sources as in the mosaic drizzled at once."""
    tables = []
    for name, extra in (("whole", {}), ("tiles", {"tile_size": 400})):
        steps = {
            **FAST,
            "skyvar": {"skip": False},
            "resample": {**grid(), **extra},
            "source_catalog": {"skip": False},
        }
        CeersImage3.call(
            str(field / "field_f150w_asn.json"),
            output_dir=str(tmp_path / name),
            save_results=True,
            steps=steps,
        )
        names = names_in(tmp_path / name)
        assert {"field_f150w_cat.ecsv", "field_f150w_segm.fits"} <= set(names)
        tables.append(Table.read(tmp_path / name / "field_f150w_cat.ecsv"))
    whole, tiles = tables
    assert len(tiles) == len(whole) >= 5
    for column in ("xcentroid", "ycentroid", "isophotal_flux"):
        np.testing.assert_allclose(tiles[column], whole[column], rtol=1e-3)


@pytest.mark.slow
def test_wcs_from_files_is_not_aligned_again(field, tmp_path, caplog):
    wcs = tmp_path / "wcs"
    association = str(field / "field_f277w_asn.json")
    UpdateWcsStep.call(association, save_wcs=True, output_dir=str(wcs))
    steps = {
        **FAST,
        "tweakreg": {"skip": False},
        "update_wcs": {"wcs_dir": str(wcs)},
        "resample": {"skip": True},
    }
    CeersImage3.call(association, output_dir=str(tmp_path), steps=steps)
    assert "nothing is aligned" in caplog.text


@pytest.mark.slow
def test_without_saving_mosaics_are_returned_and_nothing_is_written(field, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = {**FAST, "resample": grid()}
    (mosaic,) = CeersImage3.call(str(field / "field_f150w_asn.json"), steps=steps)
    assert mosaic.data.shape == (900, 900)
    assert names_in(tmp_path) == []


@pytest.mark.slow
def test_one_exposure_makes_a_mosaic(field, tmp_path):
    cal = sorted(field.glob("*nrcb4_cal.fits"))[0]
    steps = {**FAST, "skyvar": {"skip": False}}
    CeersImage3.call(str(cal), output_dir=str(tmp_path), save_results=True, steps=steps)
    assert {name.rpartition("_")[2] for name in names_in(tmp_path)} == {"match.fits", "i2d.fits"}


@pytest.mark.slow
def test_files_without_an_association_stay_on_disk(field, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cals = [str(path) for path in sorted(field.glob("*nrcb4_cal.fits"))]
    steps = {**FAST, "resample": {"skip": True}, "skyvar": {"skip": False}}
    # the packaged parameter file has in_memory=false, for whatever input
    for number, given in enumerate((cals, cals[0])):
        out = tmp_path / str(number)
        CeersImage3.call(
            given, in_memory=False, output_dir=str(out), save_results=True, steps=steps
        )
        assert len(list(out.glob("*_match.fits"))) == 2 - number


@pytest.mark.slow
def test_sky_that_is_gone_is_not_measured_again(field, tmp_path, caplog):
    first, second = sorted(field.glob("*nrcb4_cal.fits"))
    steps = {**FAST, "resample": {"skip": True}}
    done = SkyVarStep.call(str(first))
    caplog.clear()
    CeersImage3.call([done], steps=steps)
    assert "skymatch is left out" in caplog.text
    with datamodels.open(second) as other, pytest.raises(StepError, match=r"but not in .*00002"):
        CeersImage3.call([done, other], steps=steps)


@pytest.mark.slow
def test_without_a_wcs_file_exposures_are_aligned_with_the_others(field, tmp_path):
    first, second = sorted(field.glob("*nrcb4_cal.fits"))
    UpdateWcsStep.call(str(first), save_wcs=True, output_dir=str(tmp_path))
    steps = {
        **FAST,
        "tweakreg": {"skip": False, "save_plots": False},
        "update_wcs": {"wcs_dir": str(tmp_path), "missing": "skip"},
        "skyvar": {"skip": False},
        "resample": {"skip": True},
    }
    out = tmp_path / "out"
    CeersImage3.call([str(first), str(second)], output_dir=str(out), save_results=True, steps=steps)
    done, before = {}, {}
    for path in (first, second):
        with datamodels.open(out / path.name.replace("_cal", "_match")) as model:
            done[path] = model.meta.cal_step.instance["ceers_align"]
            after = np.array(model.meta.wcs([10.0, 600.0], [30.0, 500.0]))
        with datamodels.open(path) as model:
            before[path] = np.array(model.meta.wcs([10.0, 600.0], [30.0, 500.0]))
        # the pointings are true: only the noise of the alignment moves the second, by 1 mas or so
        np.testing.assert_allclose(after, before[path], atol=0 if path == first else 5 / 3.6e6)
    assert list(done.values()) == ["SKIPPED", "COMPLETE"]


@pytest.mark.usefixtures("left_open")
@pytest.mark.slow
def test_failed_alignment_makes_no_mosaic(field, tmp_path):
    """Unless asked for; the table and the figure say what failed."""
    # without the guide star's hold, which needs no least number of matches
    free = {"minobj": 1000, "dither_error": 0}
    steps = {**FAST, "tweakreg": free, "resample": {"skip": True}}
    association = str(field / "field_f150w_asn.json")
    with pytest.raises(StepError, match=r"2 of 2 exposures are not aligned.*on_failure='keep'"):
        CeersImage3.call(association, output_dir=str(tmp_path), save_results=True, steps=steps)
    assert "field_f150w_alignment.ecsv" in names_in(tmp_path)
    steps["tweakreg"]["on_failure"] = "keep"
    CeersImage3.call(association, output_dir=str(tmp_path), steps=steps)


@pytest.mark.slow
def test_a_field_without_sources_becomes_a_mosaic(field, tmp_path, caplog):
    models = []
    for number, path in enumerate(sorted(field.glob("*_nrcb4_cal.fits"))):
        model = datamodels.open(path)
        noise = np.random.default_rng(number).normal(SKY, NOISE, model.data.shape)
        model.data = noise.astype(np.float32)
        models.append(model)
    steps = {**FAST, "tweakreg": {}, "skymatch": {"skip": True}, "resample": grid(size=700)}
    (made,) = CeersImage3.call(models, output_dir=str(tmp_path), steps=steps)
    assert "None of the 2 exposures shows sources to be aligned by" in caplog.text
    assert made.meta.cal_step.instance["ceers_align"] == "FAILED"
    assert np.nanmedian(made.data) == pytest.approx(SKY, abs=NOISE / 50)


@pytest.mark.slow
class TestList:
    """Exposures without an association."""

    def test_mosaic_is_named_after_what_they_have_in_common(self, field, tmp_path):
        cals = [str(path) for path in sorted(field.glob("*nrcb4_cal.fits"))]
        steps = {**FAST, "resample": grid()}
        CeersImage3.call(cals, output_dir=str(tmp_path), save_results=True, steps=steps)
        assert names_in(tmp_path) == ["jw01345001001_02105_nrcb4_f150w_i2d.fits"]

    def test_models_are_named_the_same(self, field, tmp_path):
        cals = sorted(field.glob("*nrcb4_cal.fits"))
        steps = {**FAST, "resample": grid()}
        with datamodels.open(cals[0]) as one, datamodels.open(cals[1]) as other:
            other.meta.filename = other.meta.filename.replace("jw01345001001", "jw01345002001")
            other.meta.observation.observation_number = "002"
            CeersImage3.call([one, other], output_dir=str(tmp_path), save_results=True, steps=steps)
        assert names_in(tmp_path) == ["jw01345_nrcb4_f150w_i2d.fits"]

    def test_filters_are_not_mixed(self, field):
        cals = [str(path) for path in sorted(field.glob("*_cal.fits"))]
        with pytest.raises(
            StepError, match=r"exposures in F150W and F277W, .* one list per filter"
        ):
            CeersImage3.call(cals, steps=FAST)


@pytest.mark.slow
def test_errors_that_are_too_small_make_no_outliers(field, tmp_path, caplog):
    """As those of a single group, in which the noise of the reset is: 4.7 times too small."""
    models = []
    for path in sorted(field.glob("*_nrcb4_cal.fits")):
        model = datamodels.open(path)
        for name in ("var_rnoise", "var_poisson"):
            setattr(model, name, getattr(model, name) / np.float32(4.7**2))
        model.err = np.sqrt(model.var_rnoise + model.var_poisson)
        models.append(model)
    wrong = models[0].err.copy()
    scale_errors(ModelLibrary(models[:1]), change=False)
    (told,) = re.findall(r"differ ([0-9.]+) times as much .* clean pixels", caplog.text)
    assert float(told) == pytest.approx(4.7, rel=0.03)  # sources are in it
    np.testing.assert_array_equal(models[0].err, wrong)
    steps = {**FAST, "resample": {"skip": True}}
    steps |= {"outlier_detection": {"skip": False}, "skyvar": {"skip": False}}
    CeersImage3.call(models, output_dir=str(tmp_path), save_results=True, steps=steps)
    products = list(tmp_path.glob("*_match.fits"))
    assert len(products) == 2
    for path in products:
        with datamodels.open(path) as after:
            # by eye: the sky, and not the cores of stars
            before = fits.getdata(field / path.name.replace("_a3001", "").replace("match", "cal"))
            sky = np.abs(before - np.nanmedian(before)) < 3 * NOISE
            # 13% with the errors as they were: half of the difference of two exposures, 5 sigma
            assert ((after.dq & dqflags.pixel["OUTLIER"]) > 0)[sky].mean() < 0.002
            assert np.nanmedian(after.err) == pytest.approx(NOISE, rel=0.03)


def copy_of(cal, folder, number, **changes):
    """Write a cal as that of another dither, with other keywords; return its path."""
    path = folder / cal.name.replace("_00001_", f"_{number:05d}_")
    with datamodels.open(cal) as model:
        model.meta.observation.exposure_number = str(number)
        for name, value in changes.items():
            model[PATHS[name]] = value
        model.save(path)
    return path


@pytest.mark.slow
class TestStrangers:
    """Exposures that belong to no mosaic, or not to this one."""

    STEPS = {**FAST, "skymatch": {"skip": True}, "resample": {"skip": True}}

    @pytest.fixture
    def cals(self, field, tmp_path):
        (cal,) = field.glob("*_00001_nrcb4_cal.fits")
        return [copy_of(cal, tmp_path, number) for number in (3, 4)], cal

    def test_a_weak_lens_is_left_out_and_named(self, cals, tmp_path, caplog):
        good, cal = cals
        lens = copy_of(cal, tmp_path, 5, PUPIL="WLP8")
        steps = {**self.STEPS, "outlier_detection": {"skip": False, "save_results": True}}
        for number, given in enumerate((True, False)):
            caplog.clear()
            out = tmp_path / str(number)
            CeersImage3.call(
                [*map(str, good), str(lens)],
                in_memory=given,
                output_dir=str(out),
                save_results=True,
                steps=steps,
            )
            assert f"{lens.name}: wavefront sensing with a weak lens (PUPIL WLP8)" in caplog.text
            assert len(names_in(out)) == 2
            assert not any("_00005_" in name for name in names_in(out))

    def test_models_are_left_out_too(self, cals, tmp_path, caplog):
        good, cal = cals
        lens = copy_of(cal, tmp_path, 5, VISITYPE="PRIME_WFSC_ROUTINE")
        models = [datamodels.open(path) for path in (*good, lens)]
        CeersImage3.call(models, steps=self.STEPS)
        assert f"{lens.name}: wavefront sensing (VISITYPE" in caplog.text

    @pytest.mark.parametrize(
        ("plane", "value", "reason"),
        [
            ("SCI", np.nan, "SCI has no finite value"),
            ("VAR_RNOISE", 0, "VAR_RNOISE has no valid value"),
            ("VAR_FLAT", np.nan, "VAR_FLAT has no valid value"),
        ],
    )
    def test_an_exposure_without_a_usable_pixel_is_left_out_and_named(
        self, cals, tmp_path, caplog, plane, value, reason
    ):
        good, cal = cals
        path = copy_of(cal, tmp_path, 5)
        with fits.open(path, mode="update") as hdus:
            hdus[plane].data[:] = value
        steps = {
            **self.STEPS,
            "skyvar": {},
            "outlier_detection": {"skip": False, "save_results": True},
        }
        out = tmp_path / "out"
        given = [*map(str, good), str(path)]
        CeersImage3.call(given, output_dir=str(out), save_results=True, steps=steps)
        assert f"left out of the mosaic: {path.name}: {reason}" in caplog.text
        assert len([name for name in names_in(out) if name.endswith("_crf.fits")]) == 2
        with pytest.raises(StepError, match=f"Nothing is usable in any of the 1 .*{reason}"):
            CeersImage3.call(str(path), steps={**self.STEPS, "skyvar": {}})

    def test_nothing_left_is_an_error(self, cals, tmp_path):
        lens = copy_of(cals[1], tmp_path, 5, PUPIL="WLM8")
        with pytest.raises(StepError, match=r"No exposure .*00005_nrcb4_cal.fits: wavefront"):
            CeersImage3.call(str(lens), steps=self.STEPS)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"S_PHOTOM": "SKIPPED", "BUNIT": "DN/s"}, "photom is SKIPPED"),
            ({"BUNIT": "DN/s"}, r"its unit \(BUNIT\) is DN/s, that of most of the 3 .* MJy/sr"),
        ],
    )
    def test_what_is_not_calibrated_is_refused(self, cals, tmp_path, changes, reason):
        good, cal = cals
        other = copy_of(cal, tmp_path, 5, **changes)
        with pytest.raises(StepError, match=rf"1 of the 3 .*00005_nrcb4_cal.fits: {reason}"):
            CeersImage3.call([*map(str, good), str(other)], steps=self.STEPS)

    def test_an_exposure_counts_once(self, cals, tmp_path):
        good = cals[0][0]
        copies = tmp_path / f"bkgfix_{good.name}", tmp_path / "better_cal.fits"
        for copy in copies:
            shutil.copy(good, copy)
        with datamodels.open(copies[1]) as model:
            model.meta.observation.exposure_number = "3"  # as in the name of the other file
            model.save(copies[1])
        for copy in copies:
            with pytest.raises(StepError, match=rf"{good.name} and {copy.name} are both of"):
                CeersImage3.call([str(good), str(copy)], steps=self.STEPS)

    @pytest.mark.filterwarnings("ignore:Input association file contains path")
    @pytest.mark.parametrize("tile_size", [None, 400])
    def test_two_filters_in_one_product_are_refused(self, field, tmp_path, tile_size):
        cals = [str(path) for path in sorted(field.glob("*_cal.fits"))]
        path = tmp_path / "my_asn.json"
        path.write_bytes(as_json(build_association({"both": cals})))
        for run in (CeersImage3, TiledResampleStep):
            extra = {"tile_size": tile_size} if run is TiledResampleStep else {"steps": self.STEPS}
            with pytest.raises(StepError, match="exposures in F150W and F277W"):
                run.call(str(path), output_dir=str(tmp_path), **extra)
        assert not list(tmp_path.glob("*_i2d.fits"))


@pytest.mark.slow
class TestBadInput:
    @pytest.mark.filterwarnings("ignore:Input association file contains path")
    def test_products_of_one_name(self, field, tmp_path):
        members = [{"expname": str(field / name), "exptype": "science"} for name in names_in(field)]
        members = [member for member in members if member["expname"].endswith("_cal.fits")]
        products = [{"name": "a", "members": [member]} for member in members[:2]]
        path = tmp_path / "my_asn.json"
        path.write_text(json.dumps({"products": products}))
        with pytest.raises(StepError, match="2 products are called a"):
            CeersImage3.call(str(path), steps=FAST)

    def test_no_science(self, field, tmp_path):
        cal = str(sorted(field.glob("*_cal.fits"))[0])
        members = [{"expname": cal, "exptype": "background"}]
        path = tmp_path / "my_asn.json"
        path.write_text(json.dumps({"products": [{"name": "a", "members": members}]}))
        with pytest.raises(StepError, match=r"no member with exptype 'science' .*background"):
            CeersImage3.call(str(path), steps=FAST)

    def test_empty_list(self):
        with pytest.raises(StepError, match="list of exposures is empty"):
            CeersImage3.call([], steps=FAST)

    def test_output_file_for_several_products(self, field):
        with pytest.raises(StepError, match="names one mosaic, but the association has 2"):
            CeersImage3.call(str(everything(field)), output_file="x", steps=FAST)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is not an association"),
            ('{"products": []}', "has no members"),
            (
                '{"products": [{"name": "a", "members": [{"expname": "none_cal.fits", '
                '"exptype": "science"}]}]}',
                "1 of the 1 members .* do not exist",
            ),
        ],
    )
    def test_association_that_cannot_be_used(self, tmp_path, content, message):
        path = tmp_path / "my_asn.json"
        path.write_text(content)
        with pytest.raises(StepError, match=message):
            CeersImage3.call(str(path))

    def test_exposures_of_the_wrong_level(self, field, tmp_path):
        raw = sorted(field.glob("*_uncal.fits"))[0]
        members = [{"expname": str(raw), "exptype": "science"}]
        path = tmp_path / "my_asn.json"
        path.write_text(json.dumps({"products": [{"name": "a", "members": members}]}))
        with pytest.raises(StepError, match="holds a Level1bModel; this takes ImageModel"):
            CeersImage3.call(str(path))


def test_crds_values_of_the_pipeline_do_not_replace_defaults_of_the_alignment(monkeypatch):
    """They come with pars-image3pipeline as well as with pars-tweakregstep."""

    def from_crds(parameters, observatory):
        steps = {name: {} for name in CeersImage3.step_defs}
        steps["tweakreg"] = {"minobj": "15", "separation": "1.0", "sip_degree": "3"}
        return config_parser.ConfigObj({"steps": steps})

    monkeypatch.setattr(Image3Pipeline, "_get_config_from_parameters", from_crds)
    config = CeersImage3._get_config_from_parameters({}, "jwst")
    assert dict(config["steps"]["tweakreg"]) == {"sip_degree": "3", "on_failure": "stop"}
