"""Where a survey starts from: the packaged parameters, and the versions that products depend on."""

import os
import re
from importlib.metadata import PackageNotFoundError, version

from ceers_steps.code_version import code_version
from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import parameter_files_dir

__all__ = ["PRESETS", "package_versions", "read_preset", "versions"]

PACKAGES = ("jwst", "stcal", "drizzle", "tweakwcs", "gwcs", "sep", "photutils")
"""Packages beside this one whose version changes what comes out."""

PRESETS = {
    "best": {"detector1": "detector1", "image2": "image2", "image3": "image3"},
    "dr05": {
        "detector1": "dr05/detector1",
        "image2": "dr05/image2",
        "image3": "dr05/image3_part1",
        "skyvar": "dr05/skyvar",
        "mosaic": "dr05/image3_{group}",
    },
}
"""Parameter files of a preset by pipeline; ``skyvar`` for that step, where it has its own, and
``mosaic`` for the second pass of stage 3."""


def read_preset(name: str) -> dict[str, dict]:
    """Read a packaged parameter file.

    Parameters
    ----------
    name
        Its name below the folder of parameter files, without extension.

    Returns
    -------
    dict
        Parameters by step, with "" for the pipeline's own.

    Raises
    ------
    CeersError
        When there is none of that name: the group is not a published one.
    """
    from asdf.util import load_yaml

    path = parameter_files_dir() / f"{name}.asdf"
    try:
        tree = load_yaml(path)
    except OSError as err:
        raise CeersError(
            f"There is no parameter file {name}.asdf: the preset is for the published pointings "
            "(nircam1, 2, 3, 6). Use preset='best' for other data."
        ) from err
    steps = {step["name"]: dict(step.get("parameters", {})) for step in tree.get("steps", [])}
    own = dict(tree.get("parameters") or {})
    return {**({"": own} if own else {}), **steps}


def versions() -> dict[str, str]:
    """Return the versions and the CRDS context that all products depend on."""
    return {**package_versions(), "CRDS context": _context()}


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that all products depend on, with that of the code."""
    found = {"ceers_steps": code_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # pragma: no cover  a broken installation
            found[name] = "none"
    return found


def _context() -> str:
    """Return the context that jwst will take; "default" where CRDS is not set up (a mere plan)."""
    given = os.environ.get("CRDS_CONTEXT", "")
    if re.fullmatch(r"jwst_\d+\.pmap", given):
        return given
    if not os.environ.keys() & {"CRDS_PATH", "CRDS_SERVER_URL"}:
        return given or "default"
    import crds
    from crds.core.exceptions import CrdsError

    from ceers_steps.survey.references.crds_rules import quiet

    try:
        with quiet():
            return str(crds.get_context_name("jwst"))
    except (CrdsError, OSError, SystemExit, AssertionError):  # reported by the check of references
        return given or "default"
