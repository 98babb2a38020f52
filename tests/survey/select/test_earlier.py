"""Which exposures may have left charge in which: by detector and time."""

from dataclasses import replace

from ceers_steps.survey.select.earlier import earlier_exposures
from ceers_steps.survey.select.exposures import read_exposures
from tests.survey.madeup import make_exposures, make_plan
from tests.survey.sky import write_file

MINUTE = 1 / 1440


def timed(exposures, starts, length=15):
    """Give exposures starts, in minutes."""
    return [
        replace(each, start=60000 + start * MINUTE, end=60000 + (start + length) * MINUTE)
        for each, start in zip(exposures, starts, strict=True)
    ]


def exposures_of(tmp_path, *names):
    times = {"EXPSTART": 60000.0, "EXPEND": 60000.01, "NINTS": 2, "NGROUPS": 9}
    paths = [write_file(tmp_path, f"jw01345001001_{name}_uncal.fits", **times) for name in names]
    return read_exposures(paths)[0]


def test_the_same_detector_within_an_hour_the_latest_first(tmp_path):
    names = [f"02201_0000{k}_{det}" for det in ("nrcb4", "nrca1") for k in (1, 2, 3, 4)]
    exposures = exposures_of(tmp_path, *names)
    assert [each.name[-5:] for each in exposures] == [*["nrca1", "nrcb4"] * 4]
    starts = [start for start in (0, 20, 40, 110) for _ in range(2)]
    found = earlier_exposures(timed(exposures, starts))
    named = {
        name[-11:]: [path.rpartition("/")[2][20:31] for path in paths]
        for name, paths in found.items()
    }
    assert named == {
        f"{k}_{det}": [f"{j}_{det}" for j in others]
        for k, others in {
            "00002": ["00001"],
            "00003": ["00002", "00001"],
            "00004": ["00003"],
        }.items()
        for det in ("nrca1", "nrcb4")
    }


def test_other_instruments_and_unknown_times_have_none(tmp_path):
    exposures = exposures_of(tmp_path, "02201_00001_nrcb4", "02201_00002_nrcb4")
    assert exposures[0].start == 60000.0
    assert exposures[0].end == 60000.01
    assert (exposures[0].n_integrations, exposures[0].n_groups) == (2, 9)
    assert earlier_exposures([replace(each, start=float("nan")) for each in exposures]) == {}
    other = [replace(each, detector="NIS") for each in timed(exposures, (0, 20))]
    assert earlier_exposures(other) == {}


def test_of_short_exposures_the_latest_are_taken(tmp_path):
    exposures = exposures_of(tmp_path, *(f"02201_{k:05d}_nrcb4" for k in range(1, 21)))
    found = earlier_exposures(timed(exposures, range(20), length=1))
    last = found[exposures[-1].name]
    assert [path.rpartition("_nrcb4")[0][-5:] for path in last][:2] == ["00019", "00018"]
    assert len(last) == 12


def test_at_the_same_time_is_not_earlier(tmp_path):
    exposures = exposures_of(tmp_path, "02201_00001_nrcb4", "02201_00002_nrcb4")
    assert earlier_exposures(timed(exposures, (0, 10))) == {}


def test_a_plan_gives_them_to_the_exposure_as_inputs(tmp_path):
    out = tmp_path / "out"
    exposures = make_exposures(out / "uncal")
    members = [each for each in exposures if each.detector == exposures[0].detector][:2]
    first, second = timed(members, (0, 20))
    timed_ones = {first.name: first, second.name: second}
    exposures = [timed_ones.get(each.name, each) for each in exposures]
    plan = make_plan(out, exposures=exposures)
    task = plan.tasks[f"exposure/{second.name}"]
    assert task.arguments["earlier_exposures"] == [str(first.path)]
    assert str(first.path) in task.inputs
    assert plan.tasks[f"exposure/{first.name}"].arguments["earlier_exposures"] == []
    skip = {"detector1": {"trapped_charge": {"skip": True}}}
    task = make_plan(out, exposures=exposures, steps=skip).tasks[f"exposure/{second.name}"]
    assert task.arguments["earlier_exposures"] == []
    assert str(first.path) not in task.inputs
