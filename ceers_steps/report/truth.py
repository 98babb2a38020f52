"""The comparison of a simulated survey with its truth, kept beside its products for the report."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import read_note
from ceers_steps.validate.checks import Check

__all__ = ["Part", "Picture", "Truth", "read_truth", "write_truth"]

NAME = "truth.json"


@dataclass(frozen=True)
class Picture:
    """A figure: heading, caption, and its PNG file, or its link in the report."""

    heading: str
    caption: str
    file: str


@dataclass(frozen=True)
class Part:
    """One part of the comparison.

    Attributes
    ----------
    title, intro : str
        Heading and first paragraph.
    checks : sequence of Check
        What was measured and what is true.
    pictures : sequence of Picture
        Figures.
    """

    title: str
    intro: str
    checks: Sequence[Check]
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Truth:
    """A comparison with the truth.

    Attributes
    ----------
    title, intro : str
        Heading and first paragraph of the report.
    parts : sequence of Part
        What it consists of.
    facts : mapping of str to str
        Versions, parameters and files, listed at the end.
    """

    title: str
    intro: str
    parts: Sequence[Part]
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def goals(self) -> list[Check]:
        """All checks that have a goal."""
        return [c for part in self.parts for c in part.checks if c.reached is not None]


def write_truth(folder: str | os.PathLike, truth: Truth) -> Path:
    """Keep a comparison in the output folder of a survey, where ``ceers report`` finds it.

    Parameters
    ----------
    folder
        The output folder.
    truth
        Paths of pictures are below that folder.

    Returns
    -------
    Path
        ``truth.json``.
    """
    tree = asdict(truth)
    for part in tree["parts"]:
        for picture in part["pictures"]:
            picture["file"] = os.path.relpath(picture["file"], folder)
    text = json.dumps(tree, indent=1)
    return write_atomic(Path(folder) / NAME, lambda path: path.write_text(text, encoding="utf-8"))


def read_truth(folder: str | os.PathLike, report: str | os.PathLike) -> Truth | None:
    """Read the comparison of a survey, and put its pictures into the report.

    Parameters
    ----------
    folder
        Output folder of the survey.
    report
        Folder of the report.

    Returns
    -------
    Truth or None
        With links of the pictures; None where the survey was not compared with a truth.
    """
    tree = read_note(Path(folder) / NAME, title=str, intro=str, parts=list, facts=dict)
    if not tree:
        return None
    try:
        parts = [
            Part(
                part["title"],
                part["intro"],
                [Check(**check) for check in part["checks"]],
                [
                    Picture(each["heading"], each["caption"], link)
                    for each in part["pictures"]
                    if (link := _copied(Path(folder) / each["file"], Path(report)))
                ],
            )
            for part in tree["parts"]
        ]
    except (KeyError, TypeError):  # of another version
        return None
    return Truth(tree["title"], tree["intro"], parts, tree["facts"])


def _copied(source: Path, report: Path) -> str:
    """Copy a picture into the report, unless it is there; return its link, '' without one."""
    target = report / "truth" / source.name
    try:
        newer = source.stat().st_mtime_ns
        if not target.exists() or target.stat().st_mtime_ns != newer:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    except OSError:
        return ""
    return f"truth/{source.name}"
