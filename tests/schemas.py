"""Schemas of jwst's models, kept by a process: jwst reads and merges them anew for every model."""

import functools
from types import SimpleNamespace

import asdf
from stdatamodels import model_base
from stdatamodels.jwst.datamodels import util


class Merged(dict):
    """A schema whose property trees are merged."""


def keep_schemas() -> None:
    """Let asdf parse a schema once, and a model take the merged one of its class as it is.

    Neither writes into a schema: what is added to that of a model is merged into a new one.
    """
    # $ref in the schemas of a WCS, each time that one is set or saved
    if hasattr(asdf.schema, "_make_schema_loader"):
        loader = functools.cache(asdf.schema._make_schema_loader())
        asdf.schema._make_schema_loader = lambda: loader
    if hasattr(util, "_retrieve_schema"):
        util._retrieve_schema = functools.cache(util._retrieve_schema)
    if hasattr(model_base, "asdf_schema") and hasattr(model_base, "mschema"):
        load, merge = asdf.schema.load_schema, model_base.mschema.merge_property_trees

        @functools.cache
        def load_merged(url, resolve_references=False):
            return Merged(merge(load(url, resolve_references)))

        def merge_others(schema):
            return schema if isinstance(schema, Merged) else merge(schema)

        model_base.asdf_schema = SimpleNamespace(
            **{**vars(model_base.asdf_schema), "load_schema": load_merged}
        )
        model_base.mschema = SimpleNamespace(
            **{**vars(model_base.mschema), "merge_property_trees": merge_others}
        )
