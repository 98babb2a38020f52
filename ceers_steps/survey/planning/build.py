"""From a survey to its plan: which tasks there are, what each reads, writes and depends on."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import user_path
from ceers_steps.files.membership import LeftOut, list_left_out
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.files.wisps.templates import AFFECTED_DETECTORS, AFFECTED_FILTERS, find_templates
from ceers_steps.survey.config.layout import Layout
from ceers_steps.survey.config.presets import PRESETS, read_preset, versions
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning import estimates
from ceers_steps.survey.planning.alignment import align_tasks, given_wcs
from ceers_steps.survey.planning.overrides import apply_table, unmatched_rows
from ceers_steps.survey.planning.plan import Plan, Task, files_among, make_task
from ceers_steps.survey.select.associations import Group, group_exposures, incomplete, name_products
from ceers_steps.survey.select.exposures import Exposure
from ceers_steps.survey.select.grids import Grid, check_size, find_grid, fit_grid

__all__ = ["build_plan"]

EPOCH = "epoch1"
"""Published grid of all pointings of an epoch, made by the preset ``dr05`` beside the others."""

EXPOSURE_STEPS = ("update_wcs", "skymatch", "outlier_detection", "skyvar")
"""Steps of stage 3 that work on aligned exposures."""


@dataclass(frozen=True)
class _Context:
    """What all makers of tasks need."""

    config: SurveyConfig
    presets: Mapping[str, dict]
    rows: Mapping[str, dict]

    @property
    def layout(self) -> Layout:
        """Where products are."""
        return Layout(self.config.layout)

    def parameters(self, pipeline: str, preset: str | None = None) -> dict:
        """Return the parameters of a pipeline's steps: those of the preset, then the user's."""
        steps = {step: dict(values) for step, values in self.presets[preset or pipeline].items()}
        for step, values in self.config.steps.get(pipeline, {}).items():
            steps.setdefault(step, {}).update(values)
        return {step: values for step, values in steps.items() if values}


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
        notes = (*notes, *unmatched_rows(config.overrides, rows, exposures, left_out))
    groups = _groups(config, exposures)
    context = _Context(config, presets, rows)
    tasks = [_exposure_task(context, exposure, table) for exposure in exposures]
    tasks += align_tasks(config, context.parameters("image3"), exposures, groups)
    mosaics = []
    for group in groups:
        tasks += _outlier_tasks(context, group, tasks)
        mosaics.append((group, [group]))
    if config.preset == "dr05" and len(groups) > 1:
        mosaics.append((_epoch(config, groups), groups))
    for group, members in mosaics:
        if "mosaic" in names:
            path = names["mosaic"].format(group=group.name)
            presets = {**presets, "mosaic": read_preset(path)}
        tasks += _mosaic_tasks(replace(context, presets=presets), group, members)
    notes = (*notes, *list_left_out(left_out), *(f"incomplete: {x}" for x in incomplete(groups)))
    return Plan(
        config.output,
        {task.id: task for task in tasks},
        versions(),
        notes,
        left_out=left_out,
        layout=context.layout,
    )


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


def _exposure_task(context: _Context, exposure: Exposure, table: Path | None) -> Task:
    """Return the task of stages 1 and 2 of an exposure."""
    config = context.config
    row = context.rows.get(exposure.name, {})
    detector1 = context.parameters("detector1")
    for name in ("overrides", "save_intermediates"):  # the row counts; what is kept does not
        detector1.get("", {}).pop(name, None)
    steps_of = {"rate": "", "prewisp": "wispsub", "pre1f": "remstriping"}
    made = [key for key, step in steps_of.items() if not detector1.get(step, {}).get("skip")]
    products = ["cal", *(name for name in made if name in config.keep)]
    settings = {"detector1": detector1, "image2": context.parameters("image2"), "overrides": row}
    templates, steps = _steps_of(context, exposure, row)
    inputs = [
        str(exposure.path),
        *templates,
        *files_among(detector1),
        *files_among(settings["image2"]),
    ]
    if "remstriping" in steps:
        products.insert(1, "1fmask")
    memory, seconds = estimates.exposure(exposure.path)
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
            "steps": steps,
            "filter": exposure.filter,
            "detector": exposure.detector,
            "visit": f"{exposure.program} {exposure.observation} {exposure.visit}",
        },
        memory=memory,
        seconds=seconds,
    )


def _steps_of(
    context: _Context, exposure: Exposure, row: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Return the wisp templates of an exposure, and which corrections are made."""
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
            found = [given] if isinstance(given, str) else given if affected else []
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


def _outlier_tasks(context: _Context, group: Group, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks of outlier rejection, sky and variance, one for each filter."""
    config = context.config
    parameters = context.parameters("image3")
    parameters = {step: parameters[step] for step in EXPOSURE_STEPS if step in parameters}
    if "skyvar" in context.presets:
        own = config.steps.get("image3", {}).get("skyvar", {})
        parameters["skyvar"] = context.presets["skyvar"][""] | own
    aligned = {
        name: task.id
        for task in tasks
        if task.stage == "align"
        for name in task.arguments["exposures"]
    }
    masked = {task.key for task in tasks if "remstriping" in task.arguments.get("steps", ())}
    made = []
    for name, exposures in group.filters.items():
        needed = [f"exposure/{exposure.name}" for exposure in exposures]
        needed += sorted({aligned[exp.name] for exp in exposures if exp.name in aligned})
        must = parameters.get("update_wcs", {}).get("missing") != "skip"
        inputs, folder = given_wcs(config, parameters, exposures, every_one=must), config.wcs_dir
        of_steps, own = parameters, exposures[0].name in aligned
        if own:  # then all of them have their WCS from that task
            inputs = []
            folder = (config.output / context.layout.exposure("tweakreg", exposures[0].name)).parent
            of_steps = {step: dict(values) for step, values in parameters.items()}
            of_steps.get("update_wcs", {}).pop("suffix", None)
        kept = ["match", *(["crf"] if "crf" in config.keep else [])]
        memory, seconds = estimates.outlier(len(exposures))
        made.append(
            make_task(
                stage="outlier",
                key=group.products[name],
                inputs=[*inputs, *files_among(of_steps)],
                outputs=[
                    context.layout.exposure(kind, exp.name) for kind in kept for exp in exposures
                ],
                after=needed,
                settings={"image3": of_steps},
                arguments={
                    "exposures": [exposure.name for exposure in exposures],
                    "wcs_dir": str(folder or ""),
                    "aligned": own,
                    # without the masks of all of them, sources are searched for there
                    "masks": masked.issuperset(exposure.name for exposure in exposures),
                },
                memory=memory,
                seconds=seconds,
            )
        )
    return made


def _mosaic_tasks(context: _Context, group: Group, members: Sequence[Group]) -> list[Task]:
    """Return the tasks of the mosaics of a group, and of their background."""
    config, grid = context.config, group.grid
    if grid is None:  # pragma: no cover  `_groups` gives every group one
        raise CeersError(f"Group {group.name} has no grid.")
    preset = "mosaic" if "mosaic" in context.presets else "image3"
    parameters = context.parameters("image3", preset)
    resample = {
        key: value
        for key, value in parameters.get("resample", {}).items()
        if key not in grid.parameters()
    }
    of_preset = resample.pop("tile_size", 0)
    tile_size = config.tile_size or of_preset
    layout = context.layout
    tasks = []
    for name, exposures in group.filters.items():
        product = group.products[name]
        after = [f"outlier/{member.products[name]}" for member in members if name in member.filters]
        arguments = {
            "exposures": [exposure.name for exposure in exposures],
            "product": product,
            "filter": name,
            "group": group.name,
        }
        settings = {"grid": grid.parameters(), "resample": resample}
        tiles = _tile_tasks(layout, tile_size, grid, after, settings, arguments)
        tasks += tiles
        memory, seconds = estimates.mosaic(grid.pixel_shape, len(exposures), tile_size)
        tasks.append(
            make_task(
                stage="mosaic",
                key=product,
                outputs=[layout.mosaic(group.name, product, "i2d")],
                after=[tile.id for tile in tiles] or after,
                settings={**settings, "tile_size": tile_size},
                arguments=arguments,
                memory=memory,
                seconds=seconds,
            )
        )
    background = parameters.get("mosaic_background", {})
    if background.get("skip"):
        return tasks
    images = [str(path) for path in config.hst_images]
    regions = {
        "mask_regions": str(config.mask_regions or ""),
        "exclude_regions": str(config.exclude_regions or ""),
    }
    products = [group.products[name] for name in group.filters]
    merged = background.get("merge_masks", True) and len(products) + len(images) > 1
    suffix = "mbkgsub" if merged or background.get("merged_mask") else "bkgsub"
    outputs = [layout.mosaic(group.name, product, suffix) for product in products]
    if suffix == "mbkgsub" and background.get("save_mask", True):
        outputs.append(layout.mosaic(group.name, products[0], "mergedmask"))
    memory, seconds = estimates.background(grid.pixel_shape, len(products))
    tasks.append(
        make_task(
            stage="background",
            key=group.name,
            inputs=[
                *(*images, *filter(None, regions.values())),
                *files_among({"mosaic_background": background}),
            ],
            outputs=outputs,
            after=[f"mosaic/{product}" for product in products],
            settings={"mosaic_background": background},
            arguments={
                "mosaics": [layout.mosaic(group.name, product, "i2d") for product in products],
                "hst_images": images,
                **regions,
            },
            memory=memory,
            seconds=seconds,
        )
    )
    return tasks


def _tile_tasks(
    layout: Layout,
    size: int,
    grid: Grid,
    after: list[str],
    settings: Mapping,
    arguments: Mapping,
) -> list[Task]:
    """Return a task for each tile of a mosaic; none when it is made in one piece."""
    nx, ny = grid.pixel_shape
    product = arguments["product"]
    if not size or (nx <= size and ny <= size):
        return []
    magnified = estimates.magnification(arguments["filter"], grid.pixel_scale)
    memory, seconds = estimates.tile(size, len(arguments["exposures"]), magnified)
    return [
        make_task(
            stage="tile",
            key=f"{product}_r{row:02d}c{column:02d}",
            outputs=[layout.tile(product, row, column)],
            after=after,
            settings={**settings, "tile": [row, column], "tile_size": size},
            arguments=arguments,
            memory=memory,
            seconds=seconds,
        )
        for row in range(-(-ny // size))
        for column in range(-(-nx // size))
    ]
