"""Errors that a user can fix."""

import pytest

from ceers_steps.errors import CeersError, optional_import


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ImportError("No module named 'matplotlib'"), r"pip install 'ceers_steps\[report\]'"),
        (ValueError("Key backend: 'x' is not a valid value"), r"settings \(MPLBACKEND\)"),
    ],
)
def test_a_package_that_cannot_be_imported(error, remedy):
    with (
        pytest.raises(CeersError, match=f"Figures need matplotlib.*{remedy}"),
        optional_import("Figures need matplotlib", extra="report"),
    ):
        raise error
