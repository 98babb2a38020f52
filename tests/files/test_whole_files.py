"""Files that are cut off."""

import os

import pytest

from ceers_steps.files.whole_files import NotWholeError, fits_problem, open_whole
from tests.survey.archive.test_transfer import DATA


@pytest.mark.parametrize(
    "n_bytes", [0, 100, 2880, 2900, 2880 + 1000, 2880 * 2 + 17, len(DATA) - 2880, len(DATA) - 1]
)
def test_a_fits_file_that_is_cut_off_is_seen(tmp_path, n_bytes):
    path = tmp_path / "a.fits"
    path.write_bytes(DATA)
    assert fits_problem(path) == ""
    os.truncate(path, n_bytes)
    # a cut between two extensions cannot be seen in the file; its size tells
    whole_hdus = n_bytes in (2880,)
    assert bool(fits_problem(path)) is not whole_hdus


def test_what_is_opened_is_whole(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(DATA)
    with open_whole(path) as hdus:
        assert len(hdus) == 3
    with pytest.raises(NotWholeError, match="'NOT'"), open_whole(path) as hdus:
        hdus["NOT"].header  # noqa: B018  what is missing in it is said as well
    os.truncate(path, len(DATA) - 1)
    with pytest.raises(NotWholeError, match=f"cut off: {len(DATA) - 1} bytes of"), open_whole(path):
        pass
