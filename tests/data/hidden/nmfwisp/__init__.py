"""Stands before the package of wisp templates, so that tests find none, installed or not."""
