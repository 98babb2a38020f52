"""`ceers show`: pictures and pages of any product, with flags and what was applied."""

import io
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from ceers_steps.cli import main
from ceers_steps.figures.flags import COLOURS, FLAGS, read_flags
from ceers_steps.figures.preview import read_preview


def colour_of(number):
    return tuple(bytes.fromhex(COLOURS[number][1:]))


@pytest.fixture
def product(tmp_path):
    """Return a product with flags, one of each kind in its own corner, and a note of a step."""
    random = np.random.default_rng(1)
    image = random.normal(5, 1, (60, 80)).astype(np.float32)
    dq = np.zeros((60, 80), np.uint32)
    dq[:10, :20] = 1  # DO_NOT_USE, below on the left
    dq[50:, 60:] = 2  # SATURATED, above on the right
    entry = {"status": "COMPLETE", "note": "<b>done</b>", "parameters": {"scale": 0.5},
             "metrics": {"scale": 0.5}}  # fmt: skip
    buffer = io.BytesIO()
    asdf.AsdfFile({"meta": {"ceers_steps": {"ceers_wispsub": entry}}}).write_to(buffer)
    primary = fits.PrimaryHDU()
    primary.header.update({"FILTER": "<i>F150W", "S_WISPSU": "COMPLETE"})
    column = fits.Column("ASDF_METADATA", f"{buffer.tell()}B", array=[np.frombuffer(
        buffer.getvalue(), np.uint8)])  # fmt: skip
    hdus = [primary, fits.ImageHDU(image, name="SCI"), fits.ImageHDU(dq, name="DQ")]
    hdus.append(fits.BinTableHDU.from_columns([column], name="ASDF"))
    path = tmp_path / "a_cal.fits"
    fits.HDUList(hdus).writeto(path)
    return path


def test_flags_lie_over_the_picture_where_they_are(product, tmp_path, capsys):
    target = tmp_path / "a.png"
    assert main(["show", str(product), "-o", str(target), "--dq", "do_not_use,SATURATED"]) == 0
    said = capsys.readouterr().out
    assert "DO_NOT_USE: 4.17% of the pixels" in said  # 200 of 4800
    assert "ceers_wispsub COMPLETE: <b>done</b>" in said
    assert "wisp_scale 0.5" in said
    with Image.open(target) as picture:
        assert picture.size == (80, 60)
        pixels = picture.convert("RGB")
        assert pixels.getpixel((2, 58)) == colour_of(0)  # rows of a PNG run down
        assert pixels.getpixel((78, 2)) == colour_of(1)
        red, green, blue = pixels.getpixel((40, 30))
        assert red == green == blue


@pytest.mark.parametrize("output", ["a_cal.fits", "b_cal.fits", "picture", "a.jpg"])
def test_only_pictures_are_written(product, tmp_path, capsys, output):
    """A product whose name stands in the place of that of the picture is not lost."""
    before = product.read_bytes()
    (tmp_path / "b_cal.fits").write_bytes(before)
    assert main(["show", str(product), "-o", str(tmp_path / output)]) == 1
    assert "use a name that ends in .png or .html" in capsys.readouterr().err
    assert product.read_bytes() == (tmp_path / "b_cal.fits").read_bytes() == before
    assert main(["show", str(product), "-o", str(tmp_path / "A.PNG")]) == 0
    assert (tmp_path / "A.PNG").read_bytes().startswith(b"\x89PNG")


def test_unknown_flags_are_refused(product, capsys):
    assert main(["show", str(product), "--dq", "BAD"]) == 1
    assert "BAD is none of DO_NOT_USE, SATURATED" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
def test_a_product_that_is_cut_off_is_shown_as_far_as_it_goes(product, tmp_path, capsys):
    with fits.open(product) as hdus:
        end = hdus["SCI"].fileinfo()["datLoc"] + hdus["SCI"].fileinfo()["datSpan"]
    part = tmp_path / "part_cal.fits"
    part.write_bytes(Path(product).read_bytes()[: end + 100])
    assert main(["show", str(part), "-o", str(tmp_path / "part.png")]) == 0
    assert "part_cal.fits is not whole (cut off" in capsys.readouterr().out


def test_page_holds_everything_and_escapes_texts(product, tmp_path):
    target = tmp_path / "a.html"
    assert main(["show", str(product), "-o", str(target)]) == 0
    text = target.read_text()
    for part in ("&lt;b&gt;done", "&lt;i&gt;F150W", "DO_NOT_USE 4.17%", "wisp_scale", "S_WISPSU"):
        assert part in text
    assert "<b>done" not in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(("shape", "shown"), [((3, 8, 9), (0,)), ((2, 5, 8, 9), (0, 4))])
def test_of_cubes_one_plane_is_shown(tmp_path, shape, shown):
    data = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    path = tmp_path / "a_ramp.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI")]).writeto(path)
    np.testing.assert_array_equal(read_preview(path), data[shown])
    assert main(["show", str(path), "-o", str(tmp_path / "a.png")]) == 0


def test_an_image_that_is_not_called_sci_is_found(tmp_path, capsys):
    path = tmp_path / "a_1fmask.fits"
    fits.PrimaryHDU(np.eye(30, dtype=np.uint8)).writeto(path)
    assert main(["show", str(path), "-o", str(tmp_path / "a.png"), "--stretch", "asinh"]) == 0
    empty = tmp_path / "empty.fits"
    fits.PrimaryHDU().writeto(empty)
    assert main(["show", str(empty)]) == 1
    assert "--extension" in capsys.readouterr().err


def test_flags_of_a_large_image_are_those_of_any_pixel_of_a_block(tmp_path):
    dq = np.zeros((50, 100), np.uint32)
    dq[7, 33] = 1 << FLAGS["JUMP_DET"]
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(dq, name="DQ")]).writeto(path)
    found = read_flags(path, largest=25)
    assert list(found) == ["JUMP_DET"]
    assert np.argwhere(found["JUMP_DET"].blocks).tolist() == [[1, 8]]
    assert found["JUMP_DET"].fraction == 1 / 5000
