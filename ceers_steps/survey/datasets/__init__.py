"""Folders and tables of data sets, one exposure of one detector each; no pixel is read here."""
