"""``ceers demo``: from nothing to mosaics, compared with the truth."""

import argparse
from typing import Any

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    parser = subparsers.add_parser(
        "demo",
        help="simulate a field in two filters, reduce it to mosaics, compare with the truth",
        description="Simulate four dithers of NRCB4 F150W and NRCBLONG F277W, run CeersDetector1, "
        "CeersImage2 and CeersImage3, and write a report of what was measured against what is "
        "true. Stopped in any way, the same command goes on; what is there is not made again.",
    )
    parser.add_argument(
        "-o", "--output", default="demo", metavar="DIR", help="folder to write to (default: demo)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation (default: 1)")
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="open the report in a browser (default: when there is a desktop)",
    )
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> None:
    """Run the demo."""
    from ceers_steps import demo

    demo.run_demo(args.output, seed=args.seed, open_report=args.open)
