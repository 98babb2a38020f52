"""WCS files: names, round trip, what is refused."""

import time
from functools import reduce
from operator import and_

import asdf
import numpy as np
import pytest
from astropy import coordinates, units
from astropy.modeling.models import Pix2Sky_TAN, RotateNative2Celestial, Scale, Shift
from gwcs import WCS, coordinate_frames
from stdatamodels.jwst import datamodels

from ceers_steps.errors import CeersError
from ceers_steps.files.wcs_files import find_wcs_file, read_wcs_file, wcs_file_name, write_wcs_file

EXPOSURE = "jw01345001001_02201_00001_nrca1"


def plain_wcs():
    """Return a tangent-plane WCS of 0.03 arcsec pixels."""
    scale = 0.03 / 3600
    transform = (
        (Shift(-20.0) & Shift(-10.0))
        | (Scale(scale) & Scale(scale))
        | Pix2Sky_TAN()
        | RotateNative2Celestial(214.9, 52.9, 180.0)
    )
    detector = coordinate_frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    sky = coordinate_frames.CelestialFrame(reference_frame=coordinates.ICRS(), name="world")
    wcs = WCS([(detector, transform), (sky, None)])
    wcs.bounding_box = ((-0.5, 39.5), (-0.5, 19.5))
    return wcs


@pytest.fixture
def image():
    model = datamodels.ImageModel(np.zeros((20, 40), np.float32))
    model.meta.filename = f"{EXPOSURE}_cal.fits"
    model.meta.wcs = plain_wcs()
    model.meta.wcsinfo.v2_ref = 120.5
    return model


@pytest.mark.parametrize(
    "product", ["cal.fits", "a3001_crf.fits", "rate.fits", "tweakreg.asdf", "a3001_match.fits"]
)
def test_name_follows_the_exposure(product):
    assert wcs_file_name(f"folder/{EXPOSURE}_{product}") == f"{EXPOSURE}_tweakreg.asdf"
    assert wcs_file_name(f"{EXPOSURE}_{product}", "mine") == f"{EXPOSURE}_mine.asdf"


def test_name_of_an_image_without_one():
    with pytest.raises(CeersError, match=r"meta\.filename"):
        wcs_file_name(datamodels.ImageModel((4, 4)))


def test_round_trip(image, tmp_path):
    path = write_wcs_file(tmp_path / "new" / wcs_file_name(image), image)
    assert [each.name for each in path.parent.iterdir()] == [f"{EXPOSURE}_tweakreg.asdf"]
    saved = read_wcs_file(path)
    assert saved.filename == image.meta.filename
    assert saved.wcsinfo == image.meta.wcsinfo.instance
    y, x = np.mgrid[:20:5, :40:5].astype(float)
    np.testing.assert_array_equal(saved.wcs(x, y), image.meta.wcs(x, y))
    assert saved.wcs.bounding_box == image.meta.wcs.bounding_box
    with asdf.open(path) as file:
        assert set(file.tree) - {"asdf_library", "history"} == {"filename", "wcs", "wcsinfo"}


def test_image_without_wcs(image, tmp_path):
    image.meta.wcs = None
    with pytest.raises(CeersError, match=r"has no WCS.*_cal\.fits"):
        write_wcs_file(tmp_path / "x.asdf", image)
    assert not list(tmp_path.iterdir())


class TestFind:
    def test_exact_name_wins_over_one_with_an_association_id(self, tmp_path):
        for name in (f"{EXPOSURE}_tweakreg.asdf", f"{EXPOSURE}_a3001_tweakreg.asdf"):
            (tmp_path / name).touch()
        found = find_wcs_file(tmp_path, f"{EXPOSURE}_cal.fits")
        assert found == tmp_path / f"{EXPOSURE}_tweakreg.asdf"

    def test_name_with_an_association_id(self, tmp_path):
        (tmp_path / f"{EXPOSURE}_a3001_tweakreg.asdf").touch()
        # other exposures and other suffixes do not count
        (tmp_path / f"{EXPOSURE.replace('nrca1', 'nrcalong')}_tweakreg.asdf").touch()
        (tmp_path / f"{EXPOSURE}_a3001_other.asdf").touch()
        found = find_wcs_file(tmp_path, f"{EXPOSURE}_cal.fits")
        assert found == tmp_path / f"{EXPOSURE}_a3001_tweakreg.asdf"
        assert find_wcs_file(tmp_path, f"{EXPOSURE[:-1]}2_cal.fits") is None

    def test_several(self, tmp_path):
        for asn_id in ("a3001", "a3002"):
            (tmp_path / f"{EXPOSURE}_{asn_id}_tweakreg.asdf").touch()
        with pytest.raises(CeersError, match=rf"several.*{EXPOSURE}_tweakreg\.asdf"):
            find_wcs_file(tmp_path, f"{EXPOSURE}_cal.fits")


class TestBadFile:
    """One message that names the file and what is wrong."""

    def test_missing(self, tmp_path):
        with pytest.raises(CeersError, match=r"nothing\.asdf does not exist"):
            read_wcs_file(tmp_path / "nothing.asdf")

    @pytest.mark.parametrize("content", [b"", b"not asdf\n", b"SIMPLE  = T", bytes(range(256))])
    def test_no_asdf(self, tmp_path, content):
        path = tmp_path / "bad.asdf"
        path.write_bytes(content)
        with pytest.raises(CeersError, match=r"bad\.asdf(: | cannot be read)"):
            read_wcs_file(path)

    @pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.9])
    def test_cut_off(self, image, tmp_path, fraction):
        whole = write_wcs_file(tmp_path / "whole.asdf", image).read_bytes()
        path = tmp_path / "cut.asdf"
        path.write_bytes(whole[: int(fraction * len(whole))])
        with pytest.raises(CeersError, match=r"cut\.asdf"):
            read_wcs_file(path)

    @pytest.mark.parametrize("key", ["filename", "wcs", "wcsinfo"])
    def test_without_a_key(self, image, tmp_path, key):
        tree = {"filename": "x", "wcs": image.meta.wcs, "wcsinfo": {"v2_ref": 1.0}}
        tree.pop(key)
        asdf.AsdfFile(tree).write_to(tmp_path / "bad.asdf")
        with pytest.raises(CeersError, match=rf"bad\.asdf: {key} is not a .*no such key"):
            read_wcs_file(tmp_path / "bad.asdf")

    @pytest.mark.parametrize("key", ["v2_ref", "vparity", "cd1_2", "ap_0_3"])
    @pytest.mark.parametrize("value", ["far", np.nan, np.inf])
    def test_keywords_that_are_no_numbers(self, image, tmp_path, key, value):
        tree = {"filename": "x", "wcs": image.meta.wcs, "wcsinfo": {key: value}}
        asdf.AsdfFile(tree).write_to(tmp_path / "bad.asdf")
        with pytest.raises(CeersError, match=rf"bad\.asdf: wcsinfo\.{key}=.* is not a number"):
            read_wcs_file(tmp_path / "bad.asdf")

    def test_anchors_that_explode(self, tmp_path):
        """Nine lists, each of nine references to the one before: 4e8 values in 300 bytes."""
        lines = ["#ASDF 1.0.0", "%YAML 1.1", "---", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        for level in range(1, 9):
            lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
        path = tmp_path / "bomb.asdf"
        path.write_text("\n".join([*lines, "...", ""]))
        start = time.process_time()
        with pytest.raises(CeersError, match=r"bomb\.asdf cannot be read.*anchors stand for"):
            read_wcs_file(path)
        assert time.process_time() - start < 1.0

    @pytest.mark.parametrize("text", ["a: &a [*a]", "[" * 5000 + "]" * 5000])
    def test_trees_without_an_end(self, tmp_path, text):
        path = tmp_path / "bad.asdf"
        path.write_text(f"#ASDF 1.0.0\n%YAML 1.1\n---\n{text}\n...\n")
        with pytest.raises(CeersError, match=r"bad\.asdf"):
            read_wcs_file(path)

    def test_wcs_that_is_none(self, tmp_path):
        tree = {"filename": "x", "wcs": {"crval1": 1.0}, "wcsinfo": {}}
        asdf.AsdfFile(tree).write_to(tmp_path / "bad.asdf")
        with pytest.raises(CeersError, match="wcs is not a WCS"):
            read_wcs_file(tmp_path / "bad.asdf")

    @pytest.mark.parametrize("n_axes", [1, 2, 3])
    def test_wcs_of_something_else(self, tmp_path, n_axes):
        transform = reduce(and_, [Shift(1.0)] * n_axes)
        wcs = WCS(transform, input_frame="detector", output_frame="world")
        asdf.AsdfFile({"filename": "x", "wcs": wcs, "wcsinfo": {}}).write_to(tmp_path / "bad.asdf")
        found = f"{n_axes} axes of pixels and {n_axes} of the world, not two of an image"
        with pytest.raises(CeersError, match=rf"bad\.asdf: its WCS has {found}"):
            read_wcs_file(tmp_path / "bad.asdf")
