"""Files and models before the work: damaged, cut, turned, of another shape."""

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from ceers_steps import CeersImage2
from ceers_steps.errors import CeersError
from ceers_steps.files.headers.check import Wanted, check_input, filled_values

SHAPE = (16, 24)
PLANES = ("ERR", "DQ", "VAR_POISSON", "VAR_RNOISE")
WANTED = Wanted(types=("ImageModel",), planes=PLANES)


def make(shape=SHAPE, **planes):
    model = datamodels.ImageModel(np.ones(shape, np.float32))
    model.meta.filename = "x_rate.fits"
    model.meta.instrument.name, model.meta.exposure.type = "NIRCAM", "NRC_IMAGE"
    for name in PLANES:
        kind = np.uint32 if name == "DQ" else np.float32
        setattr(model, name.lower(), planes.get(name, np.ones(shape, kind)))
    return model


@pytest.fixture
def path(tmp_path):
    return make().save(tmp_path / "x_rate.fits")


def edit(path, change):
    """Let a function change the list of HDUs of a file."""
    with fits.open(path) as hdus:
        changed = fits.HDUList([hdu.copy() for hdu in hdus])
    change(changed)
    changed.writeto(path, overwrite=True)
    return path


def test_a_whole_file_and_a_model_are_taken(path):
    check_input(str(path), WANTED, "Step")
    check_input([path, make()], WANTED, "Step")


def test_cut_after_each_extension(path, tmp_path):
    with fits.open(path) as hdus:
        ends = [hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"] for hdu in hdus]
        names = [hdu.name for hdu in hdus]
    whole = Path(path).read_bytes()
    for end, name in list(zip(ends, names, strict=True))[:-1]:
        part = tmp_path / "part_rate.fits"
        part.write_bytes(whole[:end])
        for wanted in (WANTED, Wanted()):  # also what only jwst's own code would read
            with pytest.raises(CeersError, match=r"part_rate\.fits is not a complete FITS file"):
                check_input(part, wanted, f"Step {name}")


def _tree_edited(hdus, change):
    """Put another text into the ASDF extension."""
    tree = np.frombuffer(change(hdus["ASDF"].data.tobytes()), np.uint8)
    column = fits.Column("ASDF_METADATA", f"{len(tree)}B", array=[tree])
    hdus["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")


def _bomb(tree):
    lines = [f"b{k}: &b{k} [{', '.join([f'*b{k - 1}'] * 9)}]" for k in range(1, 12)]
    return tree.replace(b"\nmeta:", "\n".join(["\nb0: &b0 1", *lines, "meta:"]).encode(), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hdus: hdus.pop(hdus.index_of("VAR_POISSON")), "extension VAR_POISSON is missing"),
        (lambda hdus: hdus.pop(hdus.index_of("ERR")), "extension ERR is missing"),
        (lambda hdus: hdus.pop(hdus.index_of("ASDF")), "last extension, ASDF, is missing"),
        (
            lambda hdus: hdus.__setitem__("DQ", fits.BinTableHDU(name="DQ")),
            "extension DQ is a table, not an image",
        ),
        (
            lambda hdus: hdus.__setitem__("ASDF", fits.ImageHDU(np.zeros(9), name="ASDF")),
            "extension ASDF is an image",
        ),
        (
            lambda hdus: _tree_edited(hdus, lambda tree: tree.replace(b"meta:", b"meta: {")),
            "extension ASDF cannot be read: .*line",
        ),
        (
            lambda hdus: _tree_edited(hdus, lambda tree: tree[: len(tree) // 2]),
            "extension ASDF cannot be read: .*no end",
        ),
        (
            lambda hdus: _tree_edited(
                hdus, lambda tree: re.sub(rb"\nmeta:.*", b"\nmeta: 5\n...\n", tree, flags=re.S)
            ),
            "cannot be read: meta is no group",
        ),
        (
            lambda hdus: _tree_edited(
                hdus, lambda tree: tree.replace(b"\nmeta:", b"\nmeta:\n  cal_step: 5", 1)
            ),
            "cannot be read: meta.cal_step is no group of names and values",
        ),
        (
            lambda hdus: _tree_edited(
                hdus, lambda tree: tree.replace(b"\nmeta:", b"\nmeta:\n  ceers_steps: 5", 1)
            ),
            "cannot be read: meta.ceers_steps is no group",
        ),
        (
            lambda hdus: _tree_edited(
                hdus,
                lambda tree: tree.replace(
                    b"\nmeta:", b"\nmeta:\n  ceers_steps: {ceers_wispsub: {metrics: [1]}}", 1
                ),
            ),
            "cannot be read: meta.ceers_steps.ceers_wispsub.metrics is no group",
        ),
        (lambda hdus: _tree_edited(hdus, _bomb), "extension ASDF cannot be read: its anchors"),
    ],
)
def test_extensions_that_jwst_looks_for(path, change, message):
    """The tree names the planes: where one is missing jwst ends with a KeyError."""
    with pytest.raises(CeersError, match=message):
        check_input(edit(path, change), Wanted(), "Step")


def test_a_calibrated_image_without_its_last_extension(path):
    def change(hdus):
        hdus[0].header["S_WCS"] = "COMPLETE"
        del hdus["ASDF"]

    with pytest.raises(CeersError, match=r"ASDF, is missing: the WCS is lost"):
        check_input(edit(path, change), WANTED, "Step")


def test_without_a_wcs(path):
    with pytest.raises(CeersError, match=r"x_rate\.fits has no world coordinate system"):
        check_input(path, Wanted(wcs=True), "Step")


@pytest.mark.parametrize("version", [1, 2])
def test_two_images_of_one_name(path, version):
    def change(hdus):
        hdus.append(fits.ImageHDU(np.zeros(SHAPE, np.float32), name="SCI", ver=version))

    with pytest.raises(CeersError, match=r"has 2 extensions SCI, of which only the first"):
        check_input(edit(path, change), WANTED, "Step")


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_of_another_shape(tmp_path, plane, in_memory):
    model = make()
    kind = np.uint32 if plane == "DQ" else np.float32
    model.instance[plane.lower()] = np.ones((16, 25), kind)
    given = model
    if not in_memory:
        given = make().save(tmp_path / "x_rate.fits")
        with fits.open(given) as hdus:
            hdus = fits.HDUList([hdu.copy() for hdu in hdus])
        hdus[plane].data = np.ones((16, 25), kind)
        hdus.writeto(given, overwrite=True)
    with pytest.raises(CeersError, match=rf"{plane} has 16 x 25 pixels, but SCI 16 x 24"):
        check_input(given, WANTED, "Step")


def test_a_third_axis(path):
    def change(hdus):
        hdus["SCI"].data = hdus["SCI"].data[np.newaxis]

    with pytest.raises(CeersError, match=r"SCI has 3 axes, 1 x 16 x 24; a ImageModel has 2"):
        check_input(edit(path, change), WANTED, "Step")


@pytest.mark.parametrize("shape", [(1, 1), (1, 24), (16, 1), (7, 24)])
def test_images_that_are_too_small(shape):
    with pytest.raises(CeersError, match=rf"{shape[0]} x {shape[1]} pixels.*at least 8 x 8"):
        check_input(make(shape), WANTED, "Step")


@pytest.mark.parametrize("name", ["x_rate.FITS", "x_rate.fit", "x_rate.fts", "x_rate.fit.gz"])
def test_endings_that_jwst_does_not_open(path, tmp_path, name):
    shutil.copy(path, tmp_path / name)
    with pytest.raises(CeersError, match=r"names end in \.fits .*ename"):
        check_input(tmp_path / name, WANTED, "Step")


def test_packed_files_are_looked_at(path, tmp_path):
    packed = tmp_path / "x_rate.fits.gz"
    packed.write_bytes(gzip.compress(Path(path).read_bytes()))
    check_input(packed, WANTED, "Step")
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(CeersError, match=r"x_rate\.fits\.gz is not a complete FITS file"):
        check_input(packed, WANTED, "Step")


def test_a_name_with_a_line_break(path, tmp_path):
    name = tmp_path / "a\nb_rate.fits"
    shutil.copy(path, name)
    with pytest.raises(CeersError, match="line break"):
        check_input(name, WANTED, "Step")


def test_empty_planes_are_missing(path):
    def change(hdus):
        hdus["VAR_RNOISE"].data = None

    with pytest.raises(CeersError, match=r"x_rate\.fits has no VAR_RNOISE \(found: SCI, DQ, ERR"):
        check_input(edit(path, change), WANTED, "Step")


def test_a_plane_without_pixels_is_named(path):
    """Of one that is not there jwst makes a plane of its own; of this it makes none."""

    def change(hdus):
        hdus["DQ"].data = None

    with pytest.raises(CeersError, match=r"x_rate\.fits: no pixels in its extension DQ"):
        check_input(edit(path, change), Wanted(types=("ImageModel",)), "Step")


@pytest.mark.parametrize(
    ("kind", "name", "taken"),
    [
        ("ImageModel", "VAR_FLAT", True),
        ("ImageModel", "VAR_POISSON", True),
        ("ImageModel", "VAR_RNOISE", True),
        ("ImageModel", "ERR", False),
        ("ImageModel", "DQ", False),
        ("CubeModel", "VAR_FLAT", True),
        ("CubeModel", "ERR", True),
        ("CubeModel", "DQ", True),
        ("RampModel", "PIXELDQ", True),
        ("RampModel", "GROUPDQ", True),
    ],
)
def test_planes_without_pixels_are_missing_as_for_jwst(tmp_path, kind, name, taken):
    """jwst makes those of ramps and integrations, and leaves out variances; not ERR and DQ."""
    shape = {"ImageModel": SHAPE, "CubeModel": (2, *SHAPE), "RampModel": (1, 3, *SHAPE)}[kind]
    model = getattr(datamodels, kind)(np.ones(shape, np.float32))
    model.meta.instrument.name, model.meta.exposure.type = "NIRCAM", "NRC_IMAGE"
    plane = shape[-2:] if name == "PIXELDQ" else shape
    setattr(model, name.lower(), np.ones(plane, np.uint32 if "DQ" in name else np.float32))
    path = edit(model.save(tmp_path / "x.fits"), lambda hdus: setattr(hdus[name], "data", None))
    wanted = Wanted(types=(kind,))
    if taken:
        check_input(path, wanted, "Step")
        with datamodels.open(path) as opened:
            found = getattr(opened, name.lower())
            assert found is None or (found.shape == plane and not found.any())
        wanted = Wanted(types=(kind,), filled=(name,))
    with pytest.raises(CeersError, match=f"no pixels in its extension {name}"):
        check_input(path, wanted, "Step")


def test_variances_without_pixels_are_named_before_the_flat_field(path):
    for name in ("VAR_RNOISE", "VAR_POISSON"):
        assert name in CeersImage2.wanted().filled
    edit(path, lambda hdus: setattr(hdus["VAR_POISSON"], "data", None))
    with pytest.raises(CeersError, match="no pixels in its extension VAR_POISSON"):
        check_input(path, CeersImage2.wanted(), "CeersImage2")


def test_a_damaged_keyword_is_named_before_the_work(path):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content.replace(b"EXP_TYPE=", b"EXP\0TYPE=", 1))
    with pytest.raises(CeersError, match=r"extension PRIMARY has the keyword 'EXP.x00TYPE'"):
        check_input(path, Wanted(), "Step")


def test_a_mosaic_has_the_keywords_of_an_exposure_and_not_its_array(tmp_path):
    """As resample leaves them: SUBSIZE is that of the detector."""
    model = make()
    model.meta.subarray.name, model.meta.subarray.xsize = "SUB640", 640
    model.meta.subarray.ysize = 640
    for item in (model, model.save(tmp_path / "x_i2d.fits")):
        with pytest.raises(CeersError, match="SUBSIZE1=640"):
            check_input(item, WANTED, "Step")
        check_input(item, Wanted(types=("ImageModel",), exposures=False), "Step")
        assert filled_values(item, Wanted(types=("ImageModel",), exposures=False)) == {}
