"""No module is loaded by accident from the folder that holds the data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ceers_steps.files.parameter_files import parameter_files_dir

NAMES = ("sep", "shapely", "regions", "stcal", "photutils", "drizzle", "bisect", "ceers_steps")
"""Names that files of a user may have as well; all but the last are packages that steps import."""


@pytest.fixture
def folder(tmp_path):
    """A folder with a parameter file and modules that leave a mark when they are run."""
    shutil.copy(parameter_files_dir() / "detector1.asdf", tmp_path)
    for name in NAMES:
        mark = tmp_path / f"{name}.was_run"
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n1 / 0\n")
    return tmp_path


def run(folder, *command):
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
    )
    marks = sorted(path.name for path in folder.glob("*.was_run"))
    assert marks == [], done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("where", ["", "absolute"])
def test_strun_with_a_parameter_file(folder, where):
    strun = Path(sys.executable).with_name("strun")
    file = folder / "detector1.asdf" if where else "detector1.asdf"
    done = run(folder, strun, file, "jw_gone_uncal.fits")
    assert "jw_gone_uncal.fits does not exist" in done.stdout + done.stderr


def test_check_of_a_parameter_file(folder):
    ceers = Path(sys.executable).with_name("ceers")
    done = run(folder, ceers, "params", "--check", "detector1.asdf")
    assert "can be used" in done.stdout, done.stderr


def test_the_path_is_as_before():
    code = (
        "import sys; sys.path.insert(0, 'x'); before = list(sys.path); import ceers_steps;"
        "ceers_steps.UpdateWcsStep; assert sys.path == before, sys.path"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
