"""Alignment over exposures and its tables: no files of exposures are opened here, and no fit is computed."""
