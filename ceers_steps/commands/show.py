"""``ceers show``: a product as a picture or a page, and what was done to it."""

import argparse
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError

__all__ = ["add_parser"]

PICTURES = (".png", ".html")
"""Ends of names that are written to: of any other a product might be replaced."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "show",
        help="a product as a PNG or in the browser, with what was applied to it",
        description="Write the image of a product as a PNG, or a page that shows it with its "
        "flags, and print which steps ran, with their metrics.",
    )
    parser.add_argument("file", metavar="FILE", help="FITS product")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help=".png or .html (default: FILE with .png, here)"
    )
    parser.add_argument("--extension", help="image (default: SCI, or the first image of the file)")
    parser.add_argument(
        "--stretch",
        choices=("zscale", "asinh"),
        default="zscale",
        help="zscale: linear around the sky; asinh: for bright and faint (default: zscale)",
    )
    parser.add_argument(
        "--dq",
        metavar="FLAGS",
        help="flags of DQ to draw over the PNG, DO_NOT_USE,SATURATED for instance",
    )
    parser.add_argument("--open", action="store_true", help="show it in a browser, as a page")
    parser.set_defaults(run=run_show)


def run_show(args: argparse.Namespace) -> None:
    """Show a product."""
    from ceers_steps.files.atomic import write_atomic
    from ceers_steps.files.whole_files import fits_problem
    from ceers_steps.report.product_page import Product, read_product, write_product_page

    if args.output and not args.output.lower().endswith(PICTURES):
        raise CeersError(f"-o {args.output}: use a name that ends in .png or .html.")
    product: Product = read_product(args.file, args.extension)
    target = Path(args.output or f"{product.path.stem}.png")
    if args.open and not args.output:
        target = Path(tempfile.mkdtemp(prefix="ceers_show_")) / f"{product.path.stem}.html"
    if target.suffix.lower() == ".html":
        write_product_page(target, product, args.stretch)
    else:
        picture = _png(product, args.stretch, args.dq or "")
        write_atomic(target, lambda scratch: scratch.write_bytes(picture))
    print(target)
    if args.open:
        webbrowser.open(target.resolve().as_uri())
    for step, entry in product.steps.items():
        note = entry.get("note")
        print(f"{step} {entry.get('status', '')}{f': {note}' if note else ''}")
    for name, value, unit, _ in product.metrics:
        print(f"  {name} {value} {unit}".rstrip())
    if problem := fits_problem(product.path):
        print(f"{product.path} is not whole ({problem}): only a part of it is shown.")
    if not product.steps:
        print("No step of ceers_steps has left a note in it.")


def _png(product: Any, stretch: str, names: str) -> bytes:
    """Return the picture with the flags that were asked for."""
    from ceers_steps.figures.flags import COLOURS, FLAGS, flags_png, overlaid_png
    from ceers_steps.figures.preview import preview_png

    wanted = [name.strip().upper() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in FLAGS]
    if unknown:
        raise CeersError(f"--dq {names}: {unknown[0]} is none of {', '.join(FLAGS)}.")
    overlays = []
    for number, name in enumerate(wanted):
        if name not in product.flags:
            print(f"No pixel is flagged {name}.")
            continue
        colour = COLOURS[number % len(COLOURS)]
        print(f"{name}: {product.flags[name].fraction:.2%} of the pixels, in {colour}")
        overlays.append(flags_png(product.flags[name].blocks, colour))
    picture = preview_png(product.preview, stretch)
    return overlaid_png(picture, overlays) if overlays else picture
