"""Tasks of the image background: who gets one, from which others, and the second pass after it.

The background of an exposure is measured on the others of its detector, without the emission that
the first mosaic shows. What follows is made again: image2, outliers, mosaic.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ceers_steps.errors import CeersError
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning import estimates
from ceers_steps.survey.planning.mosaics import Context
from ceers_steps.survey.planning.plan import MOSAICS, Task, files_among, make_task
from ceers_steps.survey.select.associations import Group
from ceers_steps.survey.select.exposures import Exposure

__all__ = [
    "MIN_OTHERS",
    "STEP",
    "SecondPass",
    "image_background_tasks",
    "second_pass",
    "with_image_background",
]

STEP = "ceers_image_background"
"""Table of the parameters of ImageBackgroundStep in a survey file: its alias."""

MIN_OTHERS = 3
"""Default of that parameter of ImageBackgroundStep."""


@dataclass(frozen=True)
class SecondPass:
    """What is made again of a group.

    Attributes
    ----------
    first : Group
        The group.
    group : Group
        Its exposures whose background is subtracted, and the products that are made of them.
    """

    first: Group
    group: Group


def with_image_background(config: SurveyConfig, groups: Sequence[Group]) -> set[str]:
    """Return the names of the exposures that get an image background.

    Parameters
    ----------
    config
        The survey.
    groups
        What becomes one mosaic in each filter.

    Returns
    -------
    set of str
        Those of MIRI, if the survey has any, else all; or those of ``image_background_of``.

    Raises
    ------
    CeersError
        When there is none, or an exposure has too few others.
    """
    if not config.image_background:
        return set()
    exposures = [exposure for group in groups for exposure in group.exposures]
    found = {exposure.instrument for exposure in exposures}
    wanted = set(config.image_background_of) or ({"MIRI"} if "MIRI" in found else found)
    chosen = {each.name for each in exposures if each.instrument in wanted}
    if not chosen:
        raise CeersError(
            f"image_background: no exposure of {', '.join(sorted(wanted))} in this survey, but of "
            f"{', '.join(sorted(found))}. Change image_background_of, or take image_background out."
        )
    least = _parameters(config).get("min_others", MIN_OTHERS)
    few = [
        f"{group.products[name]} has {len(members)} of {detector}"
        for group in groups
        for name, detector, members in _sets(group)
        if members[0].name in chosen and len(members) <= least
    ]
    if few:
        raise CeersError(
            f"image_background: the background of an exposure comes from at least {least} others "
            f"of its detector and filter (min_others), but {'; '.join(few[:3])}"
            f"{'; ...' if len(few) > 3 else ''}. Take these exposures out (exclude), combine more "
            f"(by in table [groups]), lower min_others in table [{STEP}], or take image_background "
            "out."
        )
    return chosen


def second_pass(context: Context, group: Group, chosen: Collection[str]) -> SecondPass | None:
    """Return what is made again of a group; None if that is nothing.

    Parameters
    ----------
    context
        The survey.
    group
        One of its groups.
    chosen
        The exposures that get an image background.
    """
    members = tuple(exposure for exposure in group.exposures if exposure.name in chosen)
    if not members:
        return None
    names = {exposure.filter for exposure in members}
    products = {name: f"{group.products[name]}_pass2" for name in names}
    return SecondPass(group, replace(group, exposures=members, products=products))


def image_background_tasks(
    context: Context, again: SecondPass, tasks: Sequence[Task]
) -> list[Task]:
    """Return the tasks of the image background, one for each detector and filter of a group.

    Parameters
    ----------
    context
        The survey.
    again
        The group, and what of it is made again.
    tasks
        Those before: exposures, outliers, mosaics.

    Returns
    -------
    list of Task
        Each also calibrates its exposures again (image2): the flat field comes after it.
    """
    config, layout = context.config, context.layout
    kept = ["cal", *(["imgbkgsub"] if "imgbkgsub" in config.keep else [])]
    settings = {"image_background": _parameters(config), "image2": context.parameters("image2")}
    makers = {task.key: task.id for task in tasks if task.stage in MOSAICS}
    made = []
    for name, detector, members in _sets(again.group):
        product = again.first.products[name]
        memory, seconds = estimates.image_background(len(members))
        made.append(
            make_task(
                stage="imgbkg",
                key=f"{product}_{detector.lower()}",
                inputs=files_among(settings),
                outputs=[
                    layout.exposure(kind, exposure.name, second=kind == "cal")
                    for kind in kept
                    for exposure in members
                ],
                after=[
                    *(f"exposure/{exposure.name}" for exposure in members),
                    f"outlier/{product}",
                    makers[product],
                ],
                settings=settings,
                arguments={
                    "exposures": [exposure.name for exposure in members],
                    "mosaic": layout.mosaic(again.first.name, product, "i2d"),
                    "filter": name,
                    "detector": detector,
                },
                memory=memory,
                seconds=seconds,
            )
        )
    return made


def _sets(group: Group) -> list[tuple[str, str, list[Exposure]]]:
    """Return filter, detector and exposures of what shares its background."""
    return [
        (name, detector, [each for each in exposures if each.detector == detector])
        for name, exposures in group.filters.items()
        for detector in sorted({exposure.detector for exposure in exposures})
    ]


def _parameters(config: SurveyConfig) -> dict:
    """Return the parameters of the step that the survey gives."""
    return dict(config.steps.get(STEP, {}).get("", {}))
