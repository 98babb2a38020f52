"""What tests of steps share."""

import pytest
from stpipe import crds_client


@pytest.fixture
def without_crds(monkeypatch):
    """Need no CRDS where all references are given; stpipe asks for its context only."""
    monkeypatch.setattr(crds_client, "get_context_used", lambda observatory: "jwst_0000.pmap")
