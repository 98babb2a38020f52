"""Stage 1 as a whole: time and peak memory of `CeersDetector1` against stock jwst.

    python benchmarks/detector1.py [--size full] [--runs 3] [--output FILE]

Each run is a process of its own, on one simulated exposure; the smallest figures count.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from results_page import options_of, write_page

from ceers_steps.simulate import activate, simulate

PIPELINES = {
    "jwst, calwebb_detector1": ("calwebb_detector1", ()),
    "jwst, with its snowballs and 1/f": (
        "calwebb_detector1",
        ("--steps.jump.expand_large_events=true", "--steps.clean_flicker_noise.skip=false"),
    ),
    "CeersDetector1, none of its steps": (
        "ceers_detector1",
        tuple(
            f"--steps.{step}.skip=true"
            for step in ("jump_check", "snowball", "wispsub", "remstriping")
        ),
    ),
    "CeersDetector1": ("ceers_detector1", ()),
}

CHILD = """
import resource, sys
from stpipe import _cmdline
_cmdline.step_from_cmdline(sys.argv[1:])
use = resource.getrusage(resource.RUSAGE_SELF)
print(use.ru_utime + use.ru_stime, use.ru_maxrss / 1024)
"""


def measure(command, folder):
    """Return CPU time (s) and peak memory (MB) of one process."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, *command, f"--output_dir={folder}", "--log-level=WARNING"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    return tuple(map(float, run.stdout.split()[-2:]))


def main():
    parser = options_of(__doc__, "detector1")
    parser.add_argument("--size", default="full")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    lines = [
        "# Stage 1",
        "",
        f"One exposure, NRCB4 F150W, {options.size}, MEDIUM8, 9 groups, one core; smallest of "
        f"{options.runs} processes, start and files included. Written by "
        "`python benchmarks/detector1.py`.",
        "",
        "| pipeline | CPU time (s) | peak memory (MB) | memory over that of jwst |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        (exposure,) = simulate(folder, ["NRCB4"], ["F150W"], dithers=1, size=options.size)
        activate(folder)
        # in turn, so that a slow minute of the machine hits all alike
        figures = {name: [] for name in PIPELINES}
        for _ in range(options.runs):
            for name, (pipeline, arguments) in PIPELINES.items():
                command = (pipeline, str(exposure.uncal), *arguments)
                figures[name].append(measure(command, Path(folder) / "out"))
    stock = min(memory for _, memory in next(iter(figures.values())))
    for name, runs in figures.items():
        seconds, memory = (min(values) for values in zip(*runs, strict=True))
        lines.append(f"| {name} | {seconds:.1f} | {memory:.0f} | {memory / stock:.2f} |")
    text = "\n".join(lines) + "\n"
    write_page(options.output, text)


if __name__ == "__main__":
    main()
