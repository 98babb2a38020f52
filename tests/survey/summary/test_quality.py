"""What is unusual among exposures like it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.files.metrics import METRICS
from ceers_steps.survey.planning.records import Record
from ceers_steps.survey.summary.quality import (
    ENOUGH,
    LIMIT,
    QUANTITIES,
    gather_quality,
    mark_outliers,
    too_few,
)
from tests.survey.madeup import make_plan

NAN = np.nan


def mark(values, errors=None, filters=None, detectors=None):
    values = np.array(values, dtype=float)
    n = len(values)
    errors = np.full(n, NAN) if errors is None else np.array(errors, dtype=float)
    marked = mark_outliers(values, errors, filters or ["F200W"] * n, detectors or ["NRCA1"] * n)
    return np.flatnonzero(marked).tolist()


def test_one_far_from_the_others_is_marked():
    values = np.random.default_rng(1).normal(10, 1, 30)
    assert mark(values) == []
    values[7] += 2 * LIMIT
    assert mark(values) == [7]
    # its own uncertainty explains it
    assert mark(values, np.where(np.arange(30) == 7, 10.0, NAN)) == []


def test_detectors_are_compared_with_themselves_and_filters_are_not_mixed():
    # two detectors of different level, and one value of the one that belongs to the other
    values = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 3.0, 3.0, 3.02, 2.98, 3.01, 2.99, 3.01]
    detectors = ["NRCA1"] * 7 + ["NRCB1"] * 6
    assert mark(values, detectors=detectors) == [6]
    filters = ["F115W"] * 6 + ["F200W"] * 7
    assert mark(values, detectors=detectors, filters=filters) == []


def test_few_of_a_detector_are_compared_with_all_of_the_filter():
    values = [5.0, 5.1, 4.9, 5.05, 4.95, 5.0, 5.1, 9.0]
    assert mark(values, detectors=[f"NRC{i}" for i in range(8)]) == [7]
    assert mark(values[-ENOUGH + 1 :]) == []  # too few to say


def test_unknown_values_are_neither_compared_nor_marked():
    values = [1.0, NAN, 1.01, 0.99, NAN, 1.02, 0.98, 1.0, NAN]
    assert mark(values) == []
    assert mark([NAN] * 10) == []
    assert mark([]) == []


def test_values_that_are_all_the_same():
    assert mark([0.25] * 10) == []
    assert mark([0.25] * 10 + [0.2500001]) == []
    assert mark([0.25] * 10 + [0.26]) == [10]


@settings(deadline=None, max_examples=60)
@given(
    # no subnormal numbers, which even a factor of two rounds
    st.lists(
        st.floats(-3, 3).map(lambda v: v if abs(v) > 1e-300 else 0.0), min_size=ENOUGH, max_size=30
    ),
    st.floats(0.01, 100),
    st.randoms(use_true_random=False),
)
def test_marks_do_not_depend_on_order_or_scale(values, factor, random):
    values = np.array(values)
    order = list(range(len(values)))
    random.shuffle(order)
    marked = mark(values)
    assert sorted(order[i] for i in mark(values[order])) == marked
    # a power of two leaves no room for rounding
    assert mark(values * 2.0 ** round(np.log2(factor))) == marked


def record_of(task, metrics):
    return Record(task.id, {}, {}, {}, {}, {}, {}, "x", metrics=metrics)


@pytest.fixture
def plan(tmp_path):
    return make_plan(tmp_path)


def test_figures_of_all_stages_stand_in_the_row_of_their_exposure(plan):
    tasks = plan.tasks
    align = tasks["align/jw02736001001_f200w"]
    outlier = tasks["outlier/jw02736001_f200w"]
    name = align.arguments["exposures"][3]
    exposure = tasks[f"exposure/{name}"]
    records = {
        exposure.id: record_of(
            exposure,
            {
                name: {
                    "ceers_snowball": {"n_events": 12},
                    "ceers_wispsub": {"scale": [0.5, 0.7], "scale_err": [0.1, 0.1]},
                    "ceers_remstriping": {"stripe_rms": 0.002},
                }
            },
        ),
        align.id: record_of(
            align,
            {
                name: {
                    "ceers_align": {
                        "relative_status": "COMPLETE",
                        "relative_n_matched": 30,
                        "relative_rmse": 8.5,
                        "absolute_status": "FAILED",
                    }
                }
            },
        ),
        outlier.id: record_of(
            outlier, {name: {"ceers_skyvar": {"sky": 0.2, "variance_factor": 1.1}}}
        ),
    }
    table = gather_quality(plan, records).table
    assert len(table) == 80
    (row,) = table[table["exposure"] == name]
    assert (row["filter"], row["detector"]) == ("F200W", name.rpartition("_")[2].upper())
    expected = {"snowballs": 12, "wisp_scale": 0.6, "stripe_rms": 0.002, "sky": 0.2}
    expected |= {"variance_factor": 1.1, "relative_matches": 30, "relative_rms": 8.5}
    assert {key: float(row[key]) for key in expected} == pytest.approx(expected)
    assert row["absolute_rms"] is np.ma.masked
    assert (row["alignment"], row["outlier"]) == ("FAILED", "alignment")
    others = table[table["exposure"] != name]
    assert all(others["sky"].mask)
    assert set(others["outlier"]) == {""}


@pytest.mark.parametrize(
    ("relative", "absolute", "status", "marked"),
    [
        ("COMPLETE", "COMPLETE", "COMPLETE", False),
        ("COMPLETE", None, "COMPLETE", False),
        (None, "COMPLETE", "COMPLETE", False),
        ("CATALOGUE ONLY", "COMPLETE", "CATALOGUE ONLY", False),
        ("FAILED", "COMPLETE", "CATALOGUE ONLY", False),  # as it was written before
        ("FAILED", "BORROWED", "BORROWED", True),
        ("COMPLETE", "FAILED", "FAILED", True),
        ("FAILED", None, "FAILED", True),
        ("SKIPPED", None, "SKIPPED", False),
        (None, None, "", False),
    ],
)
def test_one_status_says_how_the_alignment_ended(plan, relative, absolute, status, marked):
    """What is aligned to the catalogue is well placed, whatever came before."""
    align = plan.tasks["align/jw02736001001_f200w"]
    name = align.arguments["exposures"][0]
    fits = {"relative": relative, "absolute": absolute}
    found = {f"{fit}_status": value for fit, value in fits.items() if value}
    records = {align.id: record_of(align, {name: {"ceers_align": found}})}
    quality = gather_quality(plan, records)
    row = list(quality.table["exposure"]).index(name)
    assert quality.table["alignment"][row] == status
    assert bool(quality.unusual["alignment"][row]) == marked


def test_a_survey_without_exposures_has_an_empty_table(plan):
    empty = type(plan)(plan.output, {}, plan.versions)
    assert len(gather_quality(empty, {}).table) == 0


@pytest.mark.parametrize(
    ("step", "key", "usual", "strange"),
    [
        ("ceers_skyvar", "variance_factor", 1.15, 1.42),
        ("ceers_remstriping", "noise_scale", 1.08, 1.8),
        ("outlier_detection", "outlier_fraction", 0.001, 0.1),
    ],
)
def test_two_exposures_are_enough_for_absolute_limits(plan, step, key, usual, strange):
    tasks = [task for task in plan.tasks.values() if task.stage == "exposure"][:2]
    values = dict(zip([task.key for task in tasks], (usual, strange), strict=True))
    records = {
        task.id: record_of(task, {task.key: {step: {key: values[task.key]}}}) for task in tasks
    }
    few = type(plan)(plan.output, {task.id: task for task in tasks}, plan.versions)
    records = {name: records[name] for name in few.tasks}
    table = gather_quality(few, records).table
    assert list(table["outlier"]) == ["", key]


def test_it_is_said_when_there_are_too_few_to_compare():
    assert too_few(["F200W"] * ENOUGH) == ""
    line = too_few(["F200W"] * ENOUGH + ["F444W"] * 4 + ["F115W"])
    assert line.startswith(f"Fewer than {ENOUGH} exposures in F115W (1), F444W (4): ")


def test_every_column_is_a_metric_of_that_name(plan):
    table = gather_quality(plan, {}).table
    metrics = {metric.name: metric for metric in METRICS}
    for quantity in QUANTITIES:
        assert str(table[quantity.name].unit or "") == metrics[quantity.name].unit
        assert not quantity.error or quantity.error == "sqrt" or quantity.error in metrics
