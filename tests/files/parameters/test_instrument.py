"""Parameter files that say for which instrument they are."""

import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from ceers_steps import WispSubStep
from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.files.parameters.instrument import check_instrument, instrument_of

FILE = """\
#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
meta:
  instrument: {name: NIRCAM}
class: ceers_steps.WispSubStep
name: WispSubStep
parameters:
  min_significance: 3.0
...
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "wispsub.asdf"
    path.write_text(FILE)
    return path


def exposure(instrument):
    model = datamodels.ImageModel((32, 32))
    model.meta.filename = "jw01345001001_02201_00001_mirimage_rate.fits"
    model.meta.instrument.name = instrument
    return model


def test_files_of_the_package_say_it():
    assert instrument_of(parameter_files_dir() / "detector1.asdf") == "NIRCAM"
    for path in (parameter_files_dir() / "dr05").glob("*.asdf"):
        assert instrument_of(path) == "NIRCAM", path


@pytest.mark.parametrize("text", ["", "#ASDF 1.0.0\n", "a = 1\n", "meta: [x]\n", "meta: {]\n"])
def test_a_file_that_does_not_say_it_is_for_all(tmp_path, text):
    path = tmp_path / "any.asdf"
    path.write_text(text)
    assert instrument_of(path) == ""
    check_instrument(path, exposure("MIRI"), "Step")


def test_other_data_are_refused_with_both_names(file, tmp_path):
    message = r"wispsub.asdf is for NIRCAM \(meta.instrument.name\), but .*mirimage.* is of MIRI"
    with pytest.raises(CeersError, match=message):
        check_instrument(file, [exposure("NIRCAM"), exposure("MIRI")], "Step")
    path = tmp_path / "jw01345001001_02201_00001_mirimage_rate.fits"
    fits.PrimaryHDU(header=fits.Header({"INSTRUME": "MIRI"})).writeto(path)
    with pytest.raises(CeersError, match=message):
        check_instrument(file, str(path), "Step")
    check_instrument(file, exposure("NIRCAM"), "Step")
    check_instrument(file, exposure(None), "Step")


@pytest.mark.filterwarnings("ignore")
def test_a_step_refuses_before_it_does_anything(file, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(WispSubStep, "process", never)
    model = exposure("MIRI")
    for room in ("base", "inputs.before"):
        monkeypatch.setattr(f"ceers_steps.steps.{room}.check_input", lambda *_: None)
    with pytest.raises(CeersError, match="is for NIRCAM"):
        WispSubStep.call(model, config_file=str(file))
