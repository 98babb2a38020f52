"""Tasks of alignment: who is aligned together, and who has a WCS from a file."""

from collections.abc import Mapping, Sequence

from ceers_steps.files.wcs_files import find_wcs_file, wcs_inputs
from ceers_steps.survey.config.layout import Layout
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning import estimates
from ceers_steps.survey.planning.overrides import unmatched_rows
from ceers_steps.survey.planning.plan import Task, files_among, make_task
from ceers_steps.survey.select.associations import Group
from ceers_steps.survey.select.exposures import Exposure

__all__ = ["align_tasks", "given_wcs", "look_at_tables"]


def align_tasks(
    config: SurveyConfig,
    parameters: Mapping[str, Mapping],
    exposures: Sequence[Exposure],
    groups: Sequence[Group],
) -> list[Task]:
    """Return the tasks of alignment.

    Parameters
    ----------
    config
        The survey.
    parameters
        Those of the steps of stage 3.
    exposures
        All exposures.
    groups
        What becomes one mosaic in each filter.

    Returns
    -------
    list of Task
        One for each visit and filter. With ``wcs_dir`` one for each group and filter in which
        exposures have no WCS file and may have none (``missing='skip'``): those are aligned with
        the others, as CeersImage3 does.
    """
    if parameters.get("tweakreg", {}).get("skip"):
        return []
    if config.wcs_dir is None:
        return [
            _align_task(config, parameters, key, members)
            for key, members in sorted(_by_visit(exposures).items())
        ]
    if parameters.get("update_wcs", {}).get("missing") != "skip":
        return []
    return [
        _align_task(config, parameters, group.products[name], members)
        for group in groups
        for name, members in group.filters.items()
        if len(given_wcs(config, parameters, members, every_one=False)) < len(members)
    ]


def look_at_tables(config: SurveyConfig, exposures: Sequence[Exposure]) -> list[str]:
    """Read the tables of alignment, which is made long after the work has begun.

    Parameters
    ----------
    config
        The survey.
    exposures
        All exposures.

    Returns
    -------
    list of str
        A line about rows of the table of parameters that are of no exposure, or none.

    Raises
    ------
    CeersError
        When the reference catalogue or the table of parameters cannot be used.
    """
    from ceers_steps.astrometry.reference import read_reference_catalog
    from ceers_steps.astrometry.tables import read_alignment_table

    catalog, path = config.reference_catalog, config.alignment_table
    if catalog is not None and catalog.is_absolute():  # or else the name of one in the network
        read_reference_catalog(catalog)
    if path is None:
        return []
    rows = [f"{visit} {name}" for visit, name in read_alignment_table(path).rows]
    known = {f"{_visit(each)} {each.filter.upper()}" for each in exposures}
    return unmatched_rows(path, rows, known)


def given_wcs(
    config: SurveyConfig,
    parameters: Mapping[str, Mapping],
    exposures: Sequence[Exposure],
    *,
    every_one: bool,
) -> list[str]:
    """Return the WCS files of exposures in ``wcs_dir``.

    Parameters
    ----------
    config
        The survey, with ``wcs_dir``.
    parameters
        Those of the steps of stage 3.
    exposures
        Which ones.
    every_one
        Name those that are not there too.

    Returns
    -------
    list of str
        Paths.
    """
    if config.wcs_dir is None:
        return []
    suffix = parameters.get("update_wcs", {}).get("suffix", "tweakreg")
    names = [exposure.name for exposure in exposures]
    return wcs_inputs(config.wcs_dir, names, every_one, suffix)


def _visit(exposure: Exposure) -> str:
    """Return the visit of an exposure, as tables name it."""
    return f"jw{exposure.program}{exposure.observation}{exposure.visit}"


def _by_visit(exposures: Sequence[Exposure]) -> dict[str, list[Exposure]]:
    """Return the exposures of each visit and filter."""
    members: dict[str, list[Exposure]] = {}
    for exposure in exposures:
        visit = _visit(exposure)
        if exposure.instrument != "NIRCAM":
            visit += f"_{exposure.instrument.lower()}"
        members.setdefault(f"{visit}_{exposure.filter.lower()}", []).append(exposure)
    return members


def _align_task(
    config: SurveyConfig,
    parameters: Mapping[str, Mapping],
    key: str,
    members: Sequence[Exposure],
) -> Task:
    """Return the task that aligns these exposures."""
    tweakreg, update = parameters.get("tweakreg", {}), parameters.get("update_wcs", {})
    settings: dict = {"tweakreg": tweakreg, "catalog": str(config.reference_catalog or "")}
    arguments: dict = {
        "exposures": [exposure.name for exposure in members],
        "alignment_table": str(config.alignment_table or ""),
    }
    if config.wcs_dir is not None:
        suffix = update.get("suffix", "tweakreg")
        names = [
            exposure.name
            for exposure in members
            if find_wcs_file(config.wcs_dir, exposure.name, suffix) is not None
        ]
        settings["update_wcs"] = update
        settings["kept"] = names if tweakreg.get("keep_updated", True) else []
        arguments["wcs_dir"] = str(config.wcs_dir)
    tables = [path for path in (config.reference_catalog, config.alignment_table) if path]
    memory, seconds = estimates.align(len(members))
    layout = Layout(config.layout)
    return make_task(
        stage="align",
        key=key,
        inputs=[
            *(str(path) for path in tables if path.is_absolute()),
            *files_among({"tweakreg": tweakreg}),
            *given_wcs(config, parameters, members, every_one=False),
        ],
        outputs=[
            *(layout.exposure("tweakreg", exposure.name) for exposure in members),
            layout.alignment(key),
        ],
        after=[f"exposure/{exposure.name}" for exposure in members],
        settings=settings,
        arguments=arguments,
        memory=memory,
        seconds=seconds,
    )
