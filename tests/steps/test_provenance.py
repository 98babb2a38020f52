"""What was done to the exposures stands in the header of the mosaic, and in all made of it."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from stdatamodels.jwst import datamodels

from ceers_steps import MosaicBackgroundStep, RemStripingStep, SkyVarStep, TiledResampleStep
from ceers_steps.files.headers.provenance import add_history
from tests.drizzled import CENTRE, exposure
from tests.history import says

GRID = {
    "pixel_scale": 0.03,
    "rotation": 20.0,
    "crval": list(CENTRE),
    "crpix": [100.0, 90.0],
    "output_shape": [210, 190],
}


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory):
    """The mosaic of two exposures and what is made of it, drizzled at once and in tiles."""
    folder = tmp_path_factory.mktemp("mosaics")
    paths = []
    for number in (1, 2):
        model = exposure(number, (number, 0))
        add_history(model, "Made by hand, in a test that has more to say than one card holds: 42")
        add_history(model, f"Only in exposure {number}")
        RemStripingStep().record(model, "COMPLETE", parameters={"method": "wiener"})
        status = "COMPLETE" if number == 1 else "SKIPPED"
        SkyVarStep().record(model, status, metrics={"sky": 0.1 * number}, note=f"note {number}")
        paths.append(str(folder / model.meta.filename))
        model.save(paths[-1])
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        for name, tile_size in (("whole", None), ("tiles", 90)):
            arguments = {"output_file": name, "output_dir": str(folder), "save_results": True}
            TiledResampleStep.call(paths, tile_size=tile_size, **GRID, **arguments)
            mosaic = folder / f"{name}_i2d.fits"
            arguments = {"output_dir": str(folder), "save_results": True, "box_size": 10}
            MosaicBackgroundStep.call(str(mosaic), in_memory=name == "whole", **arguments)
            made[name] = (mosaic, folder / f"{name}_bkgsub.fits")
    return made


@pytest.mark.parametrize("way", ["whole", "tiles"])
def test_mosaic_and_what_is_made_of_it_say_what_was_done(mosaics, way):
    for path in mosaics[way]:
        with fits.open(path) as hdus:
            header = hdus[0].header
            assert (header["S_REMSTR"], header["S_SKYVAR"]) == ("COMPLETE", "PARTIAL")
            assert header["S_RESAMP"] == "COMPLETE"
            assert says(header, "ceers_remstriping COMPLETE in 2 of 2 exposures; method=wiener")
            assert says(header, "ceers_skyvar COMPLETE in 1, SKIPPED in 1 of 2 exposures; note 2")
            assert says(header, "sky=0.1")
            # lines of other programs, whole again after FITS has broken them
            assert says(header, "has more to say than one card holds: 42")
            assert not says(header, "Only in exposure")
            names = [str(name) for name in hdus["HDRTAB"].data["FILENAME"]]
            assert names == [f"jw01345001001_02101_0000{n}_nrcb4_cal.fits" for n in (1, 2)]
        with datamodels.open(path) as model:
            status = model.meta.cal_step.instance
            assert status["ceers_remstriping"] == "COMPLETE"
            assert status["ceers_skyvar"] == "PARTIAL"


@pytest.mark.parametrize("way", ["whole", "tiles"])
def test_the_table_of_exposures_is_the_same_without_the_background(mosaics, way):
    before, after = (fits.getdata(path, "HDRTAB") for path in mosaics[way])
    assert before.dtype.names == after.dtype.names
    for name in before.dtype.names:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)


@pytest.mark.parametrize("in_memory", [True, False])
def test_products_have_no_checksums_of_their_inputs(mosaics, tmp_path, in_memory):
    """They would be called damaged by programs that look; and the table is there once."""
    source = tmp_path / "summed_i2d.fits"
    with fits.open(mosaics["whole"][0]) as hdus:
        hdus["HDRTAB"].header["MYNOTE"] = ("seen", "by a user")
        hdus.writeto(source, checksum=True)
    MosaicBackgroundStep.call(
        str(source), in_memory=in_memory, output_dir=str(tmp_path), save_results=True, box_size=10
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", AstropyUserWarning)
        with fits.open(tmp_path / "summed_bkgsub.fits", checksum=True) as hdus:
            assert not [hdu.name for hdu in hdus if "CHECKSUM" in hdu.header]
            assert [hdu.name for hdu in hdus].count("HDRTAB") == 1
            assert len(hdus["HDRTAB"].data) == 2
            assert hdus["SCI"].data.shape == fits.getdata(source).shape
