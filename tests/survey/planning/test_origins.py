"""Where parameters of a survey were given is known, and written down for the report."""

import json

from ceers_steps.report.parameters import PARAMETERS
from ceers_steps.survey.config.settings import load_config
from ceers_steps.survey.planning.build import build_plan
from ceers_steps.survey.planning.origins import remember_parameters
from tests.survey.madeup import make_exposures


def test_the_last_place_that_gave_a_value_is_named(tmp_path):
    survey = tmp_path / "survey.toml"
    survey.write_text(
        "inputs = ['uncal']\noutput = 'out'\n[groups]\nby = 'visit'\n"
        "[detector1.wispsub]\nmin_significance = 4.0\nmethod = 'lsq'\n"
    )
    exposures = make_exposures(tmp_path / "uncal", dithers=1, pointings=1)
    table = tmp_path / "overrides.csv"
    table.write_text(f"exposure,wisp_scale\n{exposures[0].name},0.4\n")
    config = load_config(
        survey,
        options={"overrides": str(table), "by": None},
        settings=["detector1.wispsub.method='lsq'", "image3.skyvar.per_amplifier=true"],
    )
    plan = build_plan(config, exposures)
    path = remember_parameters(plan, config)
    assert path == plan.output / PARAMETERS
    note = json.loads(path.read_text())
    assert note["values"]["by"] == ["visit", "survey.toml"]
    assert note["values"]["overrides"] == [str(table), "command line"]
    assert "keep" not in note["values"]  # a default
    steps = {tuple(row[:3]): row[3:] for row in note["steps"]}
    assert steps["detector1", "wispsub", "min_significance"] == [4.0, "survey.toml"]
    assert steps["detector1", "wispsub", "method"] == ["lsq", "command line (--set)"]
    assert steps["image3", "skyvar", "per_amplifier"] == [True, "command line (--set)"]
    of_files = [row for row in note["steps"] if row[4].startswith("parameter file ")]
    assert {row[0] for row in of_files} >= {"detector1", "image3"}
    assert len(steps) == len(note["steps"])  # each once
    assert note["overrides"] == "overrides.csv"
    assert note["rows"] == {exposures[0].name: {"wisp_scale": 0.4}}
