"""From a survey to its plan: which tasks there are, what each reads, writes and depends on."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import user_path
from ceers_steps.files.membership import LeftOut, list_left_out
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.files.wisps.templates import AFFECTED_DETECTORS, AFFECTED_FILTERS, find_templates
from ceers_steps.names import INSTRUMENTS
from ceers_steps.survey.config.presets import PRESETS, read_preset, versions
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning import estimates
from ceers_steps.survey.planning.alignment import align_tasks, look_at_tables
from ceers_steps.survey.planning.image_background import (
    image_background_tasks,
    second_pass,
    with_image_background,
)
from ceers_steps.survey.planning.mosaics import (
    Context,
    background_tasks,
    mosaic_tasks,
    outlier_tasks,
)
from ceers_steps.survey.planning.overrides import apply_table, unmatched_rows
from ceers_steps.survey.planning.plan import Plan, Task, files_among, make_task
from ceers_steps.survey.select.associations import Group, group_exposures, incomplete, name_products
from ceers_steps.survey.select.earlier import earlier_exposures
from ceers_steps.survey.select.exposures import Exposure
from ceers_steps.survey.select.grids import Grid, check_size, find_grid, fit_grid
from ceers_steps.survey.select.visits import far_from_visit, list_contradictions, list_far

__all__ = ["build_plan"]

EPOCH = "epoch1"
"""Published grid of all pointings of an epoch, made by the preset ``dr05`` beside the others."""


def build_plan(
    config: SurveyConfig,
    exposures: Sequence[Exposure],
    notes: Iterable[str] = (),
    left_out: Sequence[LeftOut] = (),
) -> Plan:
    """Make the plan of a survey.

    Parameters
    ----------
    config
        The survey.
    exposures
        Its raw exposures.
    notes
        What is known of them already, for `Plan.notes`.
    left_out
        Exposures that are not used, for `Plan.left_out`.

    Returns
    -------
    Plan
        Tasks in an order in which they can be done.

    Raises
    ------
    CeersError
        When a grid, a table or an exposure does not fit the survey.
    """
    names = PRESETS[config.preset]
    presets = {name: read_preset(path) for name, path in names.items() if "{" not in path}
    table = config.overrides
    if table is None and config.preset == "dr05":
        table = parameter_files_dir() / "dr05" / "exposures.ecsv"
    exposures, rows, left_out = apply_table(table, exposures, left_out)
    if config.overrides is not None:  # the published table has exposures of all pointings
        known = {each.name for each in exposures} | {each.name for each in left_out}
        notes = (*notes, *unmatched_rows(config.overrides, rows, known))
    far = far_from_visit(exposures)
    notes = (*notes, *list_far(far), *list_contradictions(exposures))
    groups = _groups(config, exposures)
    context = Context(config, presets, rows)
    chosen = with_image_background(config, groups)
    earlier = earlier_exposures(exposures)
    tasks = [
        _exposure_task(
            context,
            exposure,
            table,
            keep_rate=exposure.name in chosen,
            earlier=earlier.get(exposure.name, []),
            far=far.get(exposure.name, 0.0),
        )
        for exposure in exposures
    ]
    if aligned := align_tasks(config, context.parameters("image3"), exposures, groups):
        tasks += aligned
        notes = (*notes, *look_at_tables(config, exposures))
    mosaics = []
    for group in groups:
        tasks += outlier_tasks(context, group, tasks)
        mosaics.append((group, [group]))
    if config.preset == "dr05" and len(groups) > 1:
        mosaics.append((_epoch(config, groups), groups))
    for group, members in mosaics:
        if "mosaic" in names:
            path = names["mosaic"].format(group=group.name)
            presets = {**presets, "mosaic": read_preset(path)}
        of_group = replace(context, presets=presets)
        tasks += mosaic_tasks(of_group, group, members)
        products = dict(group.products)
        if again := second_pass(context, group, chosen):
            tasks += image_background_tasks(context, again, tasks)
            tasks += outlier_tasks(context, again.group, tasks, second=True)
            tasks += mosaic_tasks(of_group, again.group, [again.group], second=True)
            products |= again.group.products
        tasks += background_tasks(of_group, group, products, tasks)
    notes = (*notes, *_other_instruments(context, exposures), *list_left_out(left_out))
    notes = (*notes, *(f"incomplete: {x}" for x in incomplete(groups)))
    return Plan(
        config.output,
        {task.id: task for task in tasks},
        versions(),
        notes,
        left_out=left_out,
        layout=context.layout,
    )


def _other_instruments(context: Context, exposures: Iterable[Exposure]) -> list[str]:
    """Say which corrections are not made for exposures of other instruments."""
    counts = Counter(exposure.instrument for exposure in exposures)
    remstriping = context.parameters("detector1").get("remstriping", {})
    skipped = ["jump_check", "trapped_charge", "snowball", "wispsub", "remstriping"]
    if remstriping.get("other_instruments") and not remstriping.get("skip"):
        skipped.remove("remstriping")
    listed = f"{', '.join(skipped[:-1])} and {skipped[-1]}"
    return [
        f"{counts[name]} exposure(s) of {name}: {listed} are SKIPPED: they are made for NIRCam"
        for name in INSTRUMENTS
        if counts[name] and name != "NIRCAM"
    ]


def _groups(config: SurveyConfig, exposures: Sequence[Exposure]) -> list[Group]:
    """Group exposures; give every group its grid and the names of its products."""
    template = config.product
    if template and "{group}" not in template:
        template += "_{group}"
    groups = name_products(group_exposures(exposures, config.by), template or None)
    return [replace(group, grid=_grid(config, group)) for group in groups]


def _grid(config: SurveyConfig, group: Group) -> Grid:
    """Return the grid of a group."""
    if config.preset == "dr05" and not config.grid:
        return find_grid(group.name, group.name)
    if config.grid:
        return find_grid(config.grid, group.name)
    polygons = [polygon for exposure in group.exposures for polygon in exposure.footprint]
    if not polygons:
        raise CeersError(
            f"Group {group.name} ({group.exposures[0].name}, ...): no S_REGION, so no grid can be "
            "fitted. Name one with grid (table [grid]), or leave these exposures out (exclude)."
        )
    grid = fit_grid(polygons, pixel_scale=config.pixel_scale)
    return check_size(grid, group.name, len(group.exposures))


def _epoch(config: SurveyConfig, groups: Sequence[Group]) -> Group:
    """Return the group of all exposures on the published grid of the epoch."""
    exposures = tuple(exposure for group in groups for exposure in group.exposures)
    template = f"{config.product}_{{group}}" if config.product else None
    (group,) = name_products([Group(EPOCH, exposures)], template)
    return replace(group, grid=find_grid(EPOCH, EPOCH))


def _exposure_task(
    context: Context,
    exposure: Exposure,
    table: Path | None,
    *,
    keep_rate: bool,
    earlier: list[str],
    far: float,
) -> Task:
    """Return the task of stages 1 and 2 of an exposure."""
    config = context.config
    row = context.rows.get(exposure.name, {})
    detector1 = context.parameters("detector1")
    for name in ("overrides", "save_intermediates"):  # the row counts; what is kept does not
        detector1.get("", {}).pop(name, None)
    steps_of = {"rate": "", "prewisp": "wispsub", "pre1f": "remstriping"}
    made = [key for key, step in steps_of.items() if not detector1.get(step, {}).get("skip")]
    keep = {*config.keep, *(["rate"] if keep_rate else [])}
    products = ["cal", *(name for name in made if name in keep)]
    settings = {"detector1": detector1, "image2": context.parameters("image2"), "overrides": row}
    templates, steps = _steps_of(context, exposure, row)
    if detector1.get("trapped_charge", {}).get("skip"):
        earlier = []
    inputs = [
        str(exposure.path),
        *earlier,
        *templates,
        *files_among(detector1),
        *files_among(settings["image2"]),
    ]
    if "remstriping" in steps:
        products.insert(1, "1fmask")
    memory, seconds = estimates.exposure(
        exposure.path,
        instrument=exposure.instrument,
        n_integrations=exposure.n_integrations,
        n_groups=exposure.n_groups,
    )
    return make_task(
        stage="exposure",
        key=exposure.name,
        inputs=inputs,
        outputs=[context.layout.exposure(name, exposure.name) for name in products],
        settings=settings,
        arguments={
            "uncal": str(exposure.path),
            "overrides": str(table) if table and row else "",
            "wisp_templates": str(config.wisp_templates or ""),
            "earlier_exposures": earlier,
            "steps": steps,
            "filter": exposure.filter,
            "detector": exposure.detector,
            "far_from_visit": far,
            "visit": f"{exposure.program} {exposure.observation} {exposure.visit}",
        },
        memory=memory,
        seconds=seconds,
    )


def _steps_of(
    context: Context, exposure: Exposure, row: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Return the wisp templates of an exposure, and which corrections are made."""
    if exposure.instrument != "NIRCAM":
        return [], []
    detector1 = context.parameters("detector1")
    steps = [
        name
        for name in ("snowball", "wispsub", "remstriping")
        if not (detector1.get(name, {}).get("skip") or row.get(f"skip_{name}"))
    ]
    templates = []
    if "wispsub" in steps:
        wispsub = detector1.get("wispsub", {})
        affected = exposure.detector in AFFECTED_DETECTORS
        if given := wispsub.get("templates"):
            files = [given] if isinstance(given, str) else list(given)
            found = [Path(file) for file in files] if affected else []
        else:
            affected = affected and exposure.filter in AFFECTED_FILTERS
            folder = context.config.wisp_templates or wispsub.get("template_dir")
            found = []
            with contextlib.suppress(
                CeersError
            ):  # reported by the check of references, before a run
                found = find_templates(exposure.detector, exposure.filter, folder)
        templates = [str(user_path(path).absolute()) for path in found]
        if not templates and not affected:
            steps.remove("wispsub")
    return templates, steps
