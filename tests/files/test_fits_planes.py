"""FITS files written in pieces: what astropy reads is what was written."""

import os
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from ceers_steps.files.fits_planes import PlaneWriter, file_size, virtual_array

PLANES = {
    "SCI": ((50, 70), np.float32),
    "CON": ((3, 50, 70), np.int32),
    "DQ": ((50, 70), np.uint32),
}


def layout():
    table = fits.BinTableHDU(Table({"name": ["a", "b"], "n": [1, 2]}), name="TABLE")
    images = [
        fits.ImageHDU(virtual_array(shape, dtype), name=name)
        for name, (shape, dtype) in PLANES.items()
    ]
    images[0].header["BUNIT"] = "MJy/sr"
    return fits.HDUList([fits.PrimaryHDU(), *images, table])


def test_pieces_in_any_order_make_the_file(tmp_path):
    rng = np.random.default_rng(0)
    truth = {
        "SCI": rng.normal(size=(50, 70)).astype(np.float32),
        "CON": rng.integers(-(2**31), 2**31, (3, 50, 70)).astype(np.int32),
        "DQ": rng.integers(0, 2**32, (50, 70)).astype(np.uint32),
    }
    path = tmp_path / "mosaic.fits"
    hdus = layout()
    with PlaneWriter(path, hdus) as writer:
        for y in (20, 0):
            for x in (40, 0):
                box = (..., slice(y, y + 30), slice(x, x + 40))
                for name, image in truth.items():
                    writer.write(name, y, x, image[box])

    with fits.open(path) as written:
        written.verify("exception")
        for name, image in truth.items():
            assert np.array_equal(written[name].data, image)
            assert written[name].data.dtype.newbyteorder("=") == image.dtype
        assert written["SCI"].header["BUNIT"] == "MJy/sr"
        assert written[0].header["EXTEND"]
        assert list(written["TABLE"].data["name"]) == ["a", "b"]
    assert abs(os.path.getsize(path) - file_size(hdus)) <= 2880 * len(hdus)


def test_a_piece_of_another_type_is_refused(tmp_path):
    with PlaneWriter(tmp_path / "mosaic.fits", layout()) as writer:
        with pytest.raises(ValueError, match="float64"):
            writer.write("SCI", 0, 0, np.zeros((2, 2)))
        with pytest.raises(ValueError, match="2-D"):
            writer.write("CON", 0, 0, np.zeros((2, 2), np.int32))


def test_an_image_larger_than_memory_costs_nothing(tmp_path):
    tracemalloc.start()
    hdu = fits.ImageHDU(virtual_array((200_000, 200_000), np.float32), name="SCI")
    assert file_size(fits.HDUList([fits.PrimaryHDU(), hdu])) > 1.6e11
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6
