"""The report of coverage counts lines and branches, kernels apart from the rest."""

from tests.coverage_report import report


def file(lines, missing_lines, branches, missing_branches):
    return {
        "summary": {
            "num_statements": lines,
            "covered_lines": lines - missing_lines,
            "missing_lines": missing_lines,
            "num_branches": branches,
            "covered_branches": branches - missing_branches,
            "missing_branches": missing_branches,
        }
    }


def test_report():
    files = {
        "ceers_steps/kernels/sky/level.py": file(80, 0, 20, 4),
        "ceers_steps/kernels/rows.py": file(100, 0, 0, 0),
        "ceers_steps/cli.py": file(60, 10, 40, 5),
        "ceers_steps/empty.py": file(0, 0, 0, 0),
    }
    lines = report(files)
    assert lines[1:3] == [
        "  kernels     98.0%   goal 95%: reached",
        "  the rest    85.0%   goal 88%: MISSED",
    ]
    assert [line.split() for line in lines[4:]] == [
        ["15", "85.0%", "ceers_steps/cli.py"],
        ["4", "96.0%", "ceers_steps/kernels/sky/level.py"],
    ]
