"""The picture of a plan: a row for each mosaic, a box a stage."""

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.graph import draw_plan, layout
from tests.survey.madeup import make_plan

pytest.importorskip("matplotlib")


def test_boxes_count_what_is_to_do(tmp_path):
    plan = make_plan(tmp_path, tile_size=2000)
    exposures = plan.tasks["outlier/jw02736001_f200w"].arguments["exposures"]
    todo = [f"exposure/{name}" for name in exposures[:3]]
    todo += ["align/jw02736001001_f200w", "background/jw02736001"]
    boxes, links = layout(plan, dict.fromkeys(todo, "why"))
    tiles = len(plan.tasks["mosaic/jw02736001_f200w"].after)
    assert boxes["exposure", 1] == ("exposures", 3, 16)
    assert boxes["align", 1] == ("jw02736001001_f200w", 1, 1)
    assert boxes["tile", 1] == ("tiles", 0, tiles)
    assert boxes["mosaic", 1] == ("jw02736001_f200w", 0, 1)
    # the background stands in the middle of its mosaics
    assert boxes["background", 1.0] == ("jw02736001", 1, 1)
    assert boxes["background", 4.0] == ("jw02736002", 0, 1)
    assert len(boxes) == 5 * 6 + 2
    assert (("mosaic", 2), ("background", 1.0)) in links
    assert (("exposure", 1), ("align", 1)) in links


def test_several_visits_share_a_box(tmp_path):
    boxes, _ = layout(make_plan(tmp_path, by="program"), {})
    assert boxes["align", 0] == ("visits", 0, 2)
    assert boxes["exposure", 0] == ("exposures", 0, 32)


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_pictures(tmp_path, ending, start):
    plan = make_plan(tmp_path)
    path = draw_plan(plan, dict.fromkeys(plan.tasks, "why"), tmp_path / f"plan.{ending}")
    data = path.read_bytes()
    assert data.startswith(start)
    if ending == "svg":
        assert b"jw02736002" in data


def test_a_kind_of_picture_that_is_unknown(tmp_path):
    with pytest.raises(CeersError, match=r"\.png, \.svg or \.pdf"):
        draw_plan(make_plan(tmp_path), {}, tmp_path / "plan.txt")
