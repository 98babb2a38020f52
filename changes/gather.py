"""Write the notes of this folder into CHANGES.md, as the section of the next release.

``python changes/gather.py 0.2.0`` (``make changes``). The notes stay the source until the release
is made; the section of that number is written anew each time.
"""

import re
import sys
import textwrap
from pathlib import Path

__all__ = ["gather", "write_section"]

KINDS = {"feature": "New", "bugfix": "Fixed", "doc": "Documentation", "removal": "Gone"}
"""Kinds of notes (``<what>.<kind>.md``) and the headings of their lists."""

WIDTH = 118


def gather(folder: Path) -> str:
    """Return the notes of a folder as lists, one for each kind, in the order of their names.

    Parameters
    ----------
    folder
        Of the notes.

    Returns
    -------
    str
        Markdown; every paragraph of a note is an entry.

    Raises
    ------
    ValueError
        For a note of an unknown kind.
    """
    entries: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for path in sorted(folder.glob("*.md")):
        kind = path.name.split(".")[-2]
        if kind not in entries:
            raise ValueError(f"{path.name}: its kind is none of {', '.join(KINDS)}")
        for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8").strip()):
            text = " ".join(paragraph.split())
            entries[kind].append(
                textwrap.fill(
                    text,
                    WIDTH,
                    initial_indent="- ",
                    subsequent_indent="  ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
    parts = [
        f"### {KINDS[kind]}\n\n" + "\n".join(texts) for kind, texts in entries.items() if texts
    ]
    return "\n\n".join(parts)


def write_section(changes: Path, version: str, text: str) -> None:
    """Write the section of a release, the newest first, in the place of one of that number.

    Parameters
    ----------
    changes
        ``CHANGES.md``.
    version
        Number of the release.
    text
        What `gather` gives.

    Raises
    ------
    ValueError
        For what is no number of a release.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+\S*", version):
        raise ValueError(f"{version!r} is no number of a release: give one such as 0.2.0")
    heading = f"## {version}"
    head, *sections = re.split(r"(?m)^(?=## )", changes.read_text(encoding="utf-8"))
    kept = [section for section in sections if section.split("\n")[0] != heading]
    section = f"{heading}\n\n{text}\n\n"
    changes.write_text("".join([head, section, *kept]).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    here = Path(__file__).parent
    write_section(here.parent / "CHANGES.md", sys.argv[1], gather(here))
