"""What all benchmarks share: the option of the page of results, and how it is written."""

import argparse
from pathlib import Path

from ceers_steps.files.atomic import write_atomic

RESULTS = Path(__file__).parent / "results"


def options_of(description, page):
    """Return the parser of a benchmark.

    Parameters
    ----------
    description : str
        Docstring of the benchmark; its first line is in the help.
    page : str
        Name of its page of results, without the ending.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS / f"{page}.md")
    return parser


def write_page(path, text):
    """Print a page of results and write it."""
    print(text, flush=True)
    write_atomic(path, lambda file: file.write_text(f"{text.rstrip()}\n", encoding="utf-8"))
