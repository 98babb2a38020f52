"""The wheel holds everything that is used outside the repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_wheel_works_outside_the_repository(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    plain = {**os.environ, "PYTHONPATH": ""}  # with what is hidden from other tests
    subprocess.run([*build, "-w", tmp_path, REPOSITORY], env=plain, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel]
    subprocess.run(install, check=True)
    script = """
import ceers_steps, importlib.metadata as metadata
from ceers_steps.cli import main
from ceers_steps.files.parameter_files import list_parameter_files
from ceers_steps.simulate.telescope.instrument import *
print(ceers_steps.__file__)
print(*sorted(file.name for file in list_parameter_files()))
print(ceers_steps.CeersDetector1.class_alias)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    where, files, alias = done.stdout.splitlines()
    assert Path(where).is_relative_to(site)
    inside = REPOSITORY / "parameter_files"
    names = sorted(str(p.relative_to(inside)) for p in inside.rglob("*") if p.is_file())
    assert files.split() == names
    assert alias == "ceers_detector1"
    # data files of the simulator and the report's templates are in it too
    packed = {p.relative_to(site) for p in site.rglob("*") if p.is_file()}
    kept = [
        p.relative_to(REPOSITORY)
        for p in (REPOSITORY / "ceers_steps").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    ]
    assert packed >= set(kept)
