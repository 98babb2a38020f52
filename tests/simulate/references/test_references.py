"""The serverless CRDS cache, and whether the pipeline takes what is in it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.simulate import SimulationConfig, active, simulate
from ceers_steps.simulate.config.simulation import DarkConfig
from ceers_steps.simulate.detector.calibration import BadPixel, make_calibration
from ceers_steps.simulate.references.crds_cache import CrdsCache, environment
from ceers_steps.simulate.telescope.instrument import find_subarray, get_detector

NEEDED = (
    "mask",
    "saturation",
    "superbias",
    "linearity",
    "dark",
    "gain",
    "readnoise",
    "flat",
    "area",
    "photom",
    "distortion",
)
QUIET = SimulationConfig().only("sky")


def small(out, **arguments):
    """The smallest simulation there is: 160 x 160 pixels, two groups, only sky."""
    defaults = {"dithers": 1, "size": "sub160", "n_groups": 2, "config": QUIET}
    return simulate(out, ["NRCB4"], ["F150W"], **(defaults | arguments))


def best_references(uncal):
    import crds

    with datamodels.open(uncal) as model:
        parameters = model.get_crds_parameters()
    return crds.getreferences(parameters, reftypes=NEEDED, observatory="jwst")


def test_crds_finds_every_reference(simulated_field):
    for detector in ("NRCB4", "NRCBLONG"):
        found = best_references(simulated_field.uncal(detector, "sub640"))
        for kind in NEEDED:
            assert f"_{kind}_{detector.lower()}" in found[kind]
            assert os.path.exists(found[kind])


def test_other_types_are_not_applicable(simulated_field):
    import crds

    with datamodels.open(simulated_field.uncal("NRCB4", "sub640")) as model:
        parameters = model.get_crds_parameters()
    found = crds.getreferences(parameters, reftypes=["ipc", "pars-jumpstep"], observatory="jwst")
    assert all("N/A" in str(name).upper() for name in found.values())


def test_mappings_are_sound(simulated_field):
    from crds.core import rmap

    context = rmap.load_mapping(os.environ["CRDS_CONTEXT"], ignore_checksum=False)
    assert context.get_imap("nircam").get_rmap("gain").reference_names()


def test_contents_are_those_of_the_detector(simulated_field):
    detector = get_detector("NRCB4")
    window = find_subarray(detector, "sub640")
    truth = make_calibration("NRCB4").cut((window.y_start - 1, window.x_start - 1), (640, 640))
    files = best_references(simulated_field.uncal("NRCB4", "sub640"))
    with datamodels.MaskModel(files["mask"]) as model:
        flags = dqflags.pixel
        for flag, name in (
            (BadPixel.DEAD, "DEAD"),
            (BadPixel.HOT, "HOT"),
            (BadPixel.LOW_QE, "LOW_QE"),
            (BadPixel.REFERENCE_PIXEL, "REFERENCE_PIXEL"),
        ):
            np.testing.assert_array_equal((model.dq & flags[name]) > 0, truth.flagged(flag), name)
        bad = truth.flagged(BadPixel.DEAD, BadPixel.HOT)
        np.testing.assert_array_equal((model.dq & flags["DO_NOT_USE"]) > 0, bad)
    with datamodels.ReadnoiseModel(files["readnoise"]) as model:
        np.testing.assert_allclose(model.data, truth.read_noise * np.sqrt(2), rtol=1e-6)
    with datamodels.LinearityModel(files["linearity"]) as model:
        np.testing.assert_array_equal(model.coeffs, truth.linearity)
        assert model.dq.shape == (640, 640)
    with datamodels.DarkModel(files["dark"]) as model:
        assert model.data.shape == (5, 640, 640)
        # MEDIUM8 averages frames 1 to 8, 11 to 18 and so on of 4.18584 s
        times = (np.arange(5) * 10 + 4.5) * 4.18584
        np.testing.assert_allclose(model.data[:, 300, 300], truth.dark[300, 300] * times, rtol=1e-5)
    with datamodels.PixelAreaModel(files["area"]) as model:
        assert model.data.shape == (640, 640)
        assert model.data.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_later_calls_add_and_keep(tmp_path):
    out = tmp_path / "out"
    small(out)
    cache = CrdsCache(out / "crds_cache")
    gain = cache.get("gain", ("NRCB4", "SUB160"))
    before = (cache.context, gain.stat().st_mtime_ns)

    small(out, n_groups=3, size="sub320")
    cache = CrdsCache(out / "crds_cache")
    assert cache.context != before[0]
    assert gain.stat().st_mtime_ns == before[1]
    assert cache.get("gain", ("NRCB4", "SUB320")).exists()

    (exposure,) = small(out, n_groups=3, observation=2)
    with datamodels.DarkModel(
        CrdsCache(out / "crds_cache").get("dark", ("NRCB4", "SUB160", "MEDIUM8"))
    ) as dark:
        assert dark.data.shape[0] == 3
    with active(out):
        assert best_references(exposure.uncal)["gain"] == str(gain)


def test_another_detector_configuration_needs_another_folder(tmp_path):
    small(tmp_path)
    config = SimulationConfig(dark=DarkConfig(short_wavelength=0.1)).only("sky", "dark")
    with pytest.raises(CeersError, match="another configuration"):
        small(tmp_path, config=config)


def test_active_restores_the_environment(simulated_field, tmp_path):
    before = dict(os.environ)
    (exposure,) = small(tmp_path)
    with active(tmp_path):
        assert os.environ["CRDS_PATH"] == str(tmp_path / "crds_cache")
        assert str(tmp_path) in best_references(exposure.uncal)["gain"]
    assert dict(os.environ) == before
    found = best_references(simulated_field.uncal("NRCB4", "sub640"))
    assert str(simulated_field.folder) in found["gain"]


def test_no_simulation_in_the_folder(tmp_path):
    with pytest.raises(CeersError, match="ceers simulate"):
        environment(tmp_path)


def test_shell_environment_moves_with_its_folder(tmp_path):
    small(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there now")
    script = 'source "there now/env.sh" && env'
    shell = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    values = dict(line.split("=", 1) for line in shell.stdout.splitlines() if "=" in line)
    expected = environment(tmp_path / "there now")
    assert {name: values[name] for name in expected} == expected


def test_crds_is_not_imported_before_the_environment_is_set():
    code = (
        "import sys; import ceers_steps.simulate.references.crds_cache as cache; "
        "cache._all_types(); print('crds' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
