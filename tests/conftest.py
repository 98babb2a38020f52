"""What tests share: small simulated exposures with the reference files that calibrate them."""

import gc
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from filelock import FileLock

from ceers_steps.simulate import SimulationConfig, Truth, active, read_truth, simulate
from tests.schemas import keep_schemas

# CRDS must never look for a server, not even before a simulated cache is active
os.environ["CRDS_SERVER_URL"] = "https://jwst-serverless.invalid"
os.environ.pop("CRDS_CONTEXT", None)
# a run in the background (of a script, with nohup) is started with these ignored, and so are the
# processes that tests start and stop
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Tests find no package of wisp templates, whether one is installed or not, unless they ask for a
# made-up one (`wisp_package`), and nothing that packages are built with; the same in processes that
# they start.
ROOT = Path(__file__).parents[1]
HIDDEN = str(Path(__file__).parent / "data" / "hidden")
sys.path.insert(0, HIDDEN)
os.environ["PYTHONPATH"] = os.pathsep.join([HIDDEN, *filter(None, [os.environ.get("PYTHONPATH")])])
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")


keep_schemas()


def pytest_collection_finish():
    """Leave what importing has made out of the collections that stpipe makes before every step."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _frozen():
    """The same with what was imported, and read once and for all, since."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    """Tests write into folders of their own: what lies here would be an input of other tests."""
    yield
    assert not list(ROOT.glob("*.fits"))


LONGEST = (
    *("test_demo", "test_image3", "test_run", "test_slurm", "test_tiled_resample"),
    *("test_reduce", "test_instruments", "test_detector1", "test_dataset_workflow", "test_align"),
    *("test_exposure", "test_pbs", "test_task", "test_hooks", "test_site"),
)
"""Files of tests that are begun with, so that no worker is left with one when all else is done."""


def pytest_collection_modifyitems(items):
    """Put the `LONGEST` first; the others as they are found."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@dataclass(frozen=True)
class SimulatedField:
    """Exposures in a folder whose reference files jwst uses.

    Attributes
    ----------
    folder
        Output folder of the simulator: reference files, wisp templates, all exposures.
    """

    folder: Path

    def uncal(self, detector: str, size: str) -> Path:
        """The raw file of a detector, ``full`` or ``sub640``."""
        observation = {"sub640": "001", "full": "002"}[size]
        (path,) = self.folder.glob(f"jw01345{observation}001_*_{detector.lower()}_uncal.fits")
        return path

    def truth(self, detector: str, size: str) -> Truth:
        """What is true of it."""
        return read_truth(self.uncal(detector, size))


@contextmanager
def _made_once(
    tmp_path_factory, name: str, part: str, make: Callable[[Path], None]
) -> Iterator[Path]:
    """Make a part of a folder once for all processes of a test run, and give the folder.

    Meanwhile jwst uses the reference files of the simulation in it. Tests leave it as it is.
    """
    # with pytest-xdist every process has a folder of its own in one that they share
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / name, shared / f"{name}.{part}"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    with active(folder):
        yield folder


@contextmanager
def _simulated(tmp_path_factory, size: str, **arguments) -> Iterator[SimulatedField]:
    """One exposure of each detector, of a size."""

    def make(folder):
        simulate(folder, dithers=1, seed=1, size=size, **arguments)

    with _made_once(tmp_path_factory, "simulated", size, make) as folder:
        yield SimulatedField(folder)


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path, monkeypatch):
    """Products and temporary files without a folder go to one that is the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def left_open():
    """For errors in the middle of a step, which leave open what jwst has opened: closed here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed file")
        yield
        gc.collect()


# of a module each: other modules let jwst use the reference files of simulations of their own


@pytest.fixture(scope="module")
def simulated_field(tmp_path_factory) -> Iterator[SimulatedField]:
    """NRCB4 F150W and NRCBLONG F277W, 640 x 640 pixels, 5 groups of MEDIUM8."""
    with _simulated(tmp_path_factory, "sub640", n_groups=5, observation=1) as field:
        yield field


@pytest.fixture(scope="module")
def full_frame(tmp_path_factory) -> Iterator[SimulatedField]:
    """NRCB4 F150W (with wisps) and NRCBLONG F277W, full frame, 9 groups of MEDIUM8: slow tests."""
    with _simulated(tmp_path_factory, "full", n_groups=9, observation=2) as field:
        yield field


@pytest.fixture(scope="module")
def calibrated_dithers(tmp_path_factory) -> Iterator[Path]:
    """Two dithers of NRCB4 F150W and NRCBLONG F277W, SUB640, calibrated, with associations."""
    from tests.dithers import calibrate, simulate_dithers

    def make(folder):
        config = SimulationConfig().only("sources")
        exposures = simulate_dithers(folder, 2, n_groups=2, seed=5, config=config)
        with active(folder):
            calibrate(folder, exposures)

    with _made_once(tmp_path_factory, "calibrated", "dithers", make) as folder:
        yield folder


@pytest.fixture(scope="session")
def _site_with_wisps(tmp_path_factory) -> Path:
    """A folder with a made-up package of wisp templates, laid out as nmfwisp is.

    NRCB4 F150W in full resolution (2 components) and in quarter resolution, NRCB4 F115W and
    F150W2 and NRCA3 F200W in quarter resolution only, and the persistence map of NRCA3.
    """
    site = tmp_path_factory.mktemp("wisps")
    folder = site / "nmfwisp" / "templates"
    (site / "nmfwisp-9.8.7.dist-info").mkdir(parents=True)
    (site / "nmfwisp-9.8.7.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nmfwisp\nVersion: 9.8.7\n"
    )
    y, x = np.indices((512, 512), np.float32)
    quarter = 0.03 * np.exp(-((x - 310) ** 2) / 800 - ((y - 360) ** 2) / 3000)
    second = 0.02 * np.exp(-((x - 320) ** 2) / 3000 - ((y - 350) ** 2) / 500)

    def write(path, *images):
        path.parent.mkdir(parents=True, exist_ok=True)
        hdus = [fits.ImageHDU(image, name=f"WISP_{k}") for k, image in enumerate(images)]
        masks = [fits.ImageHDU((images[0] > 1e-4).astype(int), name=name) for name in ("MASK",)]
        errors = [fits.ImageHDU(np.full(images[0].shape, 1e-4), name="ERR")]
        fits.HDUList([fits.PrimaryHDU(), *hdus, *masks, *errors]).writeto(path)

    whole = [np.kron(image, np.ones((4, 4), np.float32)) for image in (quarter, second)]
    write(folder / "nrcb4_org" / "nrcb4_f150w_wisp.fits.gz", *whole)
    for name in ("nrcb4_f150w", "nrcb4_f115w", "nrcb4_f150w2", "nrca3_f200w"):
        write(folder / name[:5] / f"{name}_wisp.fits.gz", quarter)
    fits.writeto(folder / "nrca3" / "nrca3_persistence.fits.gz", second)
    (site / "nmfwisp" / "__init__.py").write_text("raise ImportError('code that is not wanted')\n")
    return site


@pytest.fixture
def wisp_package(_site_with_wisps, tmp_path, monkeypatch) -> Path:
    """The ``templates`` of a copy of the made-up package, which is found meanwhile."""
    site = shutil.copytree(_site_with_wisps, tmp_path / "site-packages")
    monkeypatch.syspath_prepend(site)
    return site / "nmfwisp" / "templates"
