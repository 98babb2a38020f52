"""Stands before setuptools_scm: astropy_healpix loads it, half a second, to learn its version."""

raise ImportError("setuptools_scm is hidden from tests (tests/conftest.py)")
