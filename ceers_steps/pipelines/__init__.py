"""Pipelines: the order of the steps."""
