"""Wisps: templates made fit for use and their scales in an image; no files."""
