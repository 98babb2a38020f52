"""AlignStep: pointing errors are taken out, and what cannot be aligned says so."""

import json
import shutil
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from jwst.assign_wcs import AssignWcsStep
from jwst.datamodels import ModelLibrary
from jwst.stpipe import Step
from jwst.tweakreg import TweakRegStep
from stdatamodels.jwst import datamodels
from stpipe import config_parser
from tweakwcs.correctors import JWSTWCSCorrector

import ceers_steps.astrometry.reference as reference_module
from ceers_steps.astrometry.reference import ReferenceCatalog, save_reference
from ceers_steps.errors import CeersError
from ceers_steps.files.wcs_files import read_wcs_file
from ceers_steps.simulate import SimulationConfig, active, read_truth
from ceers_steps.simulate.config.simulation import PointingConfig
from ceers_steps.steps.align import AlignStep
from ceers_steps.steps.base import StepError
from ceers_steps.steps.update_wcs import UpdateWcsStep
from tests.dithers import make_sources, simulate_dithers

SCATTER = 15.0  # mas, of the reference catalogue, per coordinate

OPEN = []
"""Models to close after a test: jwst leaves those of a list of files open."""


@pytest.fixture(autouse=True)
def close_models():
    yield
    while OPEN:
        OPEN.pop().close()


class Field:
    """Calibrated exposures with pointing errors, and what is true of them."""

    def __init__(self, folder, exposures):
        self.folder = folder
        self.truths = {exposure.name: read_truth(exposure.truth) for exposure in exposures}
        self.files = [str(self._calibrate(exposure)) for exposure in exposures]

    def _calibrate(self, exposure):
        """Make a calibrated image of the truth: its light with white noise, and a WCS."""
        truth = self.truths[exposure.name]
        rng = np.random.default_rng(len(exposure.name) + truth.exposure["dither"])
        with datamodels.open(exposure.uncal) as raw:
            model = datamodels.ImageModel(truth.rate.shape)
            model.update(raw)
        sigma = np.sqrt(0.004**2 + np.maximum(truth.rate, 0) / 1800).astype(np.float32)
        model.data = truth.rate + sigma * rng.standard_normal(sigma.shape, np.float32)
        model.err = sigma
        model.dq = (truth.rate == 0).astype(np.uint32)
        model.meta.filename = f"{exposure.name}_rate.fits"
        model = AssignWcsStep.call(model)
        path = self.folder / f"{exposure.name}_cal.fits"
        model.save(path)
        return path

    def of(self, detector):
        """The files of a detector."""
        return [name for name in self.files if f"_{detector.lower()}_" in name]

    def errors(self, model):
        """Sky error of every source in an image: ``{source: (east, north) in mas}``."""
        truth = self.truths[model.meta.filename.rsplit("_", 1)[0]]
        sources, (ny, nx) = truth.sources, truth.rate.shape
        inside = (sources["x"] > 0) & (sources["x"] < nx) & (sources["y"] > 0) & (sources["y"] < ny)
        sources = sources[inside]
        ra, dec = model.meta.wcs(sources["x"], sources["y"], with_bounding_box=False)
        east = (ra - sources["ra"]) * np.cos(np.deg2rad(sources["dec"]))
        both = np.column_stack([east, dec - sources["dec"]]) * 3.6e6
        return dict(zip(sources["source"].tolist(), both, strict=True))


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Three dithers of NRCB4 F150W and NRCBLONG F277W, SUB640: 0.36 arcsec and 30 arcsec off."""
    folder = tmp_path_factory.mktemp("align")
    pointing = PointingConfig(visit_shift=(0.3, -0.2), jitter=0.01, roll=30.0)
    config = SimulationConfig(pointing=pointing).only("pointing", "sources", "sky")
    exposures = simulate_dithers(folder, 3, n_groups=2, seed=2, config=config)
    with active(folder):
        yield Field(folder, exposures)


def reference_of(field, path, scatter=SCATTER, names=("RA", "DEC"), seed=0, shift=0.0):
    """Write the catalogue of the sources, each position off by a scatter."""
    rng = np.random.default_rng(seed)
    sources = make_sources()
    off = rng.normal(0, 1, (2, len(sources))) * scatter / 3.6e6
    cos = np.cos(np.deg2rad(sources["dec"]))
    columns = [sources["ra"] + off[0] / cos, sources["dec"] + off[1] + shift / 3600]
    table = Table(columns, names=names)
    table.write(path, overwrite=True)
    return str(path)


def read_results(folder):
    """The table of results in a folder."""
    (path,) = folder.glob("*_alignment.ecsv")
    return Table.read(path)


def run(field, tmp_path, files=None, **parameters):
    """Align; return models by name and the table."""
    settings = {"abs_refcat": "", "output_dir": str(tmp_path), "save_plots": False} | parameters
    library = AlignStep.call(files or field.files, **settings)
    models = models_of(library)
    OPEN.extend(models.values())
    return models, read_results(tmp_path)


def models_of(library):
    models = {}
    with library:
        for index, model in enumerate(library):
            models[model.meta.filename.rsplit("_", 1)[0]] = model
            library.shelve(model, index, modify=False)
    return models


def history(model):
    """The HISTORY lines of the step."""
    lines = [entry["description"] for entry in model.instance["history"]["entries"]]
    return [line for line in lines if "ceers_align" in line]


@contextmanager
def opened(files):
    """The models of files, for as long as they are needed."""
    with ExitStack() as stack:
        yield [stack.enter_context(datamodels.open(name)) for name in files]


def mean_error(field, models):
    """Mean sky error of models, mas."""
    return np.mean([np.mean(list(field.errors(m).values()), axis=0) for m in models], axis=0)


def relative_errors(field, models):
    """Mean difference of each model from the mean of all at the same sources, mas."""
    errors = [field.errors(model) for model in models]
    common = set.intersection(*(set(e) for e in errors))
    table = np.array([[e[source] for source in sorted(common)] for e in errors])
    return (table - table.mean(axis=0)).mean(axis=1)


def by_detector(models, detector):
    return [model for name, model in models.items() if name.endswith(f"_{detector.lower()}")]


@pytest.fixture(scope="module")
def aligned(field, tmp_path_factory):
    """All exposures, aligned with the usual parameters: folder, models, table."""
    folder = tmp_path_factory.mktemp("accuracy")
    reference = reference_of(field, folder / "reference.ecsv")
    models, table = run(field, folder, abs_refcat=reference, save_plots=True)
    OPEN.clear()
    yield folder, models, table
    for model in models.values():
        model.close()


@pytest.mark.slow
class TestAccuracy:
    @pytest.mark.parametrize("detector", ["NRCB4", "NRCBLONG"])
    def test_absolute(self, field, aligned, detector):
        _, models, table = aligned
        rows = table[(table["detector"] == detector) & (table["alignment"] == "absolute")]
        limit = SCATTER / np.sqrt(rows["n_matched"][0])
        assert rows["n_matched"][0] >= 15
        with opened(field.of(detector)) as before:
            assert np.hypot(*mean_error(field, before)) > 300
        assert np.hypot(*mean_error(field, by_detector(models, detector))) < 3 * limit

    @pytest.mark.parametrize("detector", ["NRCB4", "NRCBLONG"])
    def test_dithers(self, field, aligned, detector):
        _, models, _ = aligned
        with opened(field.of(detector)) as before:
            assert np.abs(relative_errors(field, before)).max() > 5
        after = relative_errors(field, by_detector(models, detector))
        assert np.hypot(*after.T).max() < 1.0

    def test_status_and_history(self, aligned):
        _, models, _ = aligned
        for model in models.values():
            assert model.meta.cal_step.tweakreg == "COMPLETE"
            assert model.meta.cal_step.instance["ceers_align"] == "COMPLETE"
            entry = model.meta.instance["ceers_steps"]["ceers_align"]
            assert entry["parameters"]["abs_refcat"] == "reference.ecsv"
            assert entry["metrics"]["absolute_n_matched"] >= 15
            assert entry["metrics"]["absolute_at_bound"] is False
            assert model.meta.wcs.name == "FIT-LVL3-reference.ecsv"
            (line,) = history(model)
            assert "ceers_align COMPLETE" in line

    def test_keywords_follow(self, field, aligned):
        _, models, _ = aligned
        for name, model in models.items():
            with datamodels.open(field.folder / f"{name}_cal.fits") as before:
                assert model.meta.wcsinfo.s_region != before.meta.wcsinfo.s_region
                moved = (model.meta.wcsinfo.crval2 - before.meta.wcsinfo.crval2) * 3600
                assert 0.05 < abs(moved) < 0.5
            corners = np.array(model.meta.wcsinfo.s_region.split()[2:], float).reshape(4, 2)
            footprint = model.meta.wcs.footprint()
            np.testing.assert_allclose(corners, footprint, atol=1e-8)

    def test_table(self, field, aligned):
        _, _, table = aligned
        assert len(table) == 2 * len(field.files)
        assert set(table["status"]) == {"COMPLETE"}
        relative = table[table["alignment"] == "relative"]
        absolute = table[table["alignment"] == "absolute"]
        assert set(relative["geometry"]) == {"shift"}
        assert dict(zip(absolute["detector"], absolute["geometry"], strict=True)) == {
            "NRCB4": "rshift",
            "NRCBLONG": "rscale",
        }
        assert table["rmse"].unit == "mas"
        assert np.all(relative["rmse"] < 20)
        # 15 mas in each coordinate: the length of a residual is 21 mas in the rms
        assert np.all(np.abs(absolute["rmse"] - 21) < 8)
        assert np.all(absolute["mae"] < absolute["rmse"])
        assert np.all(np.abs(np.hypot(absolute["xshift"], absolute["yshift"]) - 361) < 40)
        # all dithers of a detector have the same solution
        for detector in ("NRCB4", "NRCBLONG"):
            assert len(set(absolute["xshift"][absolute["detector"] == detector])) == 1

    def test_products(self, aligned):
        folder, _, _ = aligned
        assert sorted(path.suffix for path in folder.glob("*_alignment.*")) == [".ecsv", ".png"]
        assert not list(folder.glob("*.asdf"))

    def test_few_sources_and_a_small_catalogue(self, field, tmp_path, caplog):
        """Four to twelve matches with a catalogue of 15 mas: dithers stay together."""
        reference = Path(reference_of(field, tmp_path / "reference.ecsv"))
        table = Table.read(reference)
        table[::4].write(reference, overwrite=True)
        files = field.of("NRCB4")
        models, table = run(field, tmp_path, files, abs_refcat=str(reference), snr_threshold=150.0)
        absolute = table[table["alignment"] == "absolute"]
        assert set(absolute["status"]) == {"COMPLETE"}
        assert len(set(absolute["xshift"])) == 1
        assert 3 <= absolute["n_matched"][0] <= 12
        error = absolute["shift_error"][0]
        assert error > 3.0
        assert f"place on the sky known to {error:.1f} mas only" in caplog.text
        assert all("place on the sky" in history(each)[-1] for each in models.values())
        relative = table[table["alignment"] == "relative"]
        after = relative_errors(field, list(models.values()))
        assert np.all(np.abs(after) < 4 * relative["shift_error"].max() + 1.0)
        assert relative["shift_error"].max() < 5.0

    def test_relative_only_keeps_the_mean_pointing(self, field, tmp_path):
        models, table = run(field, tmp_path, field.of("NRCB4"))
        with opened(field.of("NRCB4")) as before:
            moved = mean_error(field, models.values()) - mean_error(field, before)
        # the dithers see not quite the same sources, and the roll is not corrected
        assert np.hypot(*moved) < 2
        assert set(table["alignment"]) == {"relative"}
        after = relative_errors(field, list(models.values()))
        assert np.hypot(*after.T).max() < 2  # the roll, 30 arcsec over dithers of 6 arcsec: 0.9 mas


@pytest.mark.slow
class TestFailures:
    def assert_failed(self, field, models, table, names=None):
        for name in names or models:
            model = models[name]
            assert model.meta.cal_step.tweakreg == "FAILED"
            assert "ceers_align FAILED" in history(model)[-1]
            with datamodels.open(field.folder / f"{name}_cal.fits") as before:
                x, y = np.array([10.0, 600.0]), np.array([20.0, 300.0])
                np.testing.assert_array_equal(model.meta.wcs(x, y), before.meta.wcs(x, y))
                assert model.meta.wcsinfo.s_region == before.meta.wcsinfo.s_region
            rows = table[table["exposure"] == name]
            assert "FAILED" in rows["status"]
            assert all(row["note"] for row in rows if row["status"] == "FAILED")

    def test_catalogue_elsewhere(self, field, tmp_path, caplog):
        reference = reference_of(field, tmp_path / "elsewhere.fits", shift=3600)
        models, table = run(field, tmp_path, abs_refcat=reference, save_wcs=True)
        self.assert_failed(field, models, table)
        assert not list(tmp_path.glob("*.asdf"))
        assert "none of 170 sources of elsewhere.fits is in the image" in caplog.text
        assert "6 of 6 exposures are not aligned" in caplog.text
        warned = {record.levelname for record in caplog.records if "not aligned" in record.message}
        assert warned == {"WARNING"}

    def test_exchanged_columns(self, field, tmp_path):
        """RA of 214.92 cannot be a DEC: refused at once. Where it could be, the note says so."""
        path = Path(reference_of(field, tmp_path / "swapped.ecsv", names=("DEC", "RA")))
        with pytest.raises(StepError, match="not the one in the column of the other"):
            run(field, tmp_path, abs_refcat=str(path))

    def test_positions_of_another_epoch(self, field, tmp_path):
        path = reference_of(field, tmp_path / "gaia.ecsv")
        table = Table.read(path)
        table["ref_epoch"], table["pmra"], table["pmdec"] = 2016.0, 3.0, -4.0
        table.write(path, overwrite=True)
        with pytest.raises(StepError, match=r"of 2016\.0, the exposures of 2022\.\d; .* 32 mas"):
            run(field, tmp_path, field.of("NRCB4"), abs_refcat=path)

    def test_unrelated_catalogue(self, field, tmp_path):
        rng = np.random.default_rng(3)
        table = make_sources(seed=99)["ra", "dec"]
        table["dec"] += rng.normal(0, 1e-3, len(table))
        table.write(tmp_path / "other.ecsv")
        models, results = run(field, tmp_path, abs_refcat=str(tmp_path / "other.ecsv"))
        self.assert_failed(field, models, results)
        assert "by chance" in results["note"][-1]

    def test_too_few_sources(self, field, tmp_path):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        models, table = run(field, tmp_path, abs_refcat=reference, abs_minobj=10000)
        self.assert_failed(field, models, table)

    def test_residuals_too_large(self, field, tmp_path):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        models, table = run(field, tmp_path, abs_refcat=reference, abs_max_rmse=3.0)
        self.assert_failed(field, models, table)
        assert "above 3.0 (abs_max_rmse)" in table["note"][-1]

    def test_relative_residuals_too_large(self, field, tmp_path):
        files = field.of("NRCB4")
        models, table = run(field, tmp_path, files, max_rmse=0.01)
        self.assert_failed(field, models, table)

    def test_one_exposure_without_light(self, field, tmp_path, caplog):
        """The guide star holds it among the others of its visit; that nothing else does is said."""
        files = field.of("NRCB4")
        blank = tmp_path / files[1].rsplit("/", 1)[1]
        with datamodels.open(files[1]) as model:
            model.dq[:] = 1
            model.save(blank)
        reference = reference_of(field, tmp_path / "reference.ecsv")
        three = [files[0], str(blank), files[2]]
        models, table = run(field, tmp_path, three, abs_refcat=reference, on_failure="stop")
        name = blank.name.removesuffix("_cal.fits")
        assert {model.meta.cal_step.tweakreg for model in models.values()} == {"COMPLETE"}
        assert f"{name}: place among the other exposures known to 4.1 mas only" in caplog.text
        assert "the guide star and 0 sources in common" in history(models[name])[-1]
        assert set(table["n_sources"][table["exposure"] == name][:1]) == {0}
        good = [model for key, model in models.items() if key != name]
        assert np.hypot(*mean_error(field, good)) < 3 * SCATTER / np.sqrt(15)
        # 10 mas of jitter, which its pointing has and the mean of the others
        error = np.hypot(*mean_error(field, [models[name]]))
        assert error < 3 * 10 * np.sqrt(2)

    def test_pointing_of_another_exposure(self, field, tmp_path, caplog):
        """With fallback='visit' a detector without sources takes the pointing of the other."""
        files = []
        for path in field.of("NRCB4"):
            blank = tmp_path / path.rsplit("/", 1)[1]
            with datamodels.open(path) as model:
                model.dq[:] = 1
                model.save(blank)
            files.append(str(blank))
        files += field.of("NRCBLONG")
        reference = reference_of(field, tmp_path / "reference.ecsv")
        parameters = {"abs_refcat": reference, "fallback": "visit"}
        models, table = run(field, tmp_path, files, **parameters)
        borrowed = by_detector(models, "NRCB4")
        assert {model.meta.cal_step.tweakreg for model in borrowed} == {"COMPLETE"}
        rows = table[(table["detector"] == "NRCB4") & (table["alignment"] == "absolute")]
        assert set(rows["status"]) == {"BORROWED"}
        assert "pointing of jw01345001001_02114" in caplog.text
        # 10 mas of jitter between exposures of either detector, and the fit of the donors
        assert np.hypot(*mean_error(field, borrowed)) < 30

    def test_pointing_of_the_visit_without_catalogue(self, field, tmp_path):
        """Two visits, one 0.3 arcsec off: an exposure without light goes with the others of its."""
        files = []
        for number, path in enumerate(field.of("NRCB4")):
            name = Path(path).name
            with datamodels.open(path) as model:
                if number > 0:
                    name = name.replace("jw01345001001", "jw01345001002")
                    first, second = (each.rsplit("_", 1)[0] for each in (Path(path).name, name))
                    field.truths[second] = field.truths[first]
                    model.meta.observation.visit_number = "002"
                    info = model.meta.wcsinfo.instance
                    names = ("roll_ref", "v2_ref", "v3_ref")
                    off = JWSTWCSCorrector(model.meta.wcs, {name: info[name] for name in names})
                    off.set_correction(np.eye(2), np.array([0.3, 0.0]))
                    model.meta.wcs = off.wcs
                if number == 2:
                    model.dq[:] = 1
                model.save(tmp_path / name)
            files.append(str(tmp_path / name))
        free = {"dither_error": 0.0}  # else the guide star holds it there already
        models, table = run(field, tmp_path, files, fallback="visit", save_wcs=True, **free)
        assert {model.meta.cal_step.tweakreg for model in models.values()} == {"COMPLETE"}
        (row,) = table[table["status"] == "BORROWED"]
        assert row["alignment"] == "relative"
        assert "mean pointing of 1 exposures" in history(models[row["exposure"]])[-1]
        assert len(list(tmp_path.glob("*_tweakreg.asdf"))) == 3
        errors = [mean_error(field, [models[name]]) for name in sorted(models)]
        # 10 mas of jitter each; it was off by the half of 300
        assert np.abs(errors[2] - errors[1]).max() < 3 * 10 * np.sqrt(2)
        assert np.abs(errors[2] - errors[0]).max() < 3 * 10 * np.sqrt(2)

    @pytest.mark.usefixtures("left_open")
    def test_message_names_the_fallback_only_where_it_helps(self, field, tmp_path):
        """No exposure of the visit is aligned: there is no pointing to take."""
        files, settings = field.of("NRCB4"), {"on_failure": "stop", "fallback": "visit"}
        with pytest.raises(StepError, match="3 of 3 exposures are not aligned") as error:
            run(field, tmp_path, files, max_rmse=0.01, **settings)
        assert "fallback" not in str(error.value)
        assert "Give an abs_refcat" in str(error.value)

    def test_no_sources_in_any_exposure(self, field, tmp_path, caplog):
        """All keep the pointing of the guide star, which is what WCS files then hold."""
        files = []
        for path in field.of("NRCB4")[:2]:
            files.append(str(tmp_path / Path(path).name))
            with datamodels.open(path) as model:
                model.dq[:] = 1
                model.save(files[-1])
        models, table = run(field, tmp_path, files, save_wcs=True, on_failure="stop")
        self.assert_failed(field, models, table)
        assert "None of the 2 exposures shows sources" in caplog.text
        for name, model in models.items():
            wcs = read_wcs_file(tmp_path / f"{name}_tweakreg.asdf").wcs
            assert wcs(5.0, 7.0) == model.meta.wcs(5.0, 7.0)

    def test_a_copy_of_an_exposure_is_refused(self, field, tmp_path):
        """Its noise is the same: both would seem to agree to no error at all."""
        files = field.of("NRCB4")
        copy = tmp_path / "mine_cal.fits"
        copy.write_bytes(Path(files[0]).read_bytes())
        with pytest.raises(CeersError, match=r"and mine_cal\.fits are both of exposure"):
            run(field, tmp_path, [*files, str(copy)])

    def test_one_exposure_without_catalogue(self, field, tmp_path):
        models, table = run(field, tmp_path, field.files[:1], save_wcs=True)
        (model,) = models.values()
        assert model.meta.cal_step.tweakreg == "SKIPPED"
        (path,) = tmp_path.glob("*_tweakreg.asdf")  # its pointing, so that a survey goes on
        assert read_wcs_file(path).wcs(5.0, 7.0) == model.meta.wcs(5.0, 7.0)
        assert len(table) == 1
        assert table["status"][0] == "SKIPPED"

    @pytest.mark.usefixtures("left_open")
    def test_stops_if_so_asked(self, field, tmp_path):
        """The table is written, and the message says why and what to do."""
        reference = reference_of(field, tmp_path / "elsewhere.fits", shift=3600)
        with pytest.raises(StepError, match="6 of 6 exposures are not aligned: jw0134") as error:
            run(field, tmp_path, abs_refcat=reference, on_failure="stop")
        for part in ("none of 170 sources of elsewhere", "another abs_refcat", "on_failure='keep'"):
            assert part in str(error.value)
        # all are, so they fit together
        assert "leave these exposures out" not in str(error.value)
        assert "FAILED" in read_results(tmp_path)["status"]


def positions(model):
    """Sky positions of some pixels of a model."""
    return np.array(model.meta.wcs([10.0, 600.0, 300.0], [20.0, 300.0, 610.0]))


@pytest.fixture(scope="module")
def wcs_dir(field, tmp_path_factory):
    """WCS files of two of the three dithers of NRCB4, aligned to the true positions."""
    folder = tmp_path_factory.mktemp("wcs")
    reference = reference_of(field, folder / "reference.ecsv", scatter=0)
    parameters = {"abs_refcat": reference, "output_dir": str(folder), "save_plots": False}
    library = AlignStep.call(field.of("NRCB4"), save_wcs=True, **parameters)
    for model in models_of(library).values():
        model.close()
    sorted(folder.glob("*.asdf"))[1].unlink()
    return folder


@pytest.mark.slow
class TestKept:
    """Exposures whose WCS is from a file."""

    def updated(self, files, wcs_dir):
        return UpdateWcsStep.call(files, wcs_dir=str(wcs_dir), missing="skip")

    def test_others_are_aligned_with_them(self, field, wcs_dir, tmp_path, caplog):
        """Without a catalogue, in the same band and in another one."""
        library = self.updated(field.files, wcs_dir)
        before = {name: positions(model) for name, model in models_of(library).items()}
        caplog.clear()
        models, table = run(field, tmp_path, library)
        assert "2 of 6 exposures keep their WCS from a file" in caplog.text
        kept = sorted(path.stem.removesuffix("_tweakreg") for path in wcs_dir.glob("*.asdf"))
        for name, model in models.items():
            assert model.meta.cal_step.tweakreg == "COMPLETE"
            status = model.meta.cal_step.instance["ceers_align"]
            assert status == ("SKIPPED" if name in kept else "COMPLETE")
            if name in kept:
                np.testing.assert_array_equal(positions(model), before[name])
        rows = table[table["alignment"] == "absolute"]
        assert set(rows["reference"]) == {"exposures that keep their WCS"}
        assert len(rows) == 4
        for detector in ("NRCB4", "NRCBLONG"):
            after = by_detector(models, detector)
            # 360 before
            assert np.hypot(*mean_error(field, after)) < 1.0
            assert np.hypot(*relative_errors(field, after).T).max() < 1.0

    def test_all_aligned_if_so_asked(self, field, wcs_dir, tmp_path):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        library = self.updated(field.of("NRCB4"), wcs_dir)
        models, table = run(field, tmp_path, library, abs_refcat=reference, keep_updated=False)
        status = [model.meta.cal_step.instance["ceers_align"] for model in models.values()]
        assert status == ["COMPLETE"] * 3
        rows = table[table["alignment"] == "absolute"]
        assert list(rows["reference"]) == ["reference.ecsv"] * 3

    def test_catalogue_for_what_they_do_not_reach(self, field, wcs_dir, tmp_path):
        library = self.updated(field.of("NRCB4"), wcs_dir)
        with library:
            for index, model in enumerate(library):
                if model.meta.cal_step.instance.get("ceers_update_wcs") == "COMPLETE":
                    model.dq[:] = 1
                library.shelve(model, index)
        reference = reference_of(field, tmp_path / "reference.ecsv")
        models, table = run(field, tmp_path, library, abs_refcat=reference)
        rows = table[table["alignment"] == "absolute"]
        assert list(rows["status"]) == ["FAILED", "COMPLETE"]
        assert list(rows["reference"]) == ["exposures that keep their WCS", "reference.ecsv"]
        free = [m for m in models.values() if m.meta.cal_step.instance["ceers_align"] == "COMPLETE"]
        limit = SCATTER / np.sqrt(rows["n_matched"][1])
        assert np.hypot(*mean_error(field, free)) < 3 * limit

    def test_nothing_left_to_align(self, field, wcs_dir, tmp_path, caplog):
        """No catalogue is asked for, and nothing is written."""
        files = [field.of("NRCB4")[0], field.of("NRCB4")[2]]
        library = self.updated(files, wcs_dir)
        caplog.clear()
        AlignStep.call(library, abs_refcat="GAIADR3", output_dir=str(tmp_path))
        assert "nothing is aligned" in caplog.text
        assert not list(tmp_path.iterdir())
        models = models_of(library)
        OPEN.extend(models.values())
        for model in models.values():
            assert model.meta.cal_step.instance["ceers_align"] == "SKIPPED"
            assert model.meta.cal_step.tweakreg == "COMPLETE"


@pytest.mark.slow
class TestInput:
    def test_single_file_and_model(self, field, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        reference = reference_of(field, tmp_path / "reference.ecsv")
        models, _ = run(field, tmp_path, field.files[0], abs_refcat=reference)
        assert [m.meta.cal_step.tweakreg for m in models.values()] == ["COMPLETE"]
        with datamodels.open(field.files[0]) as model:
            before = model.meta.wcs
            OPEN.extend(models_of(AlignStep.call(model, abs_refcat=reference)).values())
            assert model.meta.wcs is before
            assert model.meta.cal_step.tweakreg is None

    def association(self, field):
        """Write an association with a product for each detector beside the exposures."""
        names = [[Path(name).name for name in field.of(d)] for d in ("NRCB4", "NRCBLONG")]
        members = [[{"expname": name, "exptype": "science"} for name in own] for own in names]
        products = [
            {"name": name, "members": own}
            for name, own in zip(("field_f150w", "field_f277w"), members, strict=True)
        ]
        header = {"asn_type": "image3", "asn_id": "a3001", "asn_pool": "none"}
        path = field.folder / "asn.json"
        path.write_text(json.dumps(header | {"products": products}))
        return str(path)

    @pytest.mark.parametrize("in_memory", [True, False])
    def test_association_with_several_products(self, field, tmp_path, in_memory):
        """Standalone: one file for each exposure, and results under the name of the product."""
        parameters = {
            "abs_refcat": reference_of(field, tmp_path / "reference.ecsv"),
            "output_dir": str(tmp_path / "out"),
            "save_results": True,
            "save_wcs": True,
        }
        AlignStep.call(self.association(field), in_memory=in_memory, **parameters)
        out = tmp_path / "out"
        assert len(list(out.glob("jw*_tweakreg.fits"))) == len(field.files)
        assert len(list(out.glob("jw*_tweakreg.asdf"))) == len(field.files)
        assert (out / "field_f150w_alignment.ecsv").is_file()
        assert (out / "field_f150w_alignment.png").is_file()

    def test_on_disk_library(self, field, tmp_path):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        library = ModelLibrary(self.association(field), on_disk=True, temp_directory=tmp_path)
        result = AlignStep.call(library, abs_refcat=reference, output_dir=str(tmp_path))
        assert result is library
        models = models_of(result)
        assert {m.meta.cal_step.tweakreg for m in models.values()} == {"COMPLETE"}
        assert np.hypot(*mean_error(field, models.values())) < 3 * SCATTER / np.sqrt(15)

    def test_saved_wcs(self, field, tmp_path):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        models, _ = run(field, tmp_path, field.files[:3], abs_refcat=reference, save_wcs=True)
        x, y = np.array([3.0, 500.0]), np.array([100.0, 300.0])
        for name, model in models.items():
            saved = read_wcs_file(tmp_path / f"{name}_tweakreg.asdf")
            np.testing.assert_array_equal(saved.wcs(x, y), model.meta.wcs(x, y))
            assert saved.wcsinfo["s_region"] == model.meta.wcsinfo.s_region

    def test_without_err_and_dq(self, field, tmp_path, caplog):
        """Or with errors that are far too small, as those of a single group are."""
        reference = reference_of(field, tmp_path / "reference.ecsv")
        bare = []
        for path in field.of("NRCB4"):
            with datamodels.open(path) as model:
                copy = model.copy()
            OPEN.append(copy)
            copy.data = np.where(copy.dq > 0, np.nan, copy.data)
            copy.err, copy.dq = copy.err / 5 if bare else None, None
            bare.append(copy)
        models, table = run(field, tmp_path, bare, abs_refcat=reference)
        assert caplog.text.count("times as much as their errors say") == len(bare) - 1
        n_sources = table["n_sources"][table["alignment"] == "relative"]
        assert n_sources.max() < 1.5 * n_sources.min()
        assert {m.meta.cal_step.tweakreg for m in models.values()} == {"COMPLETE"}
        assert np.hypot(*mean_error(field, models.values())) < 3 * SCATTER / np.sqrt(15)

    def test_skipped_says_so(self, field):
        with datamodels.open(field.files[0]) as model:
            step = AlignStep()
            step.skip = True
            step.parent = AlignStep()
            result = step.run(model)
            assert result.meta.cal_step.tweakreg == "SKIPPED"

    def test_source_list_beside_the_association(self, field, tmp_path):
        folder = tmp_path / "data"
        folder.mkdir()
        members = []
        for path in map(Path, field.of("NRCBLONG")):
            shutil.copy(path, folder)
            truth = field.truths[path.name.removesuffix("_cal.fits")]
            catalog = Table([truth.sources["x"], truth.sources["y"]], names=["x", "y"])
            catalog.write(folder / f"{path.stem}_mine.ecsv")
            member = {"expname": path.name, "exptype": "science"}
            members.append(member | {"tweakreg_catalog": f"{path.stem}_mine.ecsv"})
        product = {"name": "field", "members": members}
        header = {"asn_type": "image3", "asn_id": "a3001", "asn_pool": "none"}
        (folder / "asn.json").write_text(json.dumps(header | {"products": [product]}))
        reference = reference_of(field, tmp_path / "reference.ecsv")
        _, table = run(
            field,
            tmp_path,
            str(folder / "asn.json"),
            abs_refcat=reference,
            use_custom_catalogs=True,
        )
        # exact positions leave nothing between the exposures
        assert np.all(table["rmse"][table["alignment"] == "relative"] < 0.5)

    def test_order_does_not_matter(self, field, tmp_path):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        one, _ = run(field, tmp_path, field.files, abs_refcat=reference)
        other, _ = run(field, tmp_path, field.files[::-1], abs_refcat=reference)
        for name, model in one.items():
            np.testing.assert_array_equal(
                model.meta.wcs(10.0, 20.0), other[name].meta.wcs(10.0, 20.0)
            )

    def test_source_lists_of_others(self, field, tmp_path):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        files = field.of("NRCBLONG")
        models, _ = run(
            field,
            tmp_path,
            files,
            abs_refcat=reference,
            source_lists="jwst",
            starfinder="segmentation",
        )
        assert np.hypot(*mean_error(field, models.values())) < 6 * SCATTER / np.sqrt(15)
        lines = []
        for path in files:
            truth = field.truths[path.rsplit("/", 1)[1].removesuffix("_cal.fits")]
            catalog = Table([truth.sources["x"], truth.sources["y"]], names=["x", "ycentroid"])
            name = path.rsplit("/", 1)[1]
            catalog.write(tmp_path / f"{name}.ecsv", overwrite=True)
            lines.append(f"{name} {name}.ecsv")
        (tmp_path / "catfile").write_text("# image list\n" + "\n".join(lines))
        custom = {"use_custom_catalogs": True, "catfile": str(tmp_path / "catfile")}
        models, table = run(field, tmp_path, files, abs_refcat=reference, **custom)
        assert {m.meta.cal_step.tweakreg for m in models.values()} == {"COMPLETE"}
        # exact positions leave nothing between the exposures
        assert np.all(table["rmse"][table["alignment"] == "relative"] < 0.5)

    def test_saved_lists(self, field, tmp_path):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        parameters = {"save_catalogs": True, "save_abs_catalog": True, "abs_refcat": reference}
        run(field, tmp_path, field.files[:1], **parameters)
        (path,) = tmp_path.glob("*_cat.ecsv")
        assert {"x", "y", "flux", "snr", "flags", "size"} <= set(Table.read(path).colnames)
        (path,) = tmp_path.glob("fit_*_ref.ecsv")
        assert len(Table.read(path)) == 170

    def test_table_of_parameters(self, field, tmp_path, caplog):
        reference = reference_of(field, tmp_path / "reference.ecsv")
        path = tmp_path / "parameters.ecsv"
        table = Table(
            {
                "visit": ["jw01345001001", "jw01345001001"],
                "filter": ["F150W", "F444W"],
                "abs_fitgeometry": ["shift", "general"],
                "snr_threshold": [9.0, 3.0],
            }
        )
        table.write(path)
        parameters = {"abs_refcat": reference, "alignment_table": str(path)}
        models, results = run(field, tmp_path, **parameters)
        absolute = results[results["alignment"] == "absolute"]
        assert set(absolute["geometry"][absolute["filter"] == "F150W"]) == {"shift"}
        assert set(absolute["geometry"][absolute["filter"] == "F277W"]) == {"rscale"}
        used = models[absolute["exposure"][0]].meta.instance["ceers_steps"]["ceers_align"]
        assert used["parameters"]["snr_threshold"] == 9.0
        assert "has no row for visit jw01345001001, filter F277W" in caplog.text

    def test_gaia(self, field, tmp_path, monkeypatch):
        asked = []

        def answer(wcs, epoch, catalog, output):
            asked.append((catalog, epoch))
            sources = make_sources()
            return Table({"RA": sources["ra"], "DEC": sources["dec"]})

        monkeypatch.setattr(reference_module, "create_astrometric_catalog", answer)
        models, _ = run(field, tmp_path, field.of("NRCB4"), abs_refcat="gaiadr3")
        assert {m.meta.cal_step.tweakreg for m in models.values()} == {"COMPLETE"}
        assert len(asked) == 1
        assert asked[0][0] == "GAIADR3"
        assert 2022.4 < asked[0][1] < 2022.6

    @pytest.mark.usefixtures("left_open")
    def test_gaia_without_network(self, field, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise ConnectionError("no route")

        monkeypatch.setattr(reference_module, "create_astrometric_catalog", fail)
        with pytest.raises(StepError, match=r"GAIADR3 cannot be had from the network \(no route"):
            run(field, tmp_path, field.files[:1], abs_refcat="GAIADR3")

    def test_without_matplotlib(self, field, tmp_path, monkeypatch, caplog):
        for name in [name for name in sys.modules if name.startswith("matplotlib")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        reference = reference_of(field, tmp_path / "reference.ecsv")
        caplog.set_level("INFO")
        parameters = {"abs_refcat": reference, "save_plots": True}
        models, _ = run(field, tmp_path, field.files[:1], **parameters)
        assert [m.meta.cal_step.tweakreg for m in models.values()] == ["COMPLETE"]
        assert not list(tmp_path.glob("*.png"))
        assert "No figure of the alignment" in caplog.text


@pytest.mark.slow
class TestBadInput:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"abs_refcat": "nowhere.ecsv"}, "abs_refcat=nowhere.ecsv does not exist"),
            (
                {"catfile": "nowhere", "use_custom_catalogs": True},
                "catfile.*nowhere.*not exist",
            ),
        ],
    )
    def test_bad_parameters(self, field, tmp_path, parameters, message):
        with pytest.raises(StepError, match=message):
            run(field, tmp_path, field.files[:1], **parameters)

    def test_bad_tables(self, field, tmp_path):
        path = tmp_path / "bad.ecsv"
        Table({"visit": ["a"], "filter": ["b"], "colour": [1]}).write(path)
        with pytest.raises(StepError, match=r"unknown column\(s\) colour"):
            run(field, tmp_path, field.files[:1], alignment_table=str(path))
        with pytest.raises(StepError, match="no columns RA and DEC; found visit"):
            run(field, tmp_path, field.files[:1], abs_refcat=str(path))

    @pytest.mark.usefixtures("left_open")
    def test_no_wcs(self, field, tmp_path):
        path = tmp_path / "jw01345001001_02105_00001_nrcb4_rate.fits"
        shutil.copy(field.files[0], path)
        with datamodels.open(path) as model:
            model.meta.wcs = None
            model.save(path)
        with pytest.raises(StepError, match="has no WCS: assign_wcs has not been run"):
            run(field, tmp_path, [str(path)])

    def test_missing_exposure(self, field, tmp_path):
        with pytest.raises(StepError, match="does not exist"):
            AlignStep.call(str(tmp_path / "jw01_cal.fits"))


class TestDeclaration:
    def test_parameters_of_tweakreg_are_all_there(self):
        ours, theirs = AlignStep.load_spec_file(), TweakRegStep.load_spec_file()
        assert set(theirs) <= set(ours)
        assert AlignStep.get_config_reftype() == "pars-tweakregstep"

    def test_crds_does_not_replace_defaults_of_ours(self, monkeypatch):
        def from_crds(parameters, observatory):
            return config_parser.ConfigObj(
                {"separation": "1.0", "minobj": "15", "abs_refcat": "GAIADR3"}
            )

        monkeypatch.setattr(TweakRegStep, "_get_config_from_parameters", from_crds)
        config = AlignStep._get_config_from_parameters({}, "jwst")
        assert dict(config) == {"abs_refcat": "GAIADR3"}

    def test_saved_reference_where_ra_goes_through_zero(self, tmp_path):
        reference = ReferenceCatalog("mine", np.array([0.001, 180.0]), np.array([10.0, 10.0]))
        path = tmp_path / "used.ecsv"
        save_reference(path, reference, [(359.9999, 10.0)])
        assert Table.read(path)["RA"].tolist() == [0.001]

    def test_is_a_step(self):
        assert issubclass(AlignStep, Step)
        assert AlignStep().remove_suffix("jw1_tweakreg") == ("jw1", "_")

    @pytest.mark.slow
    def test_error_inside_a_pipeline_is_ours(self, field):
        step = AlignStep(abs_refcat="nowhere.ecsv")
        step.parent = AlignStep()
        with pytest.raises(CeersError, match="does not exist"):
            step.run(field.files[:1])
