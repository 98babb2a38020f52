"""Errors of the attitude: the truth moves, the header does not."""

import numpy as np
import pytest
from stdatamodels.jwst import datamodels

from ceers_steps.errors import CeersError
from ceers_steps.simulate import SimulationConfig, read_truth, simulate
from ceers_steps.simulate.config.simulation import PointingConfig
from ceers_steps.simulate.telescope.instrument import find_subarray, get_band, get_detector
from ceers_steps.simulate.telescope.patterns import get_pattern
from ceers_steps.simulate.telescope.plan import ExposurePlan, PointingError


def plan(detector="NRCB4", error=PointingError(), **changes):  # noqa: B008 (it is frozen)
    arguments = {
        "detector": get_detector(detector),
        "band": get_band("F150W"),
        "window": find_subarray(get_detector(detector), "full"),
        "pattern": get_pattern("MEDIUM8"),
        "n_groups": 5,
        "n_ints": 1,
        "dither": 1,
        "n_dithers": 2,
        "offset": (3.0, 2.0),
        "aperture": "NRCBS_FULL",
        "target_ra": 214.92,
        "target_dec": 52.87,
        "roll": 130.0,
        "start": 59751.0,
    }
    return ExposurePlan(**(arguments | changes), pointing_error=error)


def shift_on_sky(exposure, x, y):
    """Where pixels are less where the header has them, arcsec east and north."""
    (ra, dec), (ra0, dec0) = exposure.true_wcs.to_sky(x, y), exposure.wcs.to_sky(x, y)
    return np.array([(ra - ra0) * np.cos(np.deg2rad(dec0)), dec - dec0]) * 3600


class TestGeometry:
    def test_without_error_both_are_the_same(self):
        x, y = np.array([0.0, 2047.0]), np.array([2047.0, 1000.0])
        np.testing.assert_array_equal(shift_on_sky(plan(), x, y), 0)

    def test_shift_along_the_axes_of_the_telescope(self):
        # V3 points to position angle 130, V2 to the left of it (parity of the telescope)
        angle = np.deg2rad(130)
        v3 = np.array([np.sin(angle), np.cos(angle)])
        v2 = np.array([np.cos(angle), -np.sin(angle)])
        moved = shift_on_sky(plan(error=PointingError(0.3, -0.1)), 1000.0, 1000.0)
        np.testing.assert_allclose(moved, 0.3 * v2 - 0.1 * v3, atol=1e-3)

    def test_roll_is_about_the_target(self):
        exposure = plan(error=PointingError(roll=30.0), aperture="NRCB4_FULL", offset=(0.0, 0.0))
        centre = shift_on_sky(exposure, 1023.5, 1023.5)
        np.testing.assert_allclose(centre, 0, atol=1e-6)
        corner = shift_on_sky(exposure, 0.0, 1023.5)
        distance = 1023.5 * 0.0311
        assert np.hypot(*corner) == pytest.approx(distance * np.deg2rad(30 / 3600), rel=0.02)


class TestSimulation:
    def run(self, out, pointing, **arguments):
        config = SimulationConfig(pointing=pointing).only("pointing", "sources")
        written = simulate(
            out,
            arguments.pop("detectors", ["NRCB4"]),
            arguments.pop("filters", ["F150W"]),
            dithers=2,
            size="sub160",
            n_groups=2,
            config=config,
            **arguments,
        )
        return [read_truth(exposure.truth) for exposure in written], written

    @pytest.mark.slow
    def test_sources_move_and_the_header_stays(self, tmp_path):
        still, files = self.run(tmp_path / "still", PointingConfig())
        moved, moved_files = self.run(tmp_path / "moved", PointingConfig(visit_shift=(0.3, 0.0)))
        assert still[0].exposure["pointing_error"] == {"v2": 0.0, "v3": 0.0, "roll": 0.0}
        assert moved[0].exposure["pointing_error"] == {"v2": 0.3, "v3": 0.0, "roll": 0.0}
        common = set(still[0].sources["source"]) & set(moved[0].sources["source"])
        places = [
            np.array([(row["x"], row["y"]) for row in truth.sources if row["source"] in common])
            for truth in (still[0], moved[0])
        ]
        # 0.3 arcsec in pixels of 31.1 mas, a little different from place to place
        np.testing.assert_allclose(np.hypot(*(places[1] - places[0]).T), 0.3 / 0.0311, rtol=0.01)
        assert not np.array_equal(still[0].rate, moved[0].rate)
        for one, other in zip(files, moved_files, strict=True):
            with (
                datamodels.Level1bModel(one.uncal) as model,
                datamodels.Level1bModel(other.uncal) as model2,
            ):
                assert model.meta.wcsinfo.instance == model2.meta.wcsinfo.instance
                assert model.meta.pointing.instance == model2.meta.pointing.instance

    @pytest.mark.slow
    def test_what_a_visit_and_what_an_exposure_shares(self, tmp_path):
        pointing = PointingConfig(visit_scatter=0.3, jitter=0.01)
        truths, _ = self.run(
            tmp_path,
            pointing,
            detectors=["NRCB4", "NRCB2", "NRCB5"],
            filters=["F150W", "F277W"],
        )
        errors = {
            (t.exposure["detector"], t.exposure["dither"]): t.exposure["pointing_error"]
            for t in truths
        }
        # detectors that look at the same time look at the same place
        assert errors["NRCB4", 1] == errors["NRCB2", 1]
        by_exposure = {(error["v2"], error["v3"]) for error in errors.values()}
        assert len(by_exposure) == 4  # two dithers of two filters
        spread = np.std(list(by_exposure), axis=0)
        assert np.all((spread > 0) & (spread < 0.04))
        visit = np.mean(list(by_exposure), axis=0)
        assert np.all(np.abs(visit) > 0.02)
        assert np.all(np.abs(visit) < 1.5)

    def test_off(self, tmp_path):
        config = SimulationConfig(pointing=PointingConfig(visit_shift=(1.0, 1.0)))
        written = simulate(
            tmp_path,
            ["NRCB4"],
            ["F150W"],
            dithers=1,
            size="sub160",
            n_groups=2,
            config=config.only("sources"),
        )
        assert read_truth(written[0].truth).exposure["pointing_error"]["v2"] == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"visit_scatter": -0.1}, "visit_scatter is -0.1: use 0 or more"),
        ({"jitter": float("nan")}, "jitter is nan"),
        ({"visit_shift": (100.0, 0.0)}, "visit_shift is .* two shifts of up to 60"),
        ({"visit_shift": (0.1,)}, "visit_shift is .* two shifts"),
        ({"roll": 1e5}, "roll is 100000.0: use an angle"),
    ],
)
def test_values_that_cannot_be(values, message):
    with pytest.raises(CeersError, match=message):
        PointingConfig(**values)
