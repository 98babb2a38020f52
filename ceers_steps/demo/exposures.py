"""Stages 1 and 2 of the demo: the exposures of one set, the first of them against the truth."""

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ceers_steps import __version__
from ceers_steps.demo.sets import POINTING, DemoSet
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import read_note

__all__ = ["SetResult", "run_set"]


@dataclass(frozen=True)
class SetResult:
    """What came of the exposures of a set.

    Attributes
    ----------
    exposures : DemoSet
        Which ones.
    simulated, products : Path
        Folders.
    names : list of str
        Names of the exposures.
    checks : list of Check
        Lines of the table, for the first exposure.
    row : dict
        All numbers of the first exposure.
    pictures : list of (str, str, Path)
        Heading, caption and PNG file.
    """

    exposures: DemoSet
    simulated: Path
    products: Path
    names: list
    checks: list
    row: dict
    pictures: list


def run_set(
    exposures: DemoSet,
    folder: Path,
    *,
    seed: int = 1,
    tell: Callable[[str], object] = lambda text: None,
) -> SetResult:
    """Simulate the exposures of a set, reduce them, compare the first with the truth.

    Parameters
    ----------
    exposures : DemoSet
        What to simulate.
    folder : Path
        Gets ``simulated/``, ``products/`` and figures.
    seed : int
        Seed of the simulation.
    tell : callable
        Called with what is done next, in a few words.

    Returns
    -------
    SetResult
        What was found, and where the products are.
    """
    simulated, products = folder / "simulated", folder / "products"
    uncals = _simulate_once(exposures, simulated, seed, tell)

    from ceers_steps.simulate.references.crds_cache import activate

    activate(simulated)  # before crds is imported
    shutil.rmtree(products, ignore_errors=True)
    products.mkdir(parents=True)
    names = [uncal.name.removesuffix("_uncal.fits") for uncal in uncals]
    for number, uncal in enumerate(uncals):
        tell(f"exposure {number + 1} of {len(uncals)}")
        _reduce(uncal, products, earlier=uncals[:number][::-1])
        if number == 0:
            tell("comparing with the truth")
            comparison = _compare(products, simulated, names[0])
    from ceers_steps.validate.checks import describe

    return SetResult(
        exposures=exposures,
        simulated=simulated,
        products=products,
        names=names,
        checks=describe(comparison.metrics),
        row=comparison.metrics.as_row(),
        pictures=_draw(comparison, exposures, folder, products, names[0]),
    )


def _simulate_once(
    exposures: DemoSet, folder: Path, seed: int, tell: Callable[[str], object]
) -> list[Path]:
    """Simulate, unless the folder holds the same already; return the raw files."""
    from ceers_steps.simulate.api import simulate
    from ceers_steps.simulate.config.simulation import PointingConfig, SimulationConfig

    # as JSON gives it back
    errors = json.loads(json.dumps(POINTING))
    wanted = {"version": __version__, "seed": seed, **asdict(exposures), "pointing": errors}
    note = folder / "demo.json"
    if known := read_note(note, uncals=list):
        uncals = [folder / str(name) for name in known.pop("uncals")]
        if known == wanted and all(uncal.exists() for uncal in uncals):
            return uncals
    shutil.rmtree(folder, ignore_errors=True)
    written = simulate(
        folder,
        [exposures.detector],
        [exposures.filter],
        dithers=exposures.dithers,
        seed=seed,
        size=exposures.size,
        read_pattern=exposures.readpatt,
        n_groups=exposures.n_groups,
        config=SimulationConfig(pointing=PointingConfig(**POINTING)),
        tell=lambda done, total, name: tell(
            f"simulating exposure {min(done + 1, total)} of {total}"
        ),
    )
    uncals = [each.uncal for each in written]
    text = json.dumps({**wanted, "uncals": [uncal.name for uncal in uncals]}, indent=1)
    write_atomic(note, lambda path: path.write_text(text))
    return uncals


def _reduce(uncal: Path, products: Path, *, earlier: list[Path]) -> None:
    """Run CeersDetector1 and CeersImage2 on a raw file; what figures need for the first only."""
    from ceers_steps.pipelines.detector1 import CeersDetector1
    from ceers_steps.pipelines.image2 import CeersImage2

    first = not earlier
    gc.freeze()  # what importing has made need not be looked through after every step
    CeersDetector1.call(
        str(uncal),
        output_dir=str(products),
        save_results=True,
        save_intermediates=first,
        configure_log=False,
        steps={
            "jump": {"save_results": first},
            "trapped_charge": {"earlier_exposures": [str(path) for path in earlier]},
            "snowball": {"save_results": first, "save_events": first},
            "wispsub": {"save_plots": first},
            "remstriping": {"save_plots": first, "save_patterns": first},
        },
    )
    rate = products / uncal.name.replace("_uncal", "_rate")
    CeersImage2.call(str(rate), output_dir=str(products), save_results=True, configure_log=False)


def _compare(products: Path, simulated: Path, root: str) -> Any:
    """Compare an exposure with the truth; put away what is needed for that only."""
    from ceers_steps.validate.exposures import compare

    comparison = compare(products, simulated, root)
    for ramp in ("jump", "snowball"):  # 400 MB each
        (products / f"{root}_{ramp}.fits").unlink()
    return comparison


def _draw(comparison: Any, exposures: DemoSet, folder: Path, products: Path, root: str) -> list:
    """Draw the figures; return (heading, caption, file) of these and of those of the steps."""
    from ceers_steps.figures.exposures import before_after_figure, snowball_figure

    title = f"{exposures.name}, simulated"
    pictures = [
        (
            "Before and after",
            f"{exposures.name}: rate image before wisps and stripes were taken out, and the "
            "product (flat divided out, to look at)",
            before_after_figure(
                folder.parent / f"before_after_{exposures.slug}.png",
                comparison.before,
                comparison.after,
                labels=("before", "CeersDetector1"),
                title=title,
                greys=32,
            ),
        )
    ]
    view = comparison.view
    if view is not None:
        caption = (
            f"{exposures.name}: the largest snowballs of group {view.group + 1}, what the jump "
            "step flags, what is flagged in the end and what is truly hit"
        )
        path = snowball_figure(
            folder.parent / f"snowballs_{exposures.slug}.png",
            view.difference,
            view.flags,
            jumps=view.jumps,
            contaminated=view.contaminated,
            events=view.events,
            title=f"{title}: group {view.group + 1} less group {view.group}",
        )
        pictures.append(("Snowballs", caption, path))
    for suffix, heading in (("wisp", "Wisps"), ("1f", "Stripes")):
        path = products / f"{root}_{suffix}.png"
        if path.exists():
            pictures.append((heading, f"{exposures.name}, drawn by the step (save_plots)", path))
    return pictures
