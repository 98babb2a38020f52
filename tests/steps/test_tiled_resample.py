"""Mosaics in tiles: the same file as the mosaic drizzled at once."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS as FitsWCS
from jwst.datamodels import ModelLibrary
from jwst.resample import ResampleStep
from numpy.testing import assert_allclose, assert_array_equal
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags
from stpipe.exceptions import ValidationError

from ceers_steps.drizzling.tiled import TiledMosaic
from ceers_steps.errors import CeersError
from ceers_steps.files import disk
from ceers_steps.steps.tiled_resample import TiledResampleStep
from tests.drizzled import CENTRE, exposure
from tests.history import says

POSITIONS = ((0, 0), (1.7, -0.6), (-2.2, 2.1), (5.3, 4.4))  # arcsec
GRID = {"pixel_scale": 0.03, "rotation": 20.0}
SLOW = pytest.mark.slow
INSIDE = {**GRID, "crval": list(CENTRE), "crpix": [100.0, 90.0], "output_shape": [210, 190]}
BESIDE = {"crval": [215.0, 52.0], "crpix": [100, 100], "output_shape": [200, 200]}
FAR = {"crval": [10.0, -30.0], "crpix": [100, 100], "output_shape": [200, 200]}
PLANES = ("data", "err", "dq", "con", "wht", "var_poisson", "var_rnoise", "var_flat")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")  # no CRDS is needed


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of four exposures."""
    folder = tmp_path_factory.mktemp("cal")
    paths = []
    for number, position in enumerate(POSITIONS, start=1):
        model = exposure(number, position)
        paths.append(str(folder / model.meta.filename))
        model.save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def association(files):
    """An association of the four, with a product name."""
    return associate("my_asn.json", files)


def associate(name, files, names=("ceers_f150w",)):
    """Write an association beside its members."""
    path = Path(files[0]).parent / name
    members = [{"expname": Path(name).name, "exptype": "science"} for name in files]
    content = {
        "asn_type": "image3",
        "asn_rule": "DMS_Level3_Base",
        "asn_id": "c0001",
        "asn_pool": "none",
        "program": "01345",
        "products": [{"name": name, "members": members} for name in names],
    }
    path.write_text(json.dumps(content))
    return str(path)


def at_once(models, **parameters):
    return ResampleStep.call(models, configure_log=False, **parameters)


def in_tiles(models, **parameters):
    return TiledResampleStep.call(
        models, configure_log=False, **{"tile_size": 64, "output_file": "mosaic", **parameters}
    )


def assert_same(model, path):
    """The planes of a mosaic and of a file agree to a few roundings of float32."""
    with datamodels.open(path) as other:
        for name in PLANES:
            plane = getattr(model, name, None)
            if plane is None:
                assert getattr(other, name, None) is None
                continue
            found = np.array(getattr(other, name))
            if plane.dtype.kind in "iu":
                assert_array_equal(found, plane, err_msg=name)
            else:
                # of a sum of four: relative to its largest term, which is about the noise
                scale = np.nanmax(np.abs(plane)) if name != "data" else 0.2
                assert_allclose(found, plane, rtol=2e-6, atol=1e-7 * scale, err_msg=name)


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param(GRID, id="whole-field"),
        pytest.param(INSIDE, id="exposures-reach-beyond"),
        pytest.param({**INSIDE, "crpix": [80.3, -55.5], "rotation": 0.0}, id="corner", marks=SLOW),
        pytest.param(
            {"pixel_scale": 0.05, "rotation": -75.0, "pixfrac": 0.6}, id="pixfrac", marks=SLOW
        ),
        pytest.param({**GRID, "kernel": "gaussian", "weight_type": "exptime"}, id="gaussian"),
        pytest.param({**INSIDE, "fillval": "-1", "propagate_dq": True}, id="flags-fill"),
        pytest.param(
            {**GRID, "pixmap_stepsize": 7, "pixmap_order": 3}, id="interpolated", marks=SLOW
        ),
        pytest.param({**GRID, "output_shape": [700, 650]}, id="empty", marks=SLOW),
    ],
)
@pytest.mark.filterwarnings("ignore:Kernel 'gaussian' is not a flux")
def test_pixels_are_those_of_the_mosaic_drizzled_at_once(files, parameters):
    path = in_tiles(files, tile_size=90, **parameters)

    assert_same(at_once(files, **parameters), path)


@pytest.mark.slow
@pytest.mark.parametrize("area", [None, 1e-13])
def test_a_grid_from_a_file_has_the_scale_of_the_first_exposure(tmp_path, area):
    models = [exposure(number, place) for number, place in enumerate(POSITIONS[:2], start=1)]
    for model in models:
        model.meta.photometry.pixelarea_steradians = area
    whole = at_once([model.copy() for model in models], **GRID)
    asdf.AsdfFile({"wcs": whole.meta.wcs}).write_to("grid.asdf")

    path = in_tiles([model.copy() for model in models], output_wcs="grid.asdf")

    whole = at_once(models, output_wcs="grid.asdf")
    assert_same(whole, path)
    with datamodels.open(path) as made:
        ratio = whole.meta.resample.pixel_scale_ratio
        assert_allclose(made.meta.resample.pixel_scale_ratio, ratio, rtol=1e-12)
        assert_allclose(ratio, 0.5 if area is None else 0.46, rtol=0.01)


@pytest.mark.slow
def test_each_pixel_follows_from_its_exposures_whatever_the_tile_size(files):
    paths = [in_tiles(files, tile_size=n, output_file=f"m{n}", **GRID) for n in (64, 77, 4000)]

    with fits.open(paths[0]) as first:
        for path in paths[1:]:
            with fits.open(path) as other:
                for plane in ("SCI", "ERR", "CON", "WHT", "VAR_RNOISE"):
                    assert_allclose(other[plane].data, first[plane].data, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("tile_size", [None, 90])
def test_a_list_gives_the_mosaic_its_name(files, tile_size):
    TiledResampleStep.call(
        files, configure_log=False, save_results=True, tile_size=tile_size, **GRID
    )
    (path,) = Path().glob("*.fits")
    assert path.name == "jw01345001001_02101_nrcb4_f150w_i2d.fits"


@pytest.mark.slow
def test_headers_tables_and_wcs_are_those_of_the_mosaic_drizzled_at_once(association):
    parameters = {**GRID, "suffix": "i2d", "save_results": True}
    at_once(association, output_file="whole", **parameters)
    path = in_tiles(association, **GRID)

    difference = fits.FITSDiff(
        "whole_i2d.fits", path, ignore_keywords=["DATE", "FILENAME", "HISTORY"], rtol=1e-4
    )
    reports = {index: diff.report() for index, diff, *_ in difference.diff_hdus}
    with fits.open(path) as hdus, datamodels.open("whole_i2d.fits") as whole:
        names = [hdu.name for hdu in hdus]
        # the last one is the ASDF tree, which names the file
        assert set(reports) <= {names.index("ASDF"), 0}, difference.report()
        assert "HDRTAB" in names
        assert says(hdus[0].header, "ceers_tiled_resample COMPLETE")
        assert hdus["SCI"].header["BUNIT"] == "MJy/sr"
        with datamodels.open(path) as model:
            assert isinstance(model, datamodels.ImageModel)
            assert model.meta.filename == "mosaic_i2d.fits"
            assert model.meta.cal_step.resample == "COMPLETE"
            assert model.meta.exposure.exposure_time == whole.meta.exposure.exposure_time > 400
            assert model.meta.resample.pointings == 4
            assert model.meta.asn.table_name == "my_asn.json"
            assert len(model.hdrtab) == 4
            assert model.meta.wcs.array_shape == model.data.shape
            x, y = np.array([0.0, 100, 250]), np.array([3.0, 200, 50])
            assert_allclose(model.meta.wcs(x, y), whole.meta.wcs(x, y), rtol=0, atol=0)
            sky = FitsWCS(hdus["SCI"].header).pixel_to_world_values(x, y)
            assert_allclose(sky, model.meta.wcs(x, y), rtol=0, atol=1e-10)


@pytest.mark.slow
def test_a_library_in_memory_gives_the_same_and_is_not_changed(files):
    path = in_tiles(files, **GRID)
    library = ModelLibrary([exposure(n, place) for n, place in enumerate(POSITIONS, start=1)])
    in_tiles(library, output_file="memory", **GRID)

    with fits.open(path) as first, fits.open("memory_i2d.fits") as other:
        for plane in ("SCI", "ERR", "CON", "WHT"):
            assert_array_equal(other[plane].data, first[plane].data)
    with library:
        for index, truth in enumerate(exposure(n, p) for n, p in enumerate(POSITIONS, start=1)):
            model = library.borrow(index)
            for plane in ("data", "dq", "err", "var_rnoise"):
                assert_array_equal(getattr(model, plane), getattr(truth, plane))
            library.shelve(model, index, modify=False)


@pytest.mark.slow
def test_files_are_opened_one_at_a_time(files, association, monkeypatch):
    open_now, most = set(), []
    borrow, shelve = ModelLibrary.borrow, ModelLibrary.shelve

    def watch_borrow(library, index):
        open_now.add(index)
        most.append(len(open_now))
        assert library.on_disk
        return borrow(library, index)

    def watch_shelve(library, model, index=None, modify=True):
        assert not modify
        open_now.discard(index)
        return shelve(library, model, index, modify)

    monkeypatch.setattr(ModelLibrary, "borrow", watch_borrow)
    monkeypatch.setattr(ModelLibrary, "shelve", watch_shelve)
    in_tiles(association, **GRID)
    assert max(most) == 1
    in_tiles(files, **GRID)
    assert max(most) == 1


@pytest.mark.slow
def test_context_has_one_bit_per_exposure_of_the_whole_mosaic(tmp_path):
    positions = [(4 * (n % 7), 4 * (n // 7)) for n in range(35)]
    models = [exposure(n, place, shape=(40, 44)) for n, place in enumerate(positions, start=1)]
    parameters = {"pixel_scale": 0.06, "rotation": 0.0}
    path = in_tiles([model.copy() for model in models], tile_size=100, **parameters)

    whole = at_once(models, **parameters)
    assert whole.con.shape[0] == 2
    assert_same(whole, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameters", "missing"),
    [
        ({"enable_ctx": False}, {"CON"}),
        ({"report_var": False}, {"VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"}),
        ({"enable_err": False}, {"ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"}),
    ],
)
def test_planes_can_be_left_out(files, parameters, missing):
    path = in_tiles(files, **GRID, **parameters)

    assert_same(at_once(files, **GRID, **parameters), path)
    with fits.open(path) as hdus:
        assert not missing & {hdu.name for hdu in hdus}


def test_one_exposure_is_a_mosaic_too(files):
    path = in_tiles(files[0], output_file=None, **GRID)

    assert path.endswith("jw01345001001_02101_00001_nrcb4_i2d.fits")
    assert_same(at_once(files[0], **GRID), path)
    with fits.open(path) as hdus:
        assert "HDRTAB" not in hdus


@pytest.mark.slow
def test_the_mosaic_is_named_after_the_product_and_the_name_is_not_kept(association, tmp_path):
    step = TiledResampleStep(tile_size=100, **GRID)

    path = step.run(association)

    assert path == str(tmp_path / "ceers_f150w_i2d.fits")
    assert step.output_file is None
    TiledResampleStep.call(association, configure_log=False, save_results=True, **GRID)
    assert_same(at_once(association, **GRID), path)  # it was replaced by that of one piece
    with fits.open(path) as hdus:
        assert "HISTORY" not in hdus[0].header


@pytest.mark.slow
def test_kept_tiles_are_mosaics_and_are_used_again(files, monkeypatch, tmp_path):
    path = in_tiles(files, keep_tiles=True, tile_size=200, **GRID)
    tiles = sorted(tmp_path.glob("mosaic_r*_i2d.fits"))
    drizzled = []
    drizzle = TiledMosaic.drizzle
    monkeypatch.setattr(
        TiledMosaic, "drizzle", lambda self, box: drizzled.append(box) or drizzle(self, box)
    )

    with fits.open(path) as whole:
        area = 0
        for name in tiles:
            with datamodels.open(name) as tile, fits.open(name) as hdus:
                metrics = tile.meta.ceers_steps.ceers_tiled_resample.metrics
                ny, nx = tile.data.shape
                part = np.s_[..., metrics.y0 : metrics.y0 + ny, metrics.x0 : metrics.x0 + nx]
                for plane in ("SCI", "ERR", "CON", "WHT", "VAR_FLAT"):
                    assert_array_equal(hdus[plane].data, whole[plane].data[part])
                assert len(tile.hdrtab) == 4
                sky = FitsWCS(whole["SCI"].header).pixel_to_world_values(metrics.x0, metrics.y0)
                assert_allclose(tile.meta.wcs(0, 0), sky, rtol=0, atol=1e-10)
                fits_sky = FitsWCS(hdus["SCI"].header).pixel_to_world_values(0, 0)
                assert_allclose(fits_sky, sky, rtol=0, atol=1e-10)
                area += tile.data.size
        assert area == whole["SCI"].data.size
        assert len(tiles) > 4
        before = whole["SCI"].data.copy()

    with open(tiles[0], "r+b") as file:  # cut off, as by a full disk
        file.truncate(20000)
    in_tiles(files, keep_tiles=True, tile_size=200, **GRID)
    assert len(drizzled) == 1
    with fits.open(path) as whole:
        assert_array_equal(whole["SCI"].data, before)

    in_tiles(files, keep_tiles=True, tile_size=200, **GRID, pixfrac=0.8)
    assert len(drizzled) == 1 + len(tiles)


@pytest.mark.slow
def test_a_mosaic_is_put_together_from_tiles_made_one_by_one(files, monkeypatch, tmp_path):
    """As by tasks of a survey: each tile in a folder of its own, moved to where all are."""
    parameters = {**INSIDE, "tile_size": 100, "keep_tiles": True}
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    for row in range(2):
        for column in range(3):
            alone.mkdir()
            path = in_tiles(files, only_tile=[row, column], output_dir=str(alone), **parameters)
            assert [str(file) for file in alone.iterdir()] == [path]
            shutil.move(path, together)
            alone.rmdir()
    monkeypatch.setattr(TiledMosaic, "drizzle", None)

    path = in_tiles(files, tile_dir=str(together), **parameters)

    assert_same(at_once(files, **INSIDE), path)
    assert len(list(together.iterdir())) == 6


@pytest.mark.slow
def test_a_tile_opens_its_own_exposures_and_is_that_of_the_whole(tmp_path, monkeypatch):
    """A row of exposures 15 arcsec apart and 9 arcsec wide; the first one gives the grid."""
    files = []
    for number in range(1, 7):
        model = exposure(number, (15 * (number - 1), 0))
        files.append(str(tmp_path / model.meta.filename))
        model.save(files[-1])
    asn = associate("row.json", files)
    parameters = {**GRID, "rotation": 0.0, "crval": list(CENTRE), "crpix": [2800.0, 250.0]}
    parameters |= {"output_shape": [3720, 500], "tile_size": 620, "keep_tiles": True}
    opened, borrow = [], ModelLibrary.borrow
    monkeypatch.setattr(
        ModelLibrary, "borrow", lambda self, index: opened.append(index) or borrow(self, index)
    )

    in_tiles(asn, **parameters)
    assert set(opened) == set(range(6))
    for column in range(6):
        opened.clear()
        alone = in_tiles(asn, only_tile=[0, column], output_dir="alone", **parameters)
        name = f"mosaic_r00c0{column}_i2d.fits"
        with datamodels.open(name) as tile, datamodels.open(alone) as other:
            found, metrics = (
                each.meta.instance["ceers_steps"]["ceers_tiled_resample"]["metrics"]
                for each in (other, tile)
            )
            assert found == metrics
            for plane in PLANES:
                assert_array_equal(np.array(other[plane]), np.array(tile[plane]))
            assert other.meta.wcs(0, 0) == tile.meta.wcs(0, 0)
            bits = np.bitwise_or.reduce(np.array(other.con), axis=None)
            own = {index for index in range(6) if bits >> index & 1}
            assert max(len(own), 1) <= len(other.hdrtab) <= 3
            assert len(tile.hdrtab) == 6
        # at most two touch a tile, of which the last has none, and one more may be near it
        assert len(own) == 0 if column == 5 else 1 <= len(own) <= 2
        assert own <= set(opened)
        assert len(set(opened) - {0}) <= 3
        assert max(map(opened.count, own), default=0) <= 3


@pytest.mark.slow
def test_a_changed_exposure_makes_its_tiles_anew(files, monkeypatch, tmp_path):
    copies = [shutil.copy(name, tmp_path) for name in files]
    # exposures within the mosaic: only their own tiles depend on them
    parameters = {**GRID, "crval": list(CENTRE), "crpix": [250.0, 250.0]}
    parameters["output_shape"] = [700, 600]
    in_tiles(copies, keep_tiles=True, tile_size=100, **parameters)
    with datamodels.open(copies[3]) as model:
        model.data[70, 70] += 1
        model.save(copies[3])
    drizzled = []
    drizzle = TiledMosaic.drizzle
    monkeypatch.setattr(
        TiledMosaic, "drizzle", lambda self, box: drizzled.append(box) or drizzle(self, box)
    )

    path = in_tiles(copies, keep_tiles=True, tile_size=100, **parameters)

    assert 1 <= len(drizzled) < 20  # of 42
    assert_same(at_once(copies, **parameters), path)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tile_size": None, "keep_tiles": True}, "keep_tiles=true needs tile_size"),
        ({"only_tile": [0, 0]}, r"only_tile=\[0, 0\] is about tiles that are kept"),
        ({"tile_size": None, "tile_dir": "tiles"}, "tile_dir=tiles is about tiles that are kept"),
        ({"keep_tiles": True, "only_tile": [9, 0]}, r"only_tile=\[9, 0\]: .* from \[0, 0\] to"),
        ({"single": True}, "single=true"),
        (BESIDE, "touches"),
        ({**BESIDE, "tile_size": None}, "touches"),
        (FAR, r"crval 10.0, -30.0 .* is 1\d\d degrees from jw01345001001_02101_00001_nrcb4"),
        ({**FAR, "tile_size": None}, "degrees from"),
        ({"crval": [214.9, 20.0]}, "33 degrees from"),
        ({"crval": [214.9, 20.0], "tile_size": None}, "33 degrees from"),
        ({"output_shape": [1, 1]}, r"too small.\). Check rotation=20.0, .*output_shape=\[1, 1\]"),
        (
            {**BESIDE, "output_shape": [1, 1], "tile_size": None},
            r"too small.*output_shape=\[1, 1\]",
        ),
        ({"crval": [217.9, 52.87], "output_shape": [3, 2], "tile_size": None}, "touches"),
        ({"pixmap_stepsize": 0.0}, "pixmap_stepsize = 0.0: 0 is not from 1"),
        ({"pixmap_stepsize": 1e-30, "tile_size": None}, "pixmap_stepsize = 1e-30: 1e-30 is not"),
        ({"pixmap_stepsize": -3.0}, "pixmap_stepsize = -3.0"),
        ({"pixmap_stepsize": float("inf")}, "pixmap_stepsize = inf"),
        ({"pixmap_order": 2, "tile_size": None}, "pixmap_order 2 is neither 1 nor 3"),
        ({"fillval": "blue", "tile_size": None}, "fillval = 'blue'"),
        ({"fillval": "1e39"}, "fillval = '1e39': more than float32"),
        ({"fillval": "None", "tile_size": None}, "fillval = 'None': give a number, or NAN"),
        ({"rotation": 1e30}, "rotation 1e\\+30 deg is not from -360.0 to 360.0"),
        (
            {"output_wcs": "nowhere.asdf", "tile_size": None},
            "nowhere.asdf does not exist",
        ),
        ({"output_shape": [200, 0]}, "output_shape"),
        ({"output_wcs": "nowhere.asdf"}, "nowhere.asdf"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid interval")  # jwst, of the grid beside the exposures
def test_what_cannot_be_done_is_said(files, parameters, message, tmp_path):
    with pytest.raises(CeersError, match=message):
        in_tiles(files, **{**GRID, **parameters})
    assert not list(tmp_path.glob("*i2d*"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("fillval", "blue"), ("pixmap_stepsize", float("nan")), ("pixmap_order", 2)),
        ("weight_type", None),
    ],
)
def test_what_is_set_on_a_step_is_looked_at_too(files, name, value):
    step = TiledResampleStep()
    setattr(step, name, value)
    with pytest.raises(CeersError, match=f"resample: {name} "):
        step.run(files)


@pytest.mark.parametrize("tile_size", [None, 64])
@pytest.mark.parametrize("tree", [{}, {"wcs": "a text"}, {"wcs": {"x": 1}}])
def test_a_grid_file_without_a_grid_is_said(files, tree, tile_size, tmp_path):
    asdf.AsdfFile(tree).write_to(tmp_path / "g.asdf")
    with pytest.raises(CeersError, match=r"output_wcs=.*g.asdf has no grid"):
        in_tiles(files, tile_size=tile_size, output_wcs=str(tmp_path / "g.asdf"))


@pytest.mark.parametrize("tile_size", [None, 64])
def test_exposures_without_a_usable_pixel_make_no_mosaic(tile_size, tmp_path):
    model = exposure(1)
    model.dq |= dqflags.pixel["DO_NOT_USE"]
    with pytest.raises(CeersError, match="with a usable pixel"):
        in_tiles(ModelLibrary([model]), tile_size=tile_size, **GRID)
    assert not list(tmp_path.iterdir())


def test_a_fill_value_that_is_none_is_nan(files):
    with fits.open(in_tiles(files, fillval=None, **GRID)) as hdus:
        assert np.isnan(hdus["SCI"].data[hdus["WHT"].data == 0]).all()


def test_more_memory_than_there_is_is_said(files, monkeypatch, tmp_path):
    def full(step, models):
        raise MemoryError("Unable to allocate 50 GiB")

    monkeypatch.setattr(ResampleStep, "process", full)
    with pytest.raises(CeersError, match=r"Unable to allocate 50 GiB.*Set tile_size"):
        in_tiles(files, tile_size=None, **GRID)


@pytest.mark.parametrize("tile_size", [0, -5, 63])
def test_small_tiles_are_refused(files, tile_size):
    with pytest.raises(ValidationError, match="tile_size"):
        in_tiles(files, tile_size=tile_size)


def test_an_association_must_be_whole_and_of_one_product(files):
    absent = associate("absent.json", [*files, "jw1_cal.fits"])
    with pytest.raises(CeersError, match="jw1_cal"):
        in_tiles(absent, **GRID)
    two = associate("two.json", files, ("f150w", "f277w"))
    with pytest.raises(CeersError, match="2 products"):
        in_tiles(two, **GRID)


@pytest.mark.parametrize("tile_size", [None, 64])
def test_a_copy_of_an_exposure_does_not_count_twice(files, tile_size, tmp_path):
    folder = tmp_path / "copies"
    folder.mkdir()
    for name in (*files[:2], files[0]):
        target = folder / Path(name).name
        shutil.copy(name, target if not target.exists() else folder / "mine_cal.fits")
    names = [Path(files[0]).name, Path(files[1]).name, "mine_cal.fits"]
    copies = [str(folder / name) for name in names]
    given = associate("copies.json", copies), copies
    for each in given:
        with pytest.raises(CeersError, match=r"00001_nrcb4_cal.* and mine_cal.*are both of"):
            in_tiles(each, tile_size=tile_size, **GRID)


def test_models_of_one_exposure_are_taken_as_jwst_takes_them(files, caplog):
    """Its own tests drizzle one model twice; of files it is an error."""
    models = [datamodels.open(files[0]), datamodels.open(files[0])]
    models[1].meta.filename = "mine_cal.fits"
    assert np.any(TiledResampleStep.call(models, **GRID).wht)
    assert "are both of exposure" in caplog.text


def test_exposures_need_a_wcs(files):
    model = exposure(9)
    del model.meta.instance["wcs"]
    with pytest.raises(CeersError, match=r"00009_nrcb4_cal.*no WCS.*CeersImage2"):
        in_tiles([datamodels.open(files[0]), model], **GRID)


def test_a_full_disk_is_told_before_the_work(files, monkeypatch, tmp_path):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: SimpleNamespace(free=9))
    with pytest.raises(CeersError, match=r"free.*enable_ctx=false"):
        in_tiles(files, **GRID)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_broken_off_leaves_the_old_mosaic(files, monkeypatch, tmp_path):
    (tmp_path / "mosaic_i2d.fits").write_text("old")
    calls = []

    def fail(self, box):
        calls.append(box)
        raise KeyboardInterrupt

    monkeypatch.setattr(TiledMosaic, "drizzle", fail)
    with pytest.raises(KeyboardInterrupt):
        in_tiles(files, **GRID)
    assert calls
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic_i2d.fits"]
    assert (tmp_path / "mosaic_i2d.fits").read_text() == "old"


def test_parameters_are_those_of_the_parent_and_two_more():
    ours, parents = TiledResampleStep().get_pars(), ResampleStep().get_pars()

    assert set(ours) - set(parents) == {"tile_size", "keep_tiles", "tile_dir", "only_tile"}
    assert {key: ours[key] for key in parents} == parents
    assert TiledResampleStep.get_config_reftype() == "pars-resamplestep"
