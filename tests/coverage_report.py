"""Print how much of the package tests have run, against the goals of all tests.

``make test`` does it for those that are not marked slow, ``make coverage`` for all.

Lines and branches count. Functions compiled by numba, which coverage could not see, there are none
in this package; those of jwst and stcal are not counted.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

GOALS = {"kernels": 95.0, "the rest": 88.0}
"""Least share of lines and branches, percent."""

LISTED = 12
"""Files named, those with the most that was not run."""


def main() -> None:
    """Print the report of the data in ``.coverage``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "coverage.json")
        command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(path)]
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit("No coverage is known: run the tests with --cov.")
        which = " ".join(sys.argv[1:]) or "the tests"
        print("\n".join(report(json.loads(path.read_text())["files"], which)))


def report(files: dict[str, dict], which: str = "the tests") -> list[str]:
    """Return the lines of the report.

    Parameters
    ----------
    files : dict
        As ``coverage json`` writes them, by the path of the module.
    which : str
        Tests that were watched.

    Returns
    -------
    list of str
        The shares against `GOALS`, and the files where most is missing.
    """
    rooms: dict[str, list[dict]] = {name: [] for name in GOALS}
    for path, file in files.items():
        room = "kernels" if "kernels" in Path(path).parts else "the rest"
        rooms[room].append(file["summary"])
    lines = [f"coverage of lines and branches by {which}"]
    for name, summaries in rooms.items():
        share = percent(summaries)
        verdict = "reached" if share >= GOALS[name] else "MISSED"
        lines.append(f"  {name:9}{share:7.1f}%   goal {GOALS[name]:.0f}%: {verdict}")
    missing = sorted(((_missing(file["summary"]), path) for path, file in files.items()))[::-1]
    lines.append("most lines and branches that no test runs:")
    for count, path in missing[:LISTED]:
        if count:
            lines.append(f"  {count:5}  {percent([files[path]['summary']]):5.1f}%  {path}")
    return lines


def percent(summaries: list[dict]) -> float:
    """Return the share of lines and branches that were run, of several files, percent."""
    total = sum(each["num_statements"] + each["num_branches"] for each in summaries)
    run = sum(each["covered_lines"] + each["covered_branches"] for each in summaries)
    return 100.0 * run / total if total else 100.0


def _missing(summary: dict) -> int:
    return summary["missing_lines"] + summary["missing_branches"]


if __name__ == "__main__":
    main()
