"""What the page of an exposure shows of each step: made of what the steps leave, and of no more."""

import json
import re
import shutil

import numpy as np
import pytest

from ceers_steps.figures.looks import keep_look, keep_looks, read_looks
from ceers_steps.kernels.wisps.fit import WispFit
from ceers_steps.kernels.wisps.subtract import WispSubtraction
from ceers_steps.report.charts import Chart, outlines
from ceers_steps.report.details import read_details
from ceers_steps.report.parameters import in_force
from ceers_steps.report.pictures import make_pictures
from ceers_steps.steps import looks as steps_looks
from tests.report.left import NAME, NOISE, image_model, leave_looks


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    folder = tmp_path_factory.mktemp("looks")
    return folder, leave_looks(folder)


@pytest.fixture
def looks(left):
    folder, truth = left
    return read_looks(folder, NAME), truth


def numbers(svg, kind):
    return [
        float(n) for n in re.findall(r"-?[\d.]+", re.search(rf'{kind}" points="(.*?)"', svg)[1])
    ]


def test_pictures_between_corrections_are_what_was_there(looks):
    kept, truth = looks
    step = NOISE / 16
    np.testing.assert_allclose(kept["rate"].picture("image"), truth["rate"], atol=0.6 * step)
    for kind in ("wisp", "stripes"):
        removed = kept[kind].picture("removed")
        # each is rounded in the noise that its step sees, of which stripes are a part
        np.testing.assert_allclose(removed, truth[kind], atol=5 * step)
    pictures = make_pictures({}, kept)
    assert [title for title, _ in pictures.states] == ["before wisps", "before stripes", "rate"]
    for (title, _, said), kind in zip(pictures.removed, ("wisp", "stripes"), strict=True):
        assert title.startswith(f"before {kind.removesuffix('s')}s minus")
        numbers_said = re.fullmatch(r"Black: (\S+), white: (\S+) DN/s\.", said).groups()
        least, most = np.percentile(truth[kind], [0.5, 99.5])
        assert float(numbers_said[0]) == pytest.approx(least, abs=0.05 * (most - least) + 6 * step)
        assert float(numbers_said[1]) == pytest.approx(most, abs=0.05 * (most - least) + 6 * step)
    assert (pictures.wisp["scale"], pictures.wisp["taken"]) == (0.4, 0.4)


def test_nothing_is_kept_outside_and_what_is_damaged_is_left_out(tmp_path, left):
    shutil.copytree(left[0], tmp_path, dirs_exist_ok=True)
    keep_look(NAME, "more", facts={"a": 1})
    assert not (tmp_path / NAME / "more.npz").exists()
    (tmp_path / NAME / "sky.npz").write_bytes(b"damaged")
    kept = read_looks(tmp_path, NAME)
    assert "wisp" in kept
    assert "sky" not in kept
    assert read_details(kept).sky is None
    assert read_details({}).snowballs is None
    del kept["wisp"].facts["scales"]
    assert read_details(kept).wisp is None


def test_curve_of_the_wisp_has_its_least_value_at_the_scale_and_an_error(looks):
    details = read_details(looks[0])
    points = np.reshape(numbers(details.wisp.svg, "curve"), (-1, 2))
    lowest = points[points[:, 1].argmax(), 0]  # y runs down
    (taken, *_) = numbers(details.wisp.svg, "taken")
    assert lowest == pytest.approx(taken, abs=440 / 31)
    assert 'class="error"' in details.wisp.svg
    assert "0.400 ± 0.020" in details.wisp.caption
    assert details.scales == [("1", "0.400", "0.020")]


def test_the_fit_of_the_sky_follows_its_histogram(looks):
    look = looks[0]["sky"]
    assert look.facts["what"] == "means of 8 x 8 pixels"
    # 256 blocks: the width is known to 4%, here within 5 sigma
    assert look.facts["sigma"] == pytest.approx(NOISE / 8, rel=0.25)
    assert look.arrays["counts"].sum() == 256
    fit = np.reshape(numbers(read_details(looks[0]).sky.svg, "fit"), (-1, 2))
    assert fit[fit[:, 1].argmin(), 0] == pytest.approx(numbers(
        read_details(looks[0]).sky.svg, "taken")[0], abs=440 / 120)  # fmt: skip


def test_matches_are_shown_though_the_alignment_failed(looks):
    details = read_details(looks[0])
    assert details.alignment_note == "FAILED: no reference"
    vectors, cloud = details.alignment
    assert vectors.svg.count("L") == 9
    assert "8 matches in the fit (blue), 1 clipped" in vectors.caption
    assert len(re.findall(r"M[\d. ]+h0", cloud.svg)) == 9
    titles, rows = details.alignment_rows
    assert dict(zip(titles, rows[0], strict=True))["rms, mas"] == "21.5"
    assert "shift x, mas" not in titles  # not known


def test_snowballs_are_outlined_where_they_were_flagged(looks):
    snowballs = read_details(looks[0]).snowballs
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", snowballs.halos), float)
    # a disc of 20 around x 100, y 30 from the bottom of 128 rows; polygons to half a pixel
    radius = np.hypot(points[:, 0] - 100.5, points[:, 1] - (128 - 30.5))
    np.testing.assert_allclose(radius, 20, atol=1.2)
    (core,) = snowballs.cores
    assert core[:3] == (100.5, 97.5, 5.0)
    assert "group 3, x 100, y 30" in core[3]
    assert snowballs.rows == [("1", "3", "100", "30", "5.0", "20.0", "yes")]
    assert len(snowballs.cutouts) == 1


def test_where_parameters_came_from(looks):
    given = {
        "values": {"wisp_templates": ["/t", "survey.toml"]},
        "steps": [
            ["detector1", "wispsub", "method", "lsq", "command line (--set)"],
            ["detector1", "jump", "rejection_threshold", 4.0, "parameter file detector1.asdf"],
        ],
        "overrides": "overrides.ecsv",
        "rows": {NAME: {"wisp_scale": 0.5}},
    }
    rows = {(step, name): (value, origin) for step, name, value, origin in
            in_force(looks[0], given, NAME)}  # fmt: skip
    assert rows["wispsub", "scale"][1] == "overrides, overrides.ecsv"
    assert rows["wispsub", "method"] == ("lsq", "command line (--set)")
    assert rows["jump", "rejection_threshold"] == ("4", "parameter file detector1.asdf")
    other = in_force(looks[0], given, "jw01345001001_02105_00002_nrcb4")
    assert ("wispsub", "scale", "none", "default") in other
    assert in_force({}, {"steps": "damaged", "rows": 3}, NAME) == []


def test_the_template_is_there_where_nothing_was_subtracted(tmp_path):
    random = np.random.default_rng(2)
    template = np.zeros((1, 80, 80))
    template[0, 20:60, 20:60] = 1.0
    fit = WispFit.by_hand(0.0)
    with keep_looks(tmp_path):
        model = image_model(random.normal(0, 1, (64, 64)))
        none = WispSubtraction((fit,), (False,), None)
        steps_looks.keep_wisp(model, none, template, (16, 16))
        steps_looks.keep_rate(model)
    kept = read_looks(tmp_path, NAME)
    np.testing.assert_allclose(kept["wisp"].picture("template"), template[0, 16:, 16:], atol=0.1)
    wisp = make_pictures({}, kept).wisp
    assert (wisp["scale"], wisp["taken"]) == (1.0, 0.0)
    assert json.dumps(kept["wisp"].facts["scale_errs"]) == "[null]"


def test_charts_take_any_numbers_and_escape_texts():
    chart = Chart((1.0, 1.0), (np.nan, np.nan), ("<x>", "y"))
    chart.points(np.array([5.0]), np.array([0.0]), "used")
    chart.upright(1.0, "taken", "<b>")
    svg = chart.svg('a "title"')
    assert "&lt;x&gt;" in svg
    assert "<b>" not in svg
    assert "nan" not in svg
    assert outlines(np.zeros((4, 4), bool)) == ""
