"""Tasks of stage 3: outliers, sky and variance, mosaics and their tiles, background."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ceers_steps.errors import CeersError
from ceers_steps.survey.config.layout import Layout
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning import estimates
from ceers_steps.survey.planning.alignment import given_wcs
from ceers_steps.survey.planning.plan import MOSAICS, Task, files_among, make_task
from ceers_steps.survey.select.associations import Group
from ceers_steps.survey.select.grids import Grid

__all__ = ["Context", "background_tasks", "mosaic_tasks", "outlier_tasks"]

EXPOSURE_STEPS = ("update_wcs", "skymatch", "outlier_detection", "skyvar")
"""Steps of stage 3 that work on aligned exposures."""


@dataclass(frozen=True)
class Context:
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


def outlier_tasks(
    context: Context, group: Group, tasks: Sequence[Task], *, second: bool = False
) -> list[Task]:
    """Return the tasks of outlier rejection, sky and variance, one for each filter.

    Parameters
    ----------
    context
        The survey.
    group
        With the names of its products.
    tasks
        Those before: exposures, alignment, image backgrounds.
    second
        Of the exposures whose image background is subtracted.
    """
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
    subtracted = {
        name: task.id
        for task in tasks
        if second and task.stage == "imgbkg"
        for name in task.arguments["exposures"]
    }
    masked = {task.key for task in tasks if "remstriping" in task.arguments.get("steps", ())}
    made = []
    for name, exposures in group.filters.items():
        needed = [f"exposure/{exposure.name}" for exposure in exposures]
        for earlier in (aligned, subtracted):
            needed += sorted({earlier[exp.name] for exp in exposures if exp.name in earlier})
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
                stage="outlier2" if second else "outlier",
                key=group.products[name],
                inputs=[*inputs, *files_among(of_steps)],
                outputs=[
                    context.layout.exposure(kind, exp.name, second=second)
                    for kind in kept
                    for exp in exposures
                ],
                after=needed,
                settings={"image3": of_steps},
                arguments={
                    "exposures": [exposure.name for exposure in exposures],
                    "wcs_dir": str(folder or ""),
                    "aligned": own,
                    "second": second,
                    # without the masks of all of them, sources are searched for there
                    "masks": masked.issuperset(exposure.name for exposure in exposures),
                },
                memory=memory,
                seconds=seconds,
            )
        )
    return made


def _of_mosaics(context: Context) -> dict[str, dict]:
    """Return the parameters of the steps that make a mosaic."""
    return context.parameters("image3", "mosaic" if "mosaic" in context.presets else "image3")


def _grid_of(group: Group) -> Grid:
    """Return the grid of a group."""
    if group.grid is None:  # pragma: no cover  every group of a plan has one
        raise CeersError(f"Group {group.name} has no grid.")
    return group.grid


def mosaic_tasks(
    context: Context, group: Group, members: Sequence[Group], *, second: bool = False
) -> list[Task]:
    """Return the tasks of the mosaics of a group, and of their tiles.

    Parameters
    ----------
    context
        The survey.
    group
        With the names of its products, and its grid.
    members
        The groups whose exposures are in it.
    second
        Of the exposures whose image background is subtracted.
    """
    config, grid = context.config, _grid_of(group)
    parameters = _of_mosaics(context)
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
        before = "outlier2" if second else "outlier"
        after = [
            f"{before}/{member.products[name]}" for member in members if name in member.filters
        ]
        arguments = {
            "exposures": [exposure.name for exposure in exposures],
            "product": product,
            "filter": name,
            "group": group.name,
            "second": second,
        }
        settings = {"grid": grid.parameters(), "resample": resample}
        tiles = _tile_tasks(layout, tile_size, grid, after, settings, arguments)
        tasks += tiles
        memory, seconds = estimates.mosaic(grid.pixel_shape, len(exposures), tile_size)
        tasks.append(
            make_task(
                stage="mosaic2" if second else "mosaic",
                key=product,
                outputs=[layout.mosaic(group.name, product, "i2d")],
                after=[tile.id for tile in tiles] or after,
                settings={**settings, "tile_size": tile_size},
                arguments=arguments,
                memory=memory,
                seconds=seconds,
            )
        )
    return tasks


def background_tasks(
    context: Context, group: Group, products: Mapping[str, str], tasks: Sequence[Task]
) -> list[Task]:
    """Return the task of the background of the mosaics of a group, if it is to be subtracted.

    Parameters
    ----------
    context
        The survey.
    group
        With its grid.
    products
        The last mosaic of each filter.
    tasks
        Those before: mosaics.
    """
    config, grid, layout = context.config, _grid_of(group), context.layout
    background = _of_mosaics(context).get("mosaic_background", {})
    if background.get("skip"):
        return []
    images = [str(path) for path in config.hst_images]
    regions = {
        "mask_regions": str(config.mask_regions or ""),
        "exclude_regions": str(config.exclude_regions or ""),
    }
    names = [products[name] for name in group.filters]
    merged = background.get("merge_masks", True) and len(names) + len(images) > 1
    suffix = "mbkgsub" if merged or background.get("merged_mask") else "bkgsub"
    outputs = [layout.mosaic(group.name, product, suffix) for product in names]
    if suffix == "mbkgsub" and background.get("save_mask", True):
        outputs.append(layout.mosaic(group.name, names[0], "mergedmask"))
    memory, seconds = estimates.background(grid.pixel_shape, len(names))
    makers = {task.key: task.id for task in tasks if task.stage in MOSAICS}
    return [
        make_task(
            stage="background",
            key=group.name,
            inputs=[
                *(*images, *filter(None, regions.values())),
                *files_among({"mosaic_background": background}),
            ],
            outputs=outputs,
            after=[makers[product] for product in names],
            settings={"mosaic_background": background},
            arguments={
                "mosaics": [layout.mosaic(group.name, product, "i2d") for product in names],
                "hst_images": images,
                **regions,
            },
            memory=memory,
            seconds=seconds,
        )
    ]


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
            stage="tile2" if arguments["second"] else "tile",
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
