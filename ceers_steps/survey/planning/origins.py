"""A note on the parameters of a survey, and where each came from, for its report."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import plain_values
from ceers_steps.report.parameters import PARAMETERS
from ceers_steps.survey.config.presets import PRESETS, read_preset
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning.plan import Plan

__all__ = ["remember_parameters"]

SKIPPED = {"mosaic"}
"""Of a preset: it is of groups, not of exposures."""


def remember_parameters(plan: Plan, config: SurveyConfig) -> Path:
    """Write which parameters were given, and where.

    Parameters
    ----------
    plan
        The plan.
    config
        Of which it was made.

    Returns
    -------
    Path
        The note.
    """
    exposures = [task for task in plan.tasks.values() if task.stage == "exposure"]
    rows = {task.key: task.settings.get("overrides", {}) for task in exposures}
    tables = [text for task in exposures if (text := task.arguments.get("overrides"))]
    note = {
        "values": {
            name: [_value(config, name), origin]
            for name, origin in config.origins.items()
            if "." not in name
        },
        "steps": list(_steps(config)),
        "overrides": Path(tables[0]).name if tables else "",
        "rows": {name: row for name, row in rows.items() if row},
    }
    text = json.dumps(plain_values(note), indent=1, default=str)
    return write_atomic(plan.output / PARAMETERS, lambda scratch: scratch.write_text(text))


def _steps(config: SurveyConfig) -> Iterator[list[Any]]:
    """Return pipeline, step, name, value and origin of every parameter that was given."""
    for pipeline, name in PRESETS[config.preset].items():
        if pipeline in SKIPPED:
            continue
        for step, parameters in read_preset(name).items():
            place, step_name = ("image3", "skyvar") if pipeline == "skyvar" else (pipeline, step)
            mine = config.steps.get(place, {}).get(step_name, {})
            for key, value in parameters.items():
                if key not in mine:
                    yield [place, step_name, key, value, f"parameter file {name}.asdf"]
    for pipeline, steps in config.steps.items():
        for step, parameters in steps.items():
            for key, value in parameters.items():
                origin = config.origins.get(f"{pipeline}.{step}.{key}", "survey file")
                yield [pipeline, step, key, value, origin]


def _value(config: SurveyConfig, name: str) -> Any:
    """Return the value of a key, paths as text."""
    value = getattr(config, name)
    return [str(each) for each in value] if isinstance(value, tuple) else value
