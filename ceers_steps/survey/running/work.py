"""The work of each stage: a pipeline or step called with the settings of a task.

Products are left in the folder that is given; `task` puts them in their places.
"""

import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.associations import as_json, build_association
from ceers_steps.files.membership import group_problems, keywords_of
from ceers_steps.files.metrics import step_metrics
from ceers_steps.files.wcs_files import find_wcs_file
from ceers_steps.files.whole_files import fits_problem
from ceers_steps.names import exposure_name
from ceers_steps.survey.datasets.sort import place, placement
from ceers_steps.survey.planning.plan import Plan, Task
from ceers_steps.survey.planning.records import Made
from ceers_steps.survey.running.metrics import (
    alignment_metrics,
    alignment_reasons,
    border_excess,
    measure_mosaic,
    outlier_fraction,
    product_metrics,
    step_note,
)

__all__ = ["WORK"]

log = logging.getLogger(__name__)

LOGGED = {"configure_log": False}
"""For calls of steps: a task has its log already, and a handler of stpipe would write everything
into it a second time."""

SMALL = 60e6
"""Bytes of exposures that are kept in memory: subarrays; a whole detector has 100 MB."""


def exposure(plan: Plan, task: Task, scratch: Path) -> Made:
    """Run stages 1 and 2 of an exposure in one go; the rate image stays in memory."""
    from ceers_steps import CeersDetector1, CeersImage2
    from ceers_steps.steps.inputs.usable import unusable_reason

    _imported()
    settings, arguments = task.settings, task.arguments
    own, steps = _split(settings["detector1"])
    if arguments["overrides"]:
        own["overrides"] = arguments["overrides"]
    if arguments["wisp_templates"]:
        steps.setdefault("wispsub", {})["template_dir"] = arguments["wisp_templates"]
    if earlier := _whole(arguments.get("earlier_exposures", ())):
        steps.setdefault("trapped_charge", {})["earlier_exposures"] = earlier
    wanted = {Path(name).name for name in task.outputs}
    own["save_intermediates"] = any(
        name.endswith(("_prewisp.fits", "_pre1f.fits")) for name in wanted
    )
    keep_rate = f"{task.key}_rate.fits" in wanted
    uncal = Path(arguments["uncal"])
    if plan.layout.by_data_set:
        place(placement(uncal, plan.output / plan.layout.exposure("uncal", task.key)))
    if exposure_name(uncal) != task.key or not uncal.name.startswith(task.key):
        # products are named after the file, not after the exposure that its header names
        uncal = scratch / f"{task.key}_uncal.fits"
        uncal.symlink_to(arguments["uncal"])
    rate = CeersDetector1.call(
        str(uncal), output_dir=str(scratch), save_results=keep_rate, steps=steps, **LOGGED, **own
    )
    own, steps = _split(settings["image2"])
    common = {"output_dir": str(scratch), "save_results": True, **LOGGED}
    (cal,) = CeersImage2.call(rate, steps=steps, **common, **own)
    keywords = keywords_of(cal.to_flat_dict(include_arrays=False))
    problems = group_problems([(task.key, keywords)])
    if problems:
        raise CeersError(f"{task.key} would fit into no mosaic: {problems[task.key]}.")
    if reason := unusable_reason(cal, weighed=True):
        raise CeersError(f"{task.key} would be in no mosaic, nothing of it is usable: {reason}.")
    return Made(_references(cal), {task.key: step_metrics(cal.meta.instance)})


def _whole(earlier: Iterable[str]) -> list[str]:
    """Leave out damaged files: their own tasks fail, those of the exposures after them go on."""
    found = []
    for path in earlier:
        if problem := fits_problem(path):
            log.warning("%s is not looked at for persistence: %s", path, problem)
        else:
            found.append(path)
    return found


def image_background(plan: Plan, task: Task, scratch: Path) -> Made:
    """Subtract from rate images the background that the others show, and calibrate them again."""
    from ceers_steps import CeersImage2, ImageBackgroundStep

    _imported()
    names = task.arguments["exposures"]
    rates = _products(plan, "rate", names)
    ImageBackgroundStep.call(
        str(_association(scratch, task.key, rates)),
        output_dir=str(scratch),
        save_results=True,
        mosaic=str(plan.output / task.arguments["mosaic"]),
        aligned_dir=str(_one_folder(_products(plan, "match", names), scratch / "aligned")),
        in_memory=_fit(rates),
        **LOGGED,
        **task.settings["image_background"],
    )
    own, steps = _split(task.settings["image2"])
    references: set[Path] = set()
    metrics = {}
    for name in names:
        subtracted = scratch / f"{name}_imgbkgsub.fits"
        alias = "ceers_image_background"
        metrics[name] = product_metrics(subtracted, alias)
        if not metrics[name]:
            raise CeersError(
                f"{name}: no image background ({step_note(subtracted, alias)}). Leave it out "
                "(exclude), change max_days or min_others in table [ceers_image_background], or "
                "take out image_background."
            )
        (cal,) = CeersImage2.call(
            str(subtracted),
            output_dir=str(scratch),
            save_results=True,
            steps=steps,
            **LOGGED,
            **own,
        )
        references |= _references(cal)
        cal.close()
    return Made(references, metrics)


def align(plan: Plan, task: Task, scratch: Path) -> Made:
    """Align the exposures of a visit and filter; their WCS go to files.

    Those that have one from a file keep it, and the others are aligned with them.
    """
    from ceers_steps import AlignStep, UpdateWcsStep

    _imported()
    parameters = {**task.settings["tweakreg"], "save_wcs": True}
    if task.settings["catalog"]:
        parameters["abs_refcat"] = task.settings["catalog"]
    if task.arguments["alignment_table"]:
        parameters["alignment_table"] = task.arguments["alignment_table"]
    cals = _products(plan, "cal", task.arguments["exposures"])
    exposures: Any = str(_association(scratch, task.key, cals))
    common = {"output_dir": str(scratch), "save_results": False, "in_memory": _fit(cals), **LOGGED}
    folder, kept = task.arguments.get("wcs_dir", ""), task.settings.get("kept", [])
    update = task.settings.get("update_wcs", {})
    if folder:
        exposures = UpdateWcsStep.call(exposures, wcs_dir=folder, **common, **update)
    AlignStep.call(exposures, **common, **parameters)
    for name in kept:
        given = find_wcs_file(folder, name, update.get("suffix", "tweakreg"))
        if given is not None:
            shutil.copyfile(given, scratch / f"{name}_tweakreg.asdf")
    names = [name for name in task.arguments["exposures"] if name not in kept]
    results = scratch / f"{task.key}_alignment.ecsv"
    lost = [name for name in names if not (scratch / f"{name}_tweakreg.asdf").is_file()]
    if lost:
        another = "another" if task.settings["catalog"] else "a"
        neighbours = "fallback='visit', the pointing of the others of the visit, or "
        if len(lost) == len(names):
            neighbours = ""  # there is none to take it from
        raise CeersError(
            f"{len(lost)} of {len(names)} exposures of {task.key} could not be aligned: "
            f"{', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''} "
            f"({alignment_reasons(results, lost)}). Give {another} reference_catalog of this "
            "field, or parameters that suit it (abs_minobj where few sources match, abs_searchrad "
            "where the pointing is far off; alignment_table, table [image3.tweakreg]); or set "
            f"there {neighbours}skip=true, the pointing of the telescope for all; or leave these "
            "exposures out (exclude)."
        )
    return Made(metrics=alignment_metrics(results))


def outlier(plan: Plan, task: Task, scratch: Path) -> Made:
    """Reject outliers, subtract the sky and scale the variances of the exposures of a mosaic."""
    from ceers_steps import CeersImage3

    _imported()
    _, steps = _split(task.settings["image3"])
    names = task.arguments["exposures"]
    folder = task.arguments["wcs_dir"]
    if task.arguments.get("aligned"):
        folder = str(_one_folder(_products(plan, "tweakreg", names), scratch / "wcs"))
    if folder:
        steps.setdefault("update_wcs", {}).update(wcs_dir=folder, skip=False)
    steps["tweakreg"] = {"skip": True}
    steps.setdefault("skyvar", {})["skip"] = False
    if task.arguments["masks"]:
        masks = _one_folder(_products(plan, "1fmask", names), scratch / "masks")
        steps["skyvar"]["source_mask"] = str(masks)
    for name in ("resample", "source_catalog", "mosaic_background"):
        steps[name] = {"skip": True}
    cals = _products(plan, "cal", names, second=task.arguments.get("second", False))
    CeersImage3.call(
        str(_association(scratch, task.key, cals)),
        output_dir=str(scratch),
        save_results=True,
        in_memory=_fit(cals),
        steps=steps,
        **LOGGED,
    )
    for path in scratch.glob("*.fits"):
        suffix = path.stem.rpartition("_")[2]
        os.replace(path, scratch / f"{exposure_name(path)}_{suffix}.fits")
    matched = sorted(scratch.glob("*_match.fits"))
    return Made(
        metrics={
            exposure_name(path): product_metrics(path, "ceers_skyvar")
            | {"outlier_detection": {"outlier_fraction": outlier_fraction(path)}}
            for path in matched
        }
    )


def mosaic(plan: Plan, task: Task, scratch: Path) -> Made:
    """Drizzle the exposures of a mosaic, or put its tiles together."""
    from ceers_steps import TiledResampleStep

    _imported()
    tiled = any(name.startswith(("tile/", "tile2/")) for name in task.after)
    parameters = {**task.settings["resample"], **task.settings["grid"]}
    if tiled:
        parameters |= {
            "tile_size": task.settings["tile_size"],
            "keep_tiles": True,
            "tile_dir": str((plan.output / plan.tasks[task.after[0]].outputs[0]).parent),
        }
    association, in_memory = _matched(plan, task, scratch)
    TiledResampleStep.call(
        str(association),
        output_dir=str(scratch),
        save_results=True,
        in_memory=in_memory,
        suffix="i2d",
        **LOGGED,
        **parameters,
    )
    product = task.arguments["product"]
    return Made(metrics={product: {"mosaic": measure_mosaic(scratch / f"{product}_i2d.fits")}})


def tile(plan: Plan, task: Task, scratch: Path) -> Made:
    """Drizzle one tile of a mosaic."""
    from ceers_steps import TiledResampleStep

    _imported()
    association, in_memory = _matched(plan, task, scratch)
    TiledResampleStep.call(
        str(association),
        output_dir=str(scratch),
        save_results=True,
        in_memory=in_memory,
        suffix="i2d",
        tile_size=task.settings["tile_size"],
        only_tile=task.settings["tile"],
        keep_tiles=True,
        **LOGGED,
        **task.settings["resample"],
        **task.settings["grid"],
    )
    return Made()


def background(plan: Plan, task: Task, scratch: Path) -> Made:
    """Subtract the background of all mosaics of a group with one source mask."""
    from ceers_steps import MosaicBackgroundStep

    _imported()
    arguments = task.arguments
    # one mosaic at a time, however many filters there are; one without a measurable background
    # is a mosaic all the same
    parameters = {"in_memory": False, "on_failure": "keep", **task.settings["mosaic_background"]}
    if arguments["hst_images"]:
        parameters["extra_images"] = arguments["hst_images"]
    for name in ("mask_regions", "exclude_regions"):
        if arguments[name]:
            parameters[name] = arguments[name]
    mosaics = [str(plan.output / name) for name in arguments["mosaics"]]
    common = {"output_dir": str(scratch), "save_results": True, **LOGGED}
    MosaicBackgroundStep.call(mosaics, **common, **parameters)
    made = (scratch / Path(name).name for name in task.outputs if "bkgsub" in name)
    return Made(
        metrics={
            path.stem.rpartition("_")[0]: product_metrics(path, "ceers_mosaic_background")
            | {"border": {"excess": border_excess(path)}}
            for path in made
        }
    )


WORK: dict[str, Callable[[Plan, Task, Path], Made]] = {
    "exposure": exposure,
    "align": align,
    "outlier": outlier,
    "tile": tile,
    "mosaic": mosaic,
    "imgbkg": image_background,
    "outlier2": outlier,
    "tile2": tile,
    "mosaic2": mosaic,
    "background": background,
}
"""What each stage does, given the plan, the task and a folder for the products."""


def _imported() -> None:
    """Leave what importing has made out of the collections that stpipe makes after every step."""
    gc.freeze()


def _split(parameters: dict) -> tuple[dict, dict]:
    """Split parameters by step into the pipeline's own and those of its steps."""
    steps = {step: dict(values) for step, values in parameters.items() if step}
    return dict(parameters.get("", {})), steps


def _association(scratch: Path, product: str, members: Iterable[Path]) -> Path:
    """Write the association of one product."""
    association = build_association({product: members}, program=product)
    path = scratch / f"{product}_asn.json"
    path.write_bytes(as_json(association))
    return path


def _products(plan: Plan, kind: str, names: Iterable[str], *, second: bool = False) -> list[Path]:
    """Return the products of a kind of exposures, of the first or second pass."""
    return [plan.output / plan.layout.exposure(kind, name, second=second) for name in names]


def _one_folder(files: Sequence[Path], links: Path) -> Path:
    """Return the folder of files; where there are several, one with links to the files."""
    folders = {path.parent for path in files}
    if len(folders) == 1:
        return folders.pop()
    links.mkdir()
    for path in files:
        (links / path.name).symlink_to(path)
    return links


def _fit(exposures: Iterable[Path]) -> bool:
    """Say whether exposures are so small that they may all be in memory: files take much longer."""
    return sum(path.stat().st_size for path in exposures if path.exists()) <= SMALL


def _matched(plan: Plan, task: Task, scratch: Path) -> tuple[Path, bool]:
    """Write the association of a mosaic; return whether its exposures may be in memory, too."""
    second = task.arguments.get("second", False)
    members = _products(plan, "match", task.arguments["exposures"], second=second)
    return _association(scratch, task.arguments["product"], members), _fit(members)


def _references(model: Any) -> set[Path]:
    """Return the reference files that were used for an exposure."""
    import crds

    names = []
    for entry in model.meta.ref_file.instance.values():
        name = entry.get("name", "") if isinstance(entry, dict) else ""
        if isinstance(name, str) and name.startswith("crds://"):
            names.append(name.removeprefix("crds://"))
    paths = (Path(crds.locate_file(name, "jwst")) for name in names)
    return {path for path in paths if path.is_file()}
