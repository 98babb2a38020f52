"""From exposures to tasks: what is made of what, for small surveys and for CEERS DR0.5."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning import estimates
from ceers_steps.survey.planning.build import build_plan
from ceers_steps.survey.planning.plan import STAGES
from ceers_steps.survey.planning.records import changed_settings
from ceers_steps.survey.select.exposures import plan_exposures
from ceers_steps.survey.select.grids import find_grid
from ceers_steps.survey.select.inputs import find_exposures
from tests.survey.madeup import make_exposures, make_plan
from tests.survey.sky import square, write_file

POINTINGS = parameter_files_dir() / "dr05" / "pointings.ecsv"

# members as published, docs and tables of the release: pointing, filter, exposures
PUBLISHED = {
    "nircam1": {"F115W": 96, "F150W": 48, "F200W": 24, "F277W": 12, "F356W": 12, "F410M": 12}
    | {"F444W": 6},
    "nircam2": {"F115W": 96, "F150W": 48, "F200W": 48, "F277W": 12, "F356W": 12, "F410M": 12}
    | {"F444W": 12},
    "nircam3": {"F115W": 48, "F150W": 24, "F200W": 24, "F277W": 6, "F356W": 6, "F410M": 6}
    | {"F444W": 6},
    "nircam6": {"F115W": 48, "F150W": 24, "F200W": 24, "F277W": 6, "F356W": 6, "F410M": 6}
    | {"F444W": 6},
}


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.delenv("NIRCAM_WISP_TEMPLATES", raising=False)
    return tmp_path / "out"


BANDS = ("f115w", "f200w", "f356w")


def stage(plan, name):
    return [task for task in plan.tasks.values() if task.stage == name]


def settings_of(plan):
    return {name: (task.settings, task.inputs, task.after) for name, task in plan.tasks.items()}


def changed(plan, other):
    """Return the tasks whose validity differs."""
    one, two = settings_of(plan), settings_of(other)
    assert set(one) == set(two)
    return {name for name in one if one[name] != two[name]}


# -- the tasks of a small survey: two pointings, four dithers, F115W, F200W and F356W


def test_tasks_of_a_small_survey(out):
    plan = make_plan(out)
    counts = {name: len(tasks) for name, tasks in plan.by_stage().items()}
    assert counts == {"exposure": 80, "align": 6, "outlier": 6, "mosaic": 6, "background": 2}
    background = plan.tasks["background/jw02736001"]
    assert background.after == tuple(f"mosaic/jw02736001_{band}" for band in BANDS)
    assert background.outputs == (
        *(f"mosaics/jw02736001/jw02736001_{band}_mbkgsub.fits" for band in BANDS),
        "mosaics/jw02736001/jw02736001_f115w_mergedmask.fits",
    )
    outlier = plan.tasks["outlier/jw02736001_f200w"]
    assert len(outlier.arguments["exposures"]) == 16
    assert outlier.after[-1] == "align/jw02736001001_f200w"
    assert outlier.after[:-1] == tuple(
        f"exposure/{name}" for name in outlier.arguments["exposures"]
    )
    assert plan.tasks["mosaic/jw02736001_f200w"].after == ("outlier/jw02736001_f200w",)


def test_every_task_comes_after_those_that_it_needs_and_makes_files_of_its_own(out):
    plan = make_plan(out, tile_size=1000, keep=("rate", "crf"))
    seen, files = set(), Counter()
    for name, task in plan.tasks.items():
        assert set(task.after) <= seen
        assert STAGES.index(task.stage) >= max(
            (STAGES.index(other.partition("/")[0]) for other in task.after), default=0
        )
        seen.add(name)
        files.update(task.outputs)
    assert set(files.values()) == {1}


def test_an_exposure_reads_its_raw_file_and_keeps_what_is_wanted(out):
    plan = make_plan(out)
    task = stage(plan, "exposure")[0]
    assert task.inputs == (str(out / "uncal" / f"{task.key}_uncal.fits"),)
    assert task.outputs == (f"cal/{task.key}_cal.fits", f"cal/{task.key}_1fmask.fits")
    more = make_plan(out, keep=("rate", "pre1f", "crf"))
    kept = more.tasks[task.id]
    assert kept.outputs[2:] == (f"rate/{task.key}_rate.fits", f"rate/{task.key}_pre1f.fits")
    assert kept.settings == task.settings  # what is kept makes nothing else stale
    outlier = more.tasks["outlier/jw02736001_f200w"]
    assert sum(name.startswith("crf/") for name in outlier.outputs) == 16


def test_visits_are_aligned_one_by_one_and_groups_by_program_hold_all(out):
    plan = make_plan(out, by="program")
    assert [task.key for task in stage(plan, "background")] == ["jw02736"]
    assert [task.key for task in stage(plan, "align")] == [
        f"jw0273600{visit}001_{band}" for visit in (1, 2) for band in ("f115w", "f200w", "f356w")
    ]
    outlier = plan.tasks["outlier/jw02736_f200w"]
    assert len(outlier.arguments["exposures"]) == 32
    assert outlier.after[-2:] == ("align/jw02736001001_f200w", "align/jw02736002001_f200w")


@pytest.mark.parametrize("by", ["visit", "observation"])
def test_groups_by_visit_and_observation(out, by):
    plan = make_plan(out, by=by)
    names = {"visit": ["jw02736001001", "jw02736002001"], "observation": ["jw02736001"]}
    keys = [task.key for task in stage(plan, "background")]
    assert keys[: len(names[by])] == names[by]


def test_with_a_WCS_given_nothing_is_aligned(out, tmp_path):
    plan = make_plan(out, wcs_dir=tmp_path)
    assert not stage(plan, "align")
    outlier = plan.tasks["outlier/jw02736001_f200w"]
    name = outlier.arguments["exposures"][0]
    assert outlier.inputs[0] == str(tmp_path / f"{name}_tweakreg.asdf")
    assert len(outlier.inputs) == 16
    assert plan.counts()["update_wcs"] == 80


def test_alignment_can_be_left_out(out):
    plan = make_plan(out, steps={"image3": {"tweakreg": {"skip": True}}})
    assert not stage(plan, "align")
    assert plan.tasks["outlier/jw02736001_f200w"].arguments["wcs_dir"] == ""
    assert plan.counts()["without alignment"] == 80


def test_one_filter_has_a_background_of_its_own(out):
    exposures = [each for each in make_exposures(out / "uncal") if each.filter == "F200W"]
    plan = make_plan(out, exposures=exposures)
    (output,) = plan.tasks["background/jw02736001"].outputs
    assert output.endswith("jw02736001_f200w_bkgsub.fits")
    plan = make_plan(out, steps={"image3": {"mosaic_background": {"skip": True}}})
    assert not stage(plan, "background")


def test_without_the_removal_of_stripes_there_is_no_mask(out, tmp_path):
    """Sources are searched for later, where a mask is missing."""
    plan = make_plan(out)
    assert all(task.arguments["masks"] for task in stage(plan, "outlier"))
    steps = {"detector1": {"remstriping": {"skip": True}}}
    plan = make_plan(out, steps=steps, keep=("prewisp", "pre1f"))
    for task in stage(plan, "exposure"):
        assert task.outputs == (f"cal/{task.key}_cal.fits", f"rate/{task.key}_prewisp.fits")
    assert not any(task.arguments["masks"] for task in stage(plan, "outlier"))


def test_files_among_the_parameters_are_inputs(out):
    steps = {
        "detector1": {
            "dq_init": {"override_mask": "/refs/mask.fits"},
            "jump": {"override_gain": "N/A"},
        },
        "image2": {"flat_field": {"override_flat": "/refs/flat.fits"}},
        "image3": {"mosaic_background": {"tiers": "/tables/tiers.ecsv"}},
    }
    plan = make_plan(out, steps=steps)
    for task in stage(plan, "exposure"):
        assert task.inputs[-2:] == ("/refs/mask.fits", "/refs/flat.fits")
    for task in stage(plan, "background"):
        assert task.inputs == ("/tables/tiers.ecsv",)


def test_WCS_files_that_may_be_missing_are_not_asked_for(out, tmp_path):
    exposures = make_exposures(out / "uncal")
    there = tmp_path / f"{exposures[0].name}_tweakreg.asdf"
    there.touch()
    plan = make_plan(out, wcs_dir=tmp_path)
    assert sum(len(task.inputs) for task in stage(plan, "outlier")) == len(exposures)
    plan = make_plan(out, wcs_dir=tmp_path, steps={"image3": {"update_wcs": {"missing": "skip"}}})
    inputs = [task.inputs for task in stage(plan, "outlier") + stage(plan, "align") if task.inputs]
    assert inputs == [(str(there),)]


def test_exposures_without_a_WCS_file_are_aligned_with_the_others(out, tmp_path):
    """With their own pointing they would smear the mosaic."""
    exposures = make_exposures(out / "uncal")
    lost = next(each for each in exposures if each.filter == "F200W")
    for each in exposures:
        if each is not lost:
            (tmp_path / f"{each.name}_tweakreg.asdf").write_text(each.name)
    update = {"missing": "skip"}
    plan = make_plan(out, wcs_dir=tmp_path, steps={"image3": {"update_wcs": update}})
    (task,) = stage(plan, "align")
    outlier = plan.tasks["outlier/jw02736001_f200w"]
    assert task.id == "align/jw02736001_f200w"
    names = outlier.arguments["exposures"]
    others = [name for name in names if name != lost.name]
    assert task.arguments["exposures"] == names
    assert task.settings["kept"] == others
    assert task.settings["update_wcs"] == update
    assert set(task.inputs) == {str(tmp_path / f"{name}_tweakreg.asdf") for name in others}
    assert set(task.outputs) == {
        "wcs/jw02736001_f200w_alignment.ecsv",
        *(f"wcs/{name}_tweakreg.asdf" for name in names),
    }
    # the WCS of all come from there; where every exposure has a file, nothing is aligned
    assert task.id in outlier.after
    assert (outlier.inputs, outlier.arguments["wcs_dir"]) == ((), str(out / "wcs"))
    other = plan.tasks["outlier/jw02736002_f200w"]
    assert other.arguments["wcs_dir"] == str(tmp_path)
    assert len(other.inputs) == len(other.arguments["exposures"])
    # a file that comes later makes it be done again
    (tmp_path / f"{lost.name}_tweakreg.asdf").touch()
    plan = make_plan(out, wcs_dir=tmp_path, steps={"image3": {"update_wcs": update}})
    assert not stage(plan, "align")


def test_exposures_without_a_WCS_file_keep_their_pointing_where_alignment_is_off(out, tmp_path):
    steps = {"image3": {"update_wcs": {"missing": "skip"}, "tweakreg": {"skip": True}}}
    assert not stage(make_plan(out, wcs_dir=tmp_path, steps=steps), "align")


def test_all_are_aligned_where_WCS_files_are_not_kept(out, tmp_path):
    exposures = make_exposures(out / "uncal")
    (tmp_path / f"{exposures[0].name}_mine.asdf").touch()
    image3 = {"update_wcs": {"missing": "skip", "suffix": "mine"}}
    plan = make_plan(out, wcs_dir=tmp_path, steps={"image3": image3})
    assert stage(plan, "align")[0].settings["kept"] == [exposures[0].name]
    outliers = stage(plan, "outlier")
    # what is aligned has its usual name
    assert all("suffix" not in task.settings["image3"]["update_wcs"] for task in outliers)
    image3["tweakreg"] = {"keep_updated": False}
    plan = make_plan(out, wcs_dir=tmp_path, steps={"image3": image3})
    assert all(task.settings["kept"] == [] for task in stage(plan, "align"))


def test_WCS_files_with_an_association_id_are_found(out, tmp_path):
    """As UpdateWcsStep finds them."""
    exposures = make_exposures(out / "uncal")
    there = tmp_path / f"{exposures[0].name}_a3001_tweakreg.asdf"
    there.touch()
    for update in ({}, {"missing": "skip"}):
        plan = make_plan(out, wcs_dir=tmp_path, steps={"image3": {"update_wcs": update}})
        tasks = stage(plan, "outlier") + stage(plan, "align")
        inputs = [path for task in tasks for path in task.inputs]
        assert str(there) in inputs
        assert str(tmp_path / f"{exposures[0].name}_tweakreg.asdf") not in inputs
    assert inputs == [str(there)]


def test_fields_far_apart_are_no_mosaic(out):
    *field, other = make_exposures(out / "uncal")
    far = replace(other, footprint=(other.footprint[0] + np.array([0.0, 20.0]),))
    with pytest.raises(CeersError, match="Are they of one field"):
        make_plan(out, exposures=[*field, far], by="program", tile_size=4096)


def test_names_of_products(out):
    plan = make_plan(out, product="mine")
    assert [task.key for task in stage(plan, "mosaic")][:2] == [
        "mine_jw02736001_f115w",
        "mine_jw02736001_f200w",
    ]
    plan = make_plan(out, product="{filter}-{group}")
    assert stage(plan, "mosaic")[0].key == "f115w-jw02736001"


# -- grids and tiles


def test_filters_of_a_group_share_a_grid_that_covers_them(out):
    plan = make_plan(out, pixel_scale=0.06)
    grids = {}
    for task in stage(plan, "mosaic"):
        grids.setdefault(task.arguments["group"], []).append(task.settings["grid"])
    for group in grids.values():
        assert group[0]["pixel_scale"] == 0.06
        assert group[0] == group[1] == group[2]
    one, two = (group[0] for group in grids.values())
    assert one["crval"] != two["crval"]


def test_a_published_grid_for_all_groups(out):
    plan = make_plan(out, grid="nircam1")
    expected = find_grid("nircam1", "x").parameters()
    assert all(task.settings["grid"] == expected for task in stage(plan, "mosaic"))


def test_exposures_without_footprint_need_a_grid(out):
    exposures = [replace(each, footprint=()) for each in make_exposures(out / "uncal")]
    with pytest.raises(CeersError, match=r"no S_REGION.*grid \(table \[grid\]\)"):
        make_plan(out, exposures=exposures)
    assert make_plan(out, exposures=exposures, grid="nircam1").tasks


def test_tiles_cover_the_grid_and_are_tasks_of_their_own(out):
    size = 2000
    plan = make_plan(out, tile_size=size)
    mosaic = plan.tasks["mosaic/jw02736001_f200w"]
    nx, ny = mosaic.settings["grid"]["output_shape"]
    tiles = [plan.tasks[name] for name in mosaic.after]
    assert {tuple(tile.settings["tile"]) for tile in tiles} == {
        (row, column) for row in range(-(-ny // size)) for column in range(-(-nx // size))
    }
    assert all(tile.after == ("outlier/jw02736001_f200w",) for tile in tiles)
    assert all(tile.settings["tile_size"] == size for tile in tiles)
    # putting tiles together takes less memory than drizzling at once
    whole = make_plan(out).tasks["mosaic/jw02736001_f200w"]
    assert mosaic.memory < whole.memory
    # a mosaic that is no larger than a tile is made in one piece
    assert not stage(make_plan(out, tile_size=max(nx, ny)), "tile")
    assert stage(make_plan(out, tile_size=max(nx, ny) - 1), "tile")


# -- what depends on what


@pytest.mark.parametrize(
    ("values", "stages"),
    [
        ({"steps": {"detector1": {"jump": {"rejection_threshold": 5.0}}}}, {"exposure"}),
        ({"steps": {"image2": {"flat_field": {"skip": True}}}}, {"exposure"}),
        ({"steps": {"image3": {"tweakreg": {"minobj": 9}}}}, {"align"}),
        ({"steps": {"image3": {"skyvar": {"per_amplifier": True}}}}, {"outlier"}),
        ({"steps": {"image3": {"outlier_detection": {"snr": "9.0 8.0"}}}}, {"outlier"}),
        ({"steps": {"image3": {"resample": {"pixfrac": 0.8}}}}, {"mosaic"}),
        ({"steps": {"image3": {"mosaic_background": {"box_size": 30}}}}, {"background"}),
        ({"pixel_scale": 0.04}, {"mosaic"}),
        ({"cores": 3, "memory": 5.0, "on": "slurm", "partition": "x", "retries": 4}, set()),
    ],
)
def test_a_parameter_counts_for_its_stage_alone(out, values, stages):
    """What follows is done again since it reads the products."""
    plan, other = make_plan(out), make_plan(out, **values)
    found = changed(plan, other)
    assert {name.partition("/")[0] for name in found} == stages
    assert found == {name for name in plan.tasks if name.partition("/")[0] in stages}


def write_overrides(path, rows):
    table = Table(
        rows=[(name, *values) for name, values in rows.items()],
        names=["exposure", "wisp_scale", "skip_wispsub"],
    )
    table.write(path, overwrite=True)
    return path


def test_a_changed_row_of_the_overrides_counts_for_its_exposure_alone(out, tmp_path):
    names = [exposure.name for exposure in make_exposures(out / "uncal")]
    rows = dict.fromkeys(names, (0.5, False))
    table = write_overrides(tmp_path / "table.ecsv", rows)
    plan = make_plan(out, overrides=table)
    again = make_plan(out, overrides=write_overrides(table, dict(reversed(rows.items()))))
    assert changed(plan, again) == set()
    other = make_plan(out, overrides=write_overrides(table, rows | {names[7]: (0.6, False)}))
    task = f"exposure/{names[7]}"
    assert changed(plan, other) == {task}
    difference = changed_settings(plan.tasks[task].settings, other.tasks[task].settings)
    assert difference == "overrides.wisp_scale: 0.5 -> 0.6"
    none = make_plan(out)
    assert changed(plan, none) == {f"exposure/{name}" for name in names}


def test_wisp_templates_are_inputs_of_the_exposures_that_use_them(out, tmp_path):
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "wisps_nrca3_F200W.fits").touch()
    (folder / "wisps_nrca3_F200W_1.fits").touch()
    plan = make_plan(out, wisp_templates=folder)
    used = {task.key: task.inputs[1:] for task in stage(plan, "exposure") if task.inputs[1:]}
    assert len(used) == 8
    assert all("nrca3" in name and "_03101_" in name for name in used)
    assert set(used.values()) == {
        tuple(str(folder / f"wisps_nrca3_F200W{end}.fits") for end in ("", "_1"))
    }
    # where a detector has wisps and no template is found, the step is tried: it says what lacks
    steps = {task.key: task.arguments["steps"] for task in stage(plan, "exposure")}
    assert all(
        ("wispsub" in names) == (name.endswith(("nrca3", "nrcb4")) and "_03101_" in name)
        for name, names in steps.items()
    )


def test_templates_that_are_parameters_of_the_step_are_inputs(out, tmp_path):
    folder = tmp_path / "templates"
    folder.mkdir()
    mine = folder / "mine.fits"
    for path in (mine, folder / "wisps_nrca3_F200W.fits"):
        path.touch()
    for parameters, used in (
        ({"templates": [str(mine)]}, mine),
        ({"template_dir": str(folder)}, folder / "wisps_nrca3_F200W.fits"),
    ):
        plan = make_plan(out, steps={"detector1": {"wispsub": parameters}})
        inputs = {task.key: task.inputs for task in stage(plan, "exposure")}
        key = next(key for key in inputs if "nrca3" in key and "_03101_" in key)
        assert str(used) in inputs[key]
        # it is read by detectors with wisps only
        assert len(plan.tasks[f"exposure/{key}"].arguments["steps"]) == 3
        other = plan.tasks[f"exposure/{key.replace('nrca3', 'nrca1')}"]
        assert "wispsub" not in other.arguments["steps"]


def test_templates_of_the_package_are_inputs_too(out, wisp_package):
    plan = make_plan(out)
    used = {task.key: task.inputs[1:] for task in stage(plan, "exposure") if task.inputs[1:]}
    files = {name for inputs in used.values() for name in inputs}
    assert str(wisp_package / "nrca3" / "nrca3_f200w_wisp.fits.gz") in files
    assert all(name.startswith(str(wisp_package)) for name in files)


def test_steps_that_are_left_out_are_not_counted(out, tmp_path):
    names = [exposure.name for exposure in make_exposures(out / "uncal")]
    wispy = [name for name in names if name.endswith("nrcb4") and "_03101_" in name]
    table = write_overrides(tmp_path / "t.ecsv", {wispy[0]: (np.nan, True)})
    assert make_plan(out).counts()["wispsub"] == 16
    assert make_plan(out, overrides=table).counts()["wispsub"] == 15
    steps = {"detector1": {"snowball": {"skip": True}}}
    counts = make_plan(out, steps=steps).counts()
    assert (counts["snowball"], counts["remstriping"]) == (0, 80)


def test_catalogues_are_inputs_unless_they_come_from_the_network(out, tmp_path):
    catalog = tmp_path / "catalog.ecsv"
    Table({"RA": [214.9], "DEC": [52.9]}).write(catalog)
    plan = make_plan(out, reference_catalog=catalog)
    assert all(task.inputs == (str(catalog),) for task in stage(plan, "align"))
    gaia = make_plan(out, reference_catalog=type(catalog)("GAIADR3"))
    assert all(task.inputs == () for task in stage(gaia, "align"))
    assert all(task.settings["catalog"] == "GAIADR3" for task in stage(gaia, "align"))


def test_tables_of_alignment_are_read_before_the_work(out, tmp_path):
    first = make_exposures(out / "uncal")[0]
    visit = f"jw{first.program}{first.observation}{first.visit}"
    table = tmp_path / "t.csv"
    table.write_text(
        f"visit,filter,minobj\n{visit},{first.filter},7\njw09999001001,{first.filter},7\n"
    )
    (note,) = [n for n in make_plan(out, alignment_table=table).notes if "match no exposure" in n]
    assert note == f"warning: 1 row(s) of {table} match no exposure: jw09999001001 {first.filter}"
    broken = tmp_path / "broken.csv"
    broken.write_text("a,b\n1,2\n")
    for name in ("alignment_table", "reference_catalog"):
        with pytest.raises(CeersError, match=r"broken\.csv: no column"):
            make_plan(out, **{name: broken})
    # and are not where they are not used
    make_plan(out, alignment_table=broken, steps={"image3": {"tweakreg": {"skip": True}}})


# -- memory and time


@pytest.mark.parametrize(
    ("size", "groups", "integrations", "measured"),
    [
        (7_424_640, 9, 1, 883),
        (75_551_040, 9, 1, 1134),
        (9_884_160, 12, 1, 1021),
        (16_436_160, 5, 4, 1040),
        (75_551_040, 9, 2, 2505),
    ],
)
def test_exposures_get_more_memory_than_was_measured(
    tmp_path, size, groups, integrations, measured
):
    path = tmp_path / "jw_uncal.fits"
    with path.open("wb") as stream:
        stream.truncate(size)
    counts = {"n_integrations": integrations, "n_groups": groups}
    memory, _ = estimates.exposure(path, **counts)
    assert 1.15 * measured < memory < 1.6 * measured
    assert estimates.exposure(path, instrument="MIRI", **counts)[0] >= memory


def test_estimates_grow_with_the_data(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, 10**6), (large, 10**8)):
        with open(path, "wb") as stream:
            stream.truncate(size)
    assert estimates.exposure(small) < estimates.exposure(large)
    # not there yet: a full frame is assumed
    assert estimates.exposure(tmp_path / "none")[0] > estimates.exposure(small)[0]
    assert estimates.align(4)[1] < estimates.align(40)[1]
    assert estimates.outlier(4)[1] < estimates.outlier(40)[1]
    assert estimates.tile(1000, 4) < estimates.tile(4000, 4)
    # exposures of the long channel have pixels of twice the size
    assert estimates.magnification("F277W", 0.03) > 4 * estimates.magnification("F200W", 0.03)
    assert estimates.tile(1000, 4, 4.0) > estimates.tile(1000, 4, 1.0)
    assert estimates.background((1000, 1000), 3) < estimates.background((5000, 5000), 3)


def test_a_mosaic_in_tiles_takes_the_memory_of_a_tile():
    """The context image alone has 22 planes for 690 exposures."""
    shape = (46200, 15400)
    assert estimates.mosaic(shape, 690, 0)[0] > 60_000
    assert estimates.mosaic(shape, 690, 4000)[0] < 4000
    assert estimates.tile(4000, 690)[0] < 5000


# -- raw files


def test_exposures_are_found_in_folders_patterns_and_files(tmp_path):
    for number in (1, 2, 3):
        name = f"jw01345001001_02201_0000{number}_nrcb4_uncal.fits"
        write_file(tmp_path / f"night {number} [a]", name, square(0, 0, 64))
    write_file(tmp_path / "night 1 [a]", "jw01345001001_02201_00001_nrcb4_rate.fits")

    def found(*inputs):
        config = SurveyConfig(None, tuple(tmp_path / name for name in inputs), tmp_path / "out")
        found = find_exposures(config)
        return [exposure.name[20:25] for exposure in found.exposures], found.notes

    assert found("night 2 [a]") == (["00002"], ())
    assert found("night*", "night 2 [a]") == (
        ["00001", "00002", "00003"],
        ("left out, being no *_uncal.fits: 1 *_rate",),
    )
    assert found("**/*_uncal.fits")[0] == ["00001", "00002", "00003"]
    with pytest.raises(CeersError, match=r"no file is named like .*day\*"):
        found("day*")
    with pytest.raises(CeersError, match="does not exist"):
        found("day")


# -- CEERS DR0.5: 690 names, no files


@pytest.fixture(scope="module")
def dr05(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dr05")
    config = SurveyConfig(
        None, (folder / "uncal",), folder / "out", preset="dr05", wcs_dir=folder / "tweakreg_wcs"
    )
    return build_plan(config, plan_exposures(POINTINGS, folder / "uncal", "uncal"))


def test_published_steps_are_applied_to_the_published_exposures(dr05):
    assert dr05.counts() == {
        "detector1": 690,
        "snowball": 690,
        "wispsub": 132,
        "remstriping": 690,
        "image2": 690,
        "update_wcs": 690,
        "skyvar": 690,
    }
    table = Table.read(parameter_files_dir() / "dr05" / "exposures.ecsv")
    with_wisps = set(table["exposure"][~table["skip_wispsub"]])
    assert with_wisps == {
        task.key for task in stage(dr05, "exposure") if "wispsub" in task.arguments["steps"]
    }
    scales = {row["exposure"]: row["wisp_scale"] for row in table}
    for task in stage(dr05, "exposure"):
        row = task.settings["overrides"]
        if task.key in with_wisps:
            assert row["wisp_scale"] == scales[task.key]
        assert "mask_threshold" in row
    assert not stage(dr05, "align")


def test_published_mosaics_have_the_published_members(dr05):
    for kind in ("outlier", "mosaic"):
        found = {
            task.key: len(task.arguments["exposures"])
            for task in stage(dr05, kind)
            if not task.key.startswith("epoch1")
        }
        assert found == {
            f"{pointing}_{band.lower()}": count
            for pointing, bands in PUBLISHED.items()
            for band, count in bands.items()
        }
    epoch = {
        task.key: len(task.arguments["exposures"])
        for task in stage(dr05, "mosaic")
        if task.key.startswith("epoch1")
    }
    total = sum((Counter(bands) for bands in PUBLISHED.values()), Counter())
    assert epoch == {f"epoch1_{band.lower()}": count for band, count in total.items()}
    assert sum(epoch.values()) == 690
    assert [task.key for task in stage(dr05, "background")] == [*PUBLISHED, "epoch1"]


def test_published_grids_and_WCS(dr05):
    for task in stage(dr05, "mosaic"):
        grid = find_grid(task.arguments["group"], "x")
        assert task.settings["grid"] == grid.parameters()
        assert task.settings["grid"]["pixel_scale"] == 0.03
    for task in stage(dr05, "outlier"):
        folder = dr05.output.parent / "tweakreg_wcs"
        names = task.arguments["exposures"]
        assert task.inputs == tuple(str(folder / f"{name}_tweakreg.asdf") for name in names)


def test_published_parameters(dr05):
    exposure = stage(dr05, "exposure")[0].settings
    assert exposure["detector1"]["remstriping"]["method"] != "wiener"
    assert exposure["detector1"]["snowball"]["method"] == "ceers"
    outlier = dr05.tasks["outlier/nircam1_f200w"].settings["image3"]
    assert outlier["skyvar"]["sky_method"] == "gaussian"
    assert outlier["skyvar"]["variance_method"] == "published"
    assert outlier["outlier_detection"]["snr"] == "5.0 4.0"
    background = dr05.tasks["background/nircam2"].settings["mosaic_background"]
    assert background["method"] == "published"


def test_the_mosaics_of_the_epoch_are_made_in_tiles_after_all_pointings(dr05):
    assert {task.key.partition("_")[0] for task in stage(dr05, "tile")} == {"epoch1"}
    tile = next(task for task in stage(dr05, "tile") if task.key.startswith("epoch1_f444w"))
    assert tile.after == tuple(f"outlier/{pointing}_f444w" for pointing in PUBLISHED)
    assert "tile_size" not in tile.settings["resample"]


def test_the_users_parameters_win_over_the_published_ones(dr05):
    config = SurveyConfig(
        None,
        (dr05.output.parent / "uncal",),
        dr05.output,
        preset="dr05",
        wcs_dir=dr05.output.parent / "tweakreg_wcs",
        tile_size=5000,
        steps={"image3": {"skyvar": {"sky_method": "mode"}, "resample": {"pixfrac": 0.7}}},
    )
    plan = build_plan(config, plan_exposures(POINTINGS, config.inputs[0], "uncal"))
    skyvar = plan.tasks["outlier/nircam1_f200w"].settings["image3"]["skyvar"]
    assert (skyvar["sky_method"], skyvar["variance_method"]) == ("mode", "published")
    mosaic = plan.tasks["mosaic/nircam1_f200w"]
    assert mosaic.settings["resample"]["pixfrac"] == 0.7
    assert {tuple(plan.tasks[name].settings["tile"]) for name in mosaic.after} == {
        (0, 0),
        (0, 1),
        (0, 2),
    }


def test_other_data_cannot_be_reduced_as_published(out, tmp_path):
    with pytest.raises(CeersError, match="nircam1"):
        make_plan(out, preset="dr05", wcs_dir=tmp_path)


def test_one_pointing_needs_no_epoch(tmp_path):
    exposures = [
        each for each in plan_exposures(POINTINGS, tmp_path, "uncal") if each.pointing == "nircam3"
    ]
    config = SurveyConfig(None, (tmp_path,), tmp_path / "out", preset="dr05", wcs_dir=tmp_path)
    plan = build_plan(config, exposures[:-1])
    assert [task.key for task in stage(plan, "background")] == ["nircam3"]
    # what lacks of the published exposures is told
    assert any(note.startswith("incomplete") for note in plan.notes)


def test_instruments_have_mosaics_of_their_own(tmp_path):
    """Other instruments get none of our corrections, which is said; no product is shared."""
    exposures = make_exposures(tmp_path, dithers=2, pointings=1)
    nircam = [each for each in exposures if each.detector == "NRCB4" and each.filter == "F115W"]
    others = [
        replace(each, name=each.name.replace("nrcb4", name.lower()), detector=name, filter=band)
        for name, band in (("MIRIMAGE", "F770W"), ("NIS", "F115W"))
        for each in nircam
    ]
    plan = make_plan(tmp_path / "out", exposures=sorted([*nircam, *others], key=lambda e: e.name))
    steps = {
        task.arguments["detector"]: task.arguments["steps"]
        for task in plan.tasks.values()
        if task.stage == "exposure"
    }
    assert "remstriping" in steps["NRCB4"]
    assert steps["MIRIMAGE"] == steps["NIS"] == []
    outputs = [path for task in plan.tasks.values() for path in task.outputs]
    assert len(outputs) == len(set(outputs))
    assert sum(path.endswith("_i2d.fits") for path in outputs) == 3
    assert not any("1fmask" in path and "nrcb4" not in path for path in outputs)
    for name in ("MIRI", "NIRISS"):
        (note,) = (note for note in plan.notes if f"of {name}:" in note)
        assert note.startswith("2 exposure(s)")
        assert "snowball, wispsub and remstriping are SKIPPED" in note
    steps = {"detector1": {"remstriping": {"other_instruments": True}}}
    plan = make_plan(tmp_path / "out", exposures=others, steps=steps)
    assert all("snowball and wispsub are SKIPPED" in note for note in plan.notes[:2])
