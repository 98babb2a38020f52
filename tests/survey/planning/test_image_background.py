"""Surveys with image backgrounds, on paper: what is made again, of whom, and when it is refused."""

import shutil
import uuid
from dataclasses import replace

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.config.settings import load_config
from ceers_steps.survey.planning.graph import layout
from ceers_steps.survey.planning.image_background import MIN_OTHERS
from ceers_steps.survey.planning.plan import read_plan, why_stale, write_plan
from ceers_steps.survey.planning.records import Record, file_state, read_record, write_record
from ceers_steps.survey.running.arrays import write_arrays
from tests.survey.madeup import make_exposures, make_plan

PRODUCT = "jw02736001_f200w"


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.delenv("NIRCAM_WISP_TEMPLATES", raising=False)
    return tmp_path / "out"


def exposures(out, pointings=1, dithers=4):
    return make_exposures(out / "uncal", dithers=dithers, pointings=pointings)


def of_miri(exposure):
    """The same exposure, as MIRI would have taken it."""
    name = exposure.name.rpartition("_")[0] + "_mirimage"
    return replace(exposure, name=name, detector="MIRIMAGE", filter="F770W")


def second_pass(plan):
    """Return the tasks of the image background and what follows it, by stage."""
    stages = plan.by_stage()
    return {name: stages[name] for name in stages if name in {"imgbkg", "outlier2", "mosaic2"}}


def test_the_first_mosaic_then_the_background_then_a_second_mosaic(out):
    plan = make_plan(out, exposures=exposures(out), image_background=True)
    task = plan.tasks[f"imgbkg/{PRODUCT}_nrcb4"]
    names = task.arguments["exposures"]
    assert len(names) == 4
    assert task.after == (
        *(f"exposure/{name}" for name in names),
        f"outlier/{PRODUCT}",
        f"mosaic/{PRODUCT}",
    )
    assert task.outputs == tuple(f"cal_pass2/{name}_cal.fits" for name in names)
    again = plan.tasks[f"outlier2/{PRODUCT}_pass2"]
    detectors = ("nrca1", "nrca3", "nrcb1", "nrcb4")
    assert {f"imgbkg/{PRODUCT}_{name}" for name in detectors} < set(again.after)
    # the WCS of the first pass: alignment is not done again
    assert [name for name in again.after if name.startswith("align/")] == [
        "align/jw02736001001_f200w"
    ]
    assert again.outputs[0].startswith("match_pass2/")
    last = plan.tasks[f"mosaic2/{PRODUCT}_pass2"]
    assert last.after == (again.id,)
    assert last.outputs == (f"mosaics/jw02736001/{PRODUCT}_pass2_i2d.fits",)
    assert last.settings["grid"] == plan.tasks[f"mosaic/{PRODUCT}"].settings["grid"]
    background = plan.tasks["background/jw02736001"]
    assert set(background.after) == {
        f"mosaic2/jw02736001_{band}_pass2" for band in ("f115w", "f200w", "f356w")
    }
    assert plan.counts()["image_background"] == 40
    # each after what it needs, whatever engine runs it
    order = list(plan.tasks)
    assert all(
        order.index(name) < order.index(t.id) for t in plan.tasks.values() for name in t.after
    )


def test_switched_on_after_a_run_only_what_follows_is_done(out):
    """With the rates kept; without them stages 1 and 2 are done again, and it is said why."""
    found = [each for each in exposures(out) if each.detector == "NRCB4"]
    for each in found:
        each.path.parent.mkdir(parents=True, exist_ok=True)
        each.path.write_text(each.name)

    def planned(**values):
        return make_plan(out, exposures=found, **values)

    def run(plan):
        done = list(why_stale(plan))
        for name in done:
            finish(plan, plan.tasks[name])
        return done

    first = planned(keep=("rate",))
    assert len(run(first)) == len(first.tasks)
    before = {path: path.read_bytes() for path in out.rglob("*.fits")}
    plan = planned(keep=("rate",), image_background=True)
    due = run(plan)
    stages = {"imgbkg", "outlier2", "mosaic2", "background"}
    assert {plan.tasks[name].stage for name in due} == stages
    assert run(plan) == []
    # nothing of the first run is lost
    assert all(path.read_bytes() == content for path, content in before.items())
    # another parameter of the step: the same again, and nothing else
    steps = {"ceers_image_background": {"": {"growth": 3}}}
    changed = planned(keep=("rate",), image_background=True, steps=steps)
    assert {changed.tasks[name].stage for name in why_stale(changed)} == stages
    # off again: only the background of the first mosaics
    assert list(why_stale(first)) == ["background/jw02736001"]
    # without the rates of the first run
    shutil.rmtree(out / ".ceers" / "done")
    run(planned())
    plan = planned(image_background=True)
    reasons = why_stale(plan)
    assert len(reasons) == len(plan.tasks)
    name = found[0].name
    assert reasons[f"exposure/{name}"] == f"rate/{name}_rate.fits is wanted too"


def finish(plan, task):
    """Write products, each of which says which run made it, and the record."""
    made = uuid.uuid4().hex
    for name in task.outputs:
        (plan.output / name).parent.mkdir(parents=True, exist_ok=True)
        (plan.output / name).write_text(made)
    record = Record(
        task=task.id,
        settings=task.settings,
        versions=plan.versions,
        inputs={name: file_state(name) for name in task.inputs},
        references={},
        outputs={name: file_state(plan.output / name) for name in task.outputs},
        after={name: read_record(plan.record_path(plan.tasks[name])).made for name in task.after},
        made=made,
    )
    write_record(plan.record_path(task), record)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, rf"at least {MIN_OTHERS} others .*jw02736001_f115w has 2 of NRCA1; .* \(exclude\)"),
        ({"image_background_of": ("MIRI",)}, "no exposure of MIRI in this survey, but of NIRCAM"),
    ],
)
def test_refused_with_the_reason(out, values, message):
    with pytest.raises(CeersError, match=message):
        make_plan(out, exposures=exposures(out, dithers=2), image_background=True, **values)


def test_with_fewer_others_on_request(out):
    steps = {"ceers_image_background": {"": {"min_others": 1}}}
    plan = make_plan(out, exposures=exposures(out, dithers=2), image_background=True, steps=steps)
    assert plan.tasks[f"imgbkg/{PRODUCT}_nrcb4"].settings["image_background"] == {"min_others": 1}


def test_miri_only_where_there_is_miri(out):
    found = exposures(out)
    found += [of_miri(each) for each in found if each.detector == "NRCB4"][:4]
    plan = make_plan(out, exposures=found, image_background=True, by="program")
    assert [task.key for task in plan.by_stage()["imgbkg"]] == ["jw02736_miri_f770w_mirimage"]
    after = {name: plan.tasks[f"background/{name}"].after for name in ("jw02736", "jw02736_miri")}
    assert after == {
        "jw02736": tuple(f"mosaic/jw02736_{name}" for name in ("f115w", "f200w", "f356w")),
        "jw02736_miri": ("mosaic2/jw02736_miri_f770w_pass2",),
    }
    rates = [t.key for t in plan.by_stage()["exposure"] if f"rate/{t.key}_rate.fits" in t.outputs]
    assert len(rates) == 4
    assert all(name.endswith("mirimage") for name in rates)


def test_drawn_and_written_as_commands_in_order(out):
    plan = make_plan(
        out, exposures=exposures(out), image_background=True, tile_size=2500, keep=("imgbkgsub",)
    )
    boxes, links = layout(plan, {})
    assert {row for stage, row in boxes if stage == "mosaic2"} == {0, 1, 2}
    assert (("mosaic", 0), ("imgbkg", 0)) in links
    out.mkdir(exist_ok=True)
    scripts = [path.rpartition("/")[2] for path, _ in write_arrays(plan, "slurm")]
    stages = [name.partition("_")[2].removesuffix(".slurm") for name in scripts[:-1]]
    assert stages == list(plan.by_stage())
    assert scripts[:-1] == sorted(scripts[:-1])  # 01_exposure ... 10_background
    assert len(stages) == 10
    write_plan(plan, out / "plan.json")
    assert read_plan(out / "plan.json") == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_background = 1\n", "give true or false"),
        ("image_background = true\nimage_background_of = ['ACS']\n", "use one of 'NIRCAM', 'MIRI'"),
        ("image_background = true\npreset = 'dr05'\n", "published procedure"),
        (
            "image_background = true\n[ceers_image_background]\nmosaic = 'x'\n",
            "mosaic is set by the survey",
        ),
        (
            "image_background = true\n[ceers_image_background]\nscaling = 'no'\n",
            "scaling = 'no'",
        ),
        ("image_background = true\n[ceers_image_background.x]\n", "unknown key 'x'"),
    ],
)
def test_what_the_file_may_not_say(tmp_path, text, message):
    path = tmp_path / "survey.toml"
    path.write_text(f"inputs = ['x']\noutput = 'out'\n{text}")
    options = {"wcs_dir": str(tmp_path)} if "dr05" in text else {}
    with pytest.raises(CeersError, match=message):
        load_config(path, options=options)


def test_defaults_are_those_of_the_step():
    from ceers_steps import ImageBackgroundStep

    assert f"default={MIN_OTHERS})" in ImageBackgroundStep.load_spec_file()["min_others"]
