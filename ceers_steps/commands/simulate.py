"""``ceers simulate``: the command line of the simulator."""

import argparse
import contextlib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_regular

if TYPE_CHECKING:
    from ceers_steps.simulate.config.simulation import SimulationConfig

__all__ = ["add_parser", "read_config", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    from ceers_steps.simulate.config.simulation import SimulationConfig

    parser = subparsers.add_parser(
        "simulate",
        help="simulate exposures, their truth and the reference files that calibrate them",
        description="Simulate raw exposures (*_uncal.fits) of NIRCam, MIRI or NIRISS with their "
        "truth (*_truth.asdf), wisp templates and a CRDS cache that needs no server. Afterwards: "
        "source OUT/env.sh; strun calwebb_detector1 OUT/..._uncal.fits. A second call with the "
        "same OUT adds to it, also another instrument.",
    )
    parser.add_argument("out", metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--instrument",
        type=str.upper,
        choices=("NIRCAM", "MIRI", "NIRISS"),
        help="instrument (default: that of the detectors, or NIRCAM)",
    )
    parser.add_argument(
        "--detectors",
        nargs="+",
        metavar="NAME",
        help="detectors (default: NRCB4 NRCBLONG; MIRIMAGE; NIS)",
    )
    parser.add_argument(
        "--filters",
        nargs="+",
        metavar="NAME",
        help="filters; each is used on the detectors of its channel (default: F150W F277W; "
        "F770W; F150W)",
    )
    parser.add_argument(
        "--dithers", type=int, default=3, metavar="N", help="dither positions (default: 3)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of sky, noise and events (default: 1)"
    )
    parser.add_argument(
        "--catalog",
        metavar="FILE",
        help="table of sources with RA, DEC (deg), MAG (AB); default: a made-up deep field",
    )
    parser.add_argument(
        "--size",
        default="full",
        metavar="NAME",
        help="subarray, e.g. sub640, brightsky (default: full)",
    )
    parser.add_argument("--read-pattern", metavar="NAME", help="default: MEDIUM8; FASTR1; NISRAPID")
    parser.add_argument(
        "--groups", type=int, default=9, metavar="N", help="groups per integration (default: 9)"
    )
    parser.add_argument(
        "--integrations", type=int, default=1, metavar="N", help="integrations (default: 1)"
    )
    parser.add_argument(
        "--observation",
        type=int,
        default=1,
        metavar="N",
        help="number of the observation in the file names (default: 1)",
    )
    parser.add_argument(
        "--target",
        type=float,
        nargs=2,
        metavar=("RA", "DEC"),
        help="where to look, deg (default: the CEERS field, or the middle of the catalogue)",
    )
    parser.add_argument(
        "--roll", type=float, default=130.0, metavar="DEG", help="angle of V3 (default: 130)"
    )
    parser.add_argument(
        "--aperture",
        metavar="NAME",
        help="SIAF aperture to put the target on (default: all SW detectors of the module)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file with a section per effect (docs/simulator.md)"
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="EFFECT",
        help=f"effects to turn off: {', '.join(SimulationConfig.effects())}",
    )
    parser.add_argument("--only", nargs="+", metavar="EFFECT", help="turn every other effect off")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ceers_steps.simulate.api import simulate
    from ceers_steps.simulate.config.simulation import SimulationConfig

    config = read_config(args.config) if args.config else SimulationConfig()
    if args.only is not None:
        config = config.only(*args.only)
    config = config.without(*args.without)
    with _progress() as tell:
        exposures = simulate(
            args.out,
            args.detectors,
            args.filters,
            instrument=args.instrument,
            dithers=args.dithers,
            seed=args.seed,
            catalog=args.catalog,
            size=args.size,
            read_pattern=args.read_pattern,
            n_groups=args.groups,
            n_ints=args.integrations,
            config=config,
            target=args.target,
            roll=args.roll,
            aperture=args.aperture,
            observation=args.observation,
            tell=tell,
        )
    for exposure in exposures:
        print(exposure.uncal)
    print(f"source {Path(args.out) / 'env.sh'}  # then jwst uses the simulated reference files")


@contextlib.contextmanager
def _progress() -> Iterator:
    """Show how far it is, on a terminal only; yields what `simulate` is to call."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("simulating", total=None)

        def tell(done: int, total: int, name: str) -> None:
            progress.update(bar, completed=done, total=total, description=name or "done")

        yield tell


def read_config(path: str | os.PathLike) -> "SimulationConfig":
    """Read a configuration of the simulator.

    Parameters
    ----------
    path
        TOML file. Each section is one of `SimulationConfig` and holds parameters of it, e.g.
        ``[snowballs]`` with ``rate = 0.01``; what is not there keeps its default.

    Returns
    -------
    SimulationConfig
        The configuration.

    Raises
    ------
    CeersError
        When the file cannot be read, or a section, parameter or value is not known.
    """
    from ceers_steps.simulate.config.simulation import SimulationConfig

    check_regular(path, f"The configuration {path}", 1e7)
    try:
        with open(path, "rb") as file:
            sections = tomllib.load(file)
    except OSError as err:
        raise CeersError(f"Cannot read the configuration {path}: {err.strerror}.") from err
    except tomllib.TOMLDecodeError as err:
        raise CeersError(f"The configuration {path} is not TOML: {err}.") from err
    config = SimulationConfig()
    known = [f.name for f in fields(config)]
    changed = {}
    for name, values in sections.items():
        if name not in known or not isinstance(values, dict):
            raise CeersError(
                f"The configuration {path} has '{name}', which is no section. "
                f"The sections are {', '.join(known)}."
            )
        changed[name] = _section(path, name, getattr(config, name), values)
    return replace(config, **changed)


def _section(path: str | os.PathLike, name: str, section: Any, values: dict) -> Any:
    parameters = {f.name: getattr(section, f.name) for f in fields(section)}
    for key, value in values.items():
        if key not in parameters:
            raise CeersError(
                f"The configuration {path} has the parameter '{key}' in [{name}], which is not "
                f"known. The parameters are {', '.join(parameters)}."
            )
        default = parameters[key]
        value = tuple(value) if isinstance(value, list) else value
        if isinstance(default, bool) or isinstance(value, bool):
            fits = isinstance(default, bool) and isinstance(value, bool)
        elif isinstance(default, tuple):
            fits = isinstance(value, tuple) and len(value) == len(default)
        else:
            fits = isinstance(value, int | float)
        if not fits:
            raise CeersError(
                f"The configuration {path} has {key} = {value!r} in [{name}]: "
                f"give a value like {default!r}."
            )
        parameters[key] = value
    return type(section)(**parameters)
