"""Files that are cut off."""

import gzip
import os
import re

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


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("begin", "found"),
    [
        (b"\0" * 9, "begins with b'.x00"),
        (b"", "empty"),
        (b"XTENSION=", "XTENS"),
        (b"SIMPLE  =                    F", "F', not b'SIMPLE  =' and T"),
    ],
)
def test_what_does_not_begin_as_fits_is_not_searched(tmp_path, begin, found, packed):
    """Of a file of zeros astropy looks for the end of the header, for minutes."""
    path = tmp_path / "a_cal.fits.gz"
    content = begin + bytes(1 << 26 if begin else 0)
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    assert re.search(f"not a FITS file: it .*{found}", fits_problem(path))
