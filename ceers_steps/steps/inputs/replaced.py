"""Products of one association that those of another would replace: they have the same names."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from astropy.io import fits

from ceers_steps.errors import CeersError

__all__ = ["check_replaced"]

log = logging.getLogger(__name__)

_NO_PRODUCTS = (OSError, ValueError, KeyError, TypeError, AttributeError)


def check_replaced(
    path: str | os.PathLike,
    products: Sequence[Mapping[str, Any]],
    asn_id: str | None,
    paths_of: Callable[[str], Sequence[str]],
) -> None:
    """Refuse to replace products of another association; those of the same one may be replaced.

    Files of exposures are named after the exposure and the id of the association alone. An
    association with a product of the same name makes that product again.

    Parameters
    ----------
    path
        The association.
    products
        Its products.
    asn_id
        Its id.
    paths_of
        Returns where the products of an exposure will be, by the path of the exposure.

    Raises
    ------
    CeersError
        When an exposure stands in two products of the association, or its products are there and
        were made for a product of another association.
    """
    remedy = (
        f"Both have the id (asn_id) {asn_id}: write another one into the association, a3002 for "
        "instance, or choose another output_dir."
    )
    own = _members(products)
    seen: dict[str, str] = {}
    unknown: dict[str, str] = {}
    targets = [
        (product, exposure, Path(target))
        for product, exposures in own.items()
        for exposure in sorted(exposures)
        for target in paths_of(exposure)
    ]
    for product, exposure, target in targets:
        if target.name in seen:
            raise CeersError(
                f"Association {path}: {os.path.basename(exposure)} stands in the products "
                f"{seen[target.name]} and {product}, and {target.name} of one would replace "
                "that of the other. Make an association of each, with an asn_id of its own."
            )
        seen[target.name] = product
    for product, exposure, target in targets:
        table = _table_of(target)
        if table in ("", os.path.basename(path)):
            continue
        others = _products_with(target, table, Path(path).parent, os.path.basename(exposure))
        if others and product not in others:
            raise CeersError(
                f"{target} was made for product {' and '.join(sorted(others))} of {table}, and "
                f"product {product} of {path} would replace it. {remedy}"
            )
        if not others:
            unknown.setdefault(table, target.name)
    for table, name in unknown.items():
        log.warning(
            "%s and other products of %s, which cannot be read any more, are replaced by those of "
            "%s. To keep them, write another asn_id into the association.",
            name,
            table,
            path,
        )


def _members(products: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the paths of the science members of each product."""
    return {
        str(product.get("name")): {
            str(member["expname"])
            for member in product["members"]
            if str(member["exptype"]).lower() == "science"
        }
        for product in products
    }


def _table_of(path: Path) -> str:
    """Return the association that a product was made for, by its header; empty if none tells."""
    try:
        return str(fits.getheader(path).get("ASNTABLE") or "")
    except (OSError, ValueError):
        return ""


def _products_with(target: Path, table: str, folder: Path, exposure: str) -> set[str]:
    """Return the products of another association that have an exposure; empty if it is gone."""
    for place in dict.fromkeys((folder, target.parent)):
        try:
            text = (place / os.path.basename(table)).read_text(encoding="utf-8-sig")
            found = _members(json.loads(text)["products"])
        except _NO_PRODUCTS:
            continue
        return {name for name, names in found.items() if exposure in map(os.path.basename, names)}
    return set()
