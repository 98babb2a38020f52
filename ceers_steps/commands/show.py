"""``ceers show``: a product as a picture, and what was done to it."""

import argparse
import io
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "show",
        help="write a product as a PNG and print what was applied to it",
        description="Write the image of a product as a PNG and print which steps ran, with their "
        "metrics.",
    )
    parser.add_argument("file", metavar="FILE", help="FITS product")
    parser.add_argument("-o", "--output", metavar="PNG", help="default: FILE with .png, here")
    parser.add_argument("--extension", default="SCI", help="image (default: SCI)")
    parser.set_defaults(run=run_show)


def run_show(args: argparse.Namespace) -> None:
    """Show a product."""
    from asdf.util import load_yaml
    from astropy.io import fits

    from ceers_steps.figures.preview import preview_png, read_preview
    from ceers_steps.files.atomic import write_atomic
    from ceers_steps.files.metrics import METRICS, metrics_of

    path = Path(args.file)
    try:
        picture = preview_png(read_preview(path, extension=args.extension, largest=1400))
        with fits.open(path) as hdus:
            tree = load_yaml(io.BytesIO(hdus["ASDF"].data.tobytes())) if "ASDF" in hdus else {}
    except KeyError as err:
        raise CeersError(
            f"{path} has no image {args.extension}. Name another with --extension."
        ) from err
    except (OSError, ValueError, TypeError) as err:
        raise CeersError(f"{path} is not a FITS image that can be read ({err}).") from err
    target = Path(args.output or f"{path.stem}.png")
    print(write_atomic(target, lambda scratch: scratch.write_bytes(picture)))
    entries = tree.get("meta", {}).get("ceers_steps", {})
    for step, entry in entries.items():
        note = entry.get("note")
        print(f"{step} {entry.get('status', '')}{f': {note}' if note else ''}")
    metrics = {step: entry.get("metrics", {}) for step, entry in entries.items()}
    units = {metric.name: metric.unit for metric in METRICS}
    for name, value in metrics_of(metrics).items():
        print(f"  {name} {value:.5g} {units[name]}".rstrip())
    if not entries:
        print("No step of ceers_steps has left a note in it.")
