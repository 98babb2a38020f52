"""Files that wait for ever or fill the memory when they are read: refused, with a reason."""

import bz2
import gzip
import os
import signal
import socket
import time
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from ceers_steps import RemStripingStep
from ceers_steps.cli import main
from ceers_steps.commands.references import _files as exposures_of
from ceers_steps.errors import CeersError
from ceers_steps.files import limits
from ceers_steps.files.atomic import open_fits
from ceers_steps.files.given.tables import read_table
from ceers_steps.files.limits import (
    check_parameter_file,
    check_regular,
    read_asdf_head,
    why_no_file,
)
from ceers_steps.files.overrides import read_overrides
from ceers_steps.files.parameter_files import list_parameter_files
from ceers_steps.files.source_masks import read_bits
from ceers_steps.files.wcs_files import read_wcs_file
from ceers_steps.files.whole_files import fits_problem
from ceers_steps.kernels.mosaic.limits import grid_problem
from ceers_steps.mosaics.grid import check_grid
from ceers_steps.mosaics.images import read_tiers
from ceers_steps.mosaics.regions import read_regions
from ceers_steps.report.product_page import read_product
from ceers_steps.simulate.sky.scene import read_catalog
from ceers_steps.survey.config.settings import load_config
from ceers_steps.survey.select.exposures import plan_exposures, read_exposures
from ceers_steps.survey.select.grids import find_grid

HEAD = """#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
class: ceers_steps.RemStripingStep
name: striping
parameters:
"""


@pytest.fixture(autouse=True)
def _at_once():
    """Nothing here may wait: the test ends with an error instead."""

    def hangs(number, frame):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def bomb(path):
    """Write 10**12 values in a kilobyte."""
    lines = ["  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"]
    for i in range(1, 12):
        lines.append(f"  a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]\n")
    path.write_text(HEAD + "".join(lines) + "...\n")
    return path


def survey_with(table):
    """Return options of a survey with a table."""
    return {"inputs": ["uncal"], "output": "out", "overrides": str(table)}


READERS = {
    "overrides": ("o.ecsv", read_overrides),
    "mask": ("m.fits", lambda path: read_bits(path, (8, 8))),
    "template": ("t.fits", lambda path: open_fits(path, f"Wisp template {path}").__enter__()),
    "wcs": ("w.asdf", read_wcs_file),
    "tiers": ("t.ecsv", read_tiers),
    "regions": ("r.reg", lambda path: read_regions(path, "mask_regions", None, None)),
    "reference": ("c.ecsv", lambda path: read_table(path, f"abs_refcat={path}")),
    "sources": ("s.ecsv", lambda path: read_catalog(path, 1)),
    "grid": ("g.ecsv", lambda path: find_grid(str(path), "g")),
    "grid wcs": ("g.asdf", lambda path: find_grid(str(path), "g")),
    "output_wcs": ("g.asdf", lambda path: check_grid({"output_wcs": str(path)})),
    "survey": ("s.toml", lambda path: load_config(path, options={}, settings=[])),
    "exposures": ("e.ecsv", lambda path: plan_exposures(path, "uncal", "uncal")),
    "parameters": ("p.asdf", check_parameter_file),
    "product": ("i2d.fits", read_product),
    "exposures of references": ("a_uncal.fits", lambda path: exposures_of([str(path)])),
    "survey's tables": ("t.csv", lambda path: load_config(None, options=survey_with(path))),
}


@pytest.mark.parametrize("kind", ["fifo", "link to a fifo", "device", "socket"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, reader, kind):
    name, read = READERS[reader]
    path = tmp_path / name
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.fspath(path))
    else:
        os.mkfifo(path if kind == "fifo" else tmp_path / "fifo")
        if kind != "fifo":
            path.symlink_to("fifo")
    with pytest.raises(CeersError, match=f"{name}.*(a pipe|a device|a socket|no such file|exist)"):
        read(path)


def test_a_pipe_among_the_raw_files(tmp_path):
    os.mkfifo(tmp_path / "jw01345001001_02201_00001_nrca1_uncal.fits")
    with pytest.raises(CeersError, match=r"nrca1_uncal\.fits.*a pipe or device"):
        read_exposures(list(tmp_path.iterdir()))


def test_a_pipe_as_the_table_of_a_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("o.ecsv")
    (tmp_path / "uncal").mkdir()
    os.mkfifo("sim.toml")
    assert main(["simulate", "out", "--config", "sim.toml"]) == 1
    assert "sim.toml is a pipe (FIFO), not a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["simulate", "out", "--catalog"], ["plan", "-o", "out"], ["inspect"]]
)
def test_a_pipe_in_the_place_of_a_file_is_named(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert main([*command, "pipe"]) == 1
    assert "pipe is a pipe (FIFO), not a file" in "".join(capsys.readouterr())


def test_a_catalogue_that_is_no_table_is_said_in_one_line(tmp_path):
    """Astropy's own message lists all the formats that it knows."""
    path = tmp_path / "c.txt"
    path.write_text("hello")
    with pytest.raises(CeersError, match=r"c\.txt: not a table that is known") as caught:
        read_catalog(path, 1)
    assert len(str(caught.value).splitlines()) == 1


def test_why_there_is_no_file(tmp_path):
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    expected = {
        "none": "does not exist",
        "file/none": "does not exist",
        "zero\0": "does not exist",
        "gone": "is a link to nowhere, which is not there",
        "loop": "is a link that leads back to itself",
        "pipe": "is a pipe (FIFO), not a file",
        ".": "is a folder, not a file",
        "x" * 300: "cannot be read: File name too long",
        "file": "",
    }
    assert {name: why_no_file(tmp_path / name) for name in expected} == expected


def test_a_file_without_permission(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read all
    assert why_no_file(tmp_path / "file") == "cannot be read: you have no permission"


def packed_image(path, *, zeros=0):
    """Write a compressed image with so many zeros behind it."""
    with gzip.open(path, "wb", compresslevel=1) as stream:
        fits.HDUList([fits.PrimaryHDU(np.ones((8, 8), np.uint8))]).writeto(stream)
        for _ in range(zeros >> 20):
            stream.write(bytes(1 << 20))
    return path


def test_a_packed_image_is_read(tmp_path):
    path = packed_image(tmp_path / "m.fits.gz")
    assert read_bits(path, (8, 8)).all()
    assert fits_problem(path) == ""


@pytest.mark.parametrize("name", ["m.fits.gz", "m.fits"])
def test_a_bomb_is_unpacked_to_its_limit_and_never_in_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(limits, "LARGEST_UNPACKED", 50_000_000)
    path = packed_image(tmp_path / name, zeros=400_000_000)
    tracemalloc.start()
    with pytest.raises(CeersError, match=f"{name} holds more than 5e"):
        read_bits(path, (8, 8))
    assert "holds more than 5e+07 bytes" in fits_problem(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_the_limit_of_what_is_packed_holds_for_raw_exposures():
    assert 1e9 < limits.LARGEST_UNPACKED < 10e9


def test_a_mask_of_another_shape_is_refused_by_its_header(tmp_path):
    """The header of a bomb of 10**10 pixels is read, not its data."""
    header = fits.Header(
        {"SIMPLE": True, "BITPIX": 8, "NAXIS": 2, "NAXIS1": 10**5, "NAXIS2": 10**5}
    )
    path = tmp_path / "m.fits"
    path.write_bytes(header.tostring().encode() + bytes(2880))
    tracemalloc.start()
    with pytest.raises(CeersError, match=r"an image of \(100000, 100000\), while"):
        read_bits(path, (8, 8))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("damage", ["cut", "changed", "bzip2"])
def test_what_cannot_be_unpacked(tmp_path, damage):
    path = packed_image(tmp_path / "m.fits.gz")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-20:]
    elif damage == "changed":
        content[len(content) // 2] ^= 255
    else:
        content = bz2.compress(bytes(2880))
    path.write_bytes(content)
    with pytest.raises(CeersError, match=r"damaged gzip file|compressed with bzip2"):
        read_bits(path, (8, 8))


@pytest.mark.parametrize("reader", ["wcs", "grid wcs", "output_wcs", "parameters"])
def test_anchors_that_explode(tmp_path, reader):
    name, read = READERS[reader]
    start = time.monotonic()
    with pytest.raises(CeersError, match="its anchors stand for"):
        read(bomb(tmp_path / name))
    assert time.monotonic() - start < 5


def test_a_step_with_a_parameter_file_that_explodes(tmp_path):
    with pytest.raises(CeersError, match="its anchors stand for"):
        RemStripingStep.call("none_rate.fits", config_file=str(bomb(tmp_path / "p.asdf")))


def test_parameter_files_of_ours_pass():
    for file in list_parameter_files():
        check_parameter_file(file.path)


def test_large_files_are_refused(tmp_path):
    path = tmp_path / "o.ecsv"
    path.write_bytes(b"x" * 1001)
    check_regular(path, "a", 1001)
    with pytest.raises(CeersError, match="has 1e"):
        check_regular(path, "a", 1000)


@pytest.mark.parametrize(
    "values",
    [
        {"rotation": float("nan")},
        {"rotation": float("inf")},
        {"crpix": [0, float("nan")]},
        {"crpix": [1e12, 0]},
        {"crval": [float("inf"), 0]},
        {"crval": [0, 91]},
        {"pixel_scale": float("nan")},
        {"pixel_scale": 0.0},
        {"pixel_scale": -0.03},
        {"pixel_scale": 1e-9},
        {"pixel_scale_ratio": float("nan")},
        {"pixel_scale_ratio": 1e-9},
        {"output_shape": [0, 5]},
        {"output_shape": [-5, 5]},
        {"output_shape": [10**6, 10**6]},
    ],
)
def test_a_grid_that_is_none(values):
    assert grid_problem(**values)
    with pytest.raises(CeersError, match="The output grid: "):
        check_grid(values)


@pytest.mark.parametrize("column", ["sigma", "nsigma", "npixels", "growth"])
@pytest.mark.parametrize("value", ["1e9", "nan", "inf", "-1"])
def test_search_tiers_beyond_all_measure(tmp_path, column, value):
    row = {"name": "NIRCAM", "sigma": "5", "nsigma": "3", "npixels": "5", "growth": "5"}
    row[column] = value if column != "npixels" else value.replace("1e9", "1e10")
    path = tmp_path / "t.csv"
    path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    with pytest.raises(CeersError, match="tiers="):
        read_tiers(path)


def test_the_head_of_an_asdf_file_is_read_as_texts(tmp_path):
    path = tmp_path / "a.asdf"
    path.write_text(HEAD + "  n: 1\n  tagged: !unknown/thing-1.0.0 {x: [1.5, true]}\n...\n")
    with path.open("ab") as stream:
        stream.write(bytes(range(256)))
    tree = read_asdf_head(path)
    assert tree["class"] == "ceers_steps.RemStripingStep"
    assert tree["parameters"] == {"n": "1", "tagged": {"x": ["1.5", "true"]}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: x\n...\n", "does not begin as an ASDF file"),
        (HEAD, "has no end"),
        (HEAD + "  {a: 1}: 2\n...\n", "found unhashable key"),
        (HEAD + "  a: [1\n...\n", "expected"),
        ("#ASDF 1.0.0\n--- [1, 2]\n...\n", "no keys"),
    ],
)
def test_a_head_that_cannot_be_read_is_said(tmp_path, text, reason):
    path = tmp_path / "a.asdf"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_asdf_head(path)
