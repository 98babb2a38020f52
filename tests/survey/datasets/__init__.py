"""Folders and tables of data sets."""
