"""Alignment over exposures and its tables; no exposure is opened here, no fit computed."""
