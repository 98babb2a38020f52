"""Where the real files are."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real():
    """Folder of real files, which are no part of the repository."""
    if "CEERS_SHARED_DATA" not in os.environ:
        pytest.skip("CEERS_SHARED_DATA is not set: no real files")
    folder = Path(os.environ["CEERS_SHARED_DATA"]) / "real"
    assert folder.is_dir(), f"CEERS_SHARED_DATA is set, but there is no {folder}"
    return folder
