"""Raw exposures into folders of data sets: ``{dataset}/uncals``."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.survey.config.layout import Layout
from ceers_steps.survey.datasets.files import DataSet, same_file

__all__ = ["Placement", "place", "placement", "plan_placements"]


@dataclass(frozen=True)
class Placement:
    """Where a file goes.

    Attributes
    ----------
    source, target : Path
        The file, and where it will be.
    state : {"there", "to do"}
        Whether it is at its place already.
    """

    source: Path
    target: Path
    state: str


def plan_placements(data_sets: Sequence[DataSet], folder: str | os.PathLike) -> list[Placement]:
    """Say where the files of data sets go.

    Parameters
    ----------
    data_sets
        Of raw files.
    folder
        Folder of the data sets.

    Returns
    -------
    list of Placement

    Raises
    ------
    CeersError
        When another file, or a link that leads nowhere, is at the place of one.
    """
    layout = Layout("dataset")
    return [
        placement(data_set.path, Path(folder) / layout.exposure("uncal", data_set.name))
        for data_set in data_sets
    ]


def placement(source: Path, target: Path) -> Placement:
    """Say whether a file is at its place already.

    Parameters
    ----------
    source, target
        The file, and where it should be.

    Raises
    ------
    CeersError
        When another file, or a link that leads nowhere, is there.
    """
    if target.is_symlink() and not target.exists():
        raise CeersError(
            f"{target} is a link to {os.readlink(target)}, which is not there. Remove it."
        )
    if target.exists() and not same_file(source, target):
        raise CeersError(
            f"{target} is there already and is another file than {source}. Move one away."
        )
    return Placement(source, target, "there" if target.exists() else "to do")


def place(placement: Placement, *, copy: bool = False) -> None:
    """Put a file at its place; one that is there stays.

    Parameters
    ----------
    placement
        What goes where.
    copy
        Copy the file; a link otherwise.
    """
    if placement.state == "there":
        return
    target = placement.target
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        write_atomic(target, lambda scratch: shutil.copyfile(placement.source, scratch))
    else:
        target.symlink_to(os.path.realpath(placement.source))
