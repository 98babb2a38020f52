"""Associations: which files belong to which product; the one place that makes and reads them."""

import json
import logging
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import user_path
from ceers_steps.files.limits import yaml_problem
from ceers_steps.names import header_problem, name_problem, text_problem

__all__ = [
    "ASN_ID",
    "ASSOCIATION_SUFFIXES",
    "as_json",
    "build_association",
    "is_association_path",
    "list_association",
    "merge_products",
    "read_association",
]

log = logging.getLogger(__name__)

ASN_ID = "a3001"
"""Id of associations. Another one only where those of a folder share exposures, whose products
would replace each other.
"""

ASSOCIATION_SUFFIXES = (".json", ".yaml", ".yml")
"""How the names of association files end."""

MEMBER_TYPES = (
    *("science", "background", "target_acquisition", "imprint", "psf", "selfcal", "sourcecat"),
    *("segmap", "direct_image", "dark", "flat", "autoflat", "autowave", "engineering", "pathloss"),
)
"""What the exptype of a member can be in associations of jwst. Of others a pipeline would make
nothing, without a word.
"""

LARGEST = 50_000_000
"""Bytes of the largest association that is read; one of 10,000 exposures has 2 million."""

_TEXTS = {"asn_type", "asn_rule", "asn_id", "asn_pool", "program", "target"}
_EXAMPLES = {"asn_type": "image3", "asn_id": "a3001", "program": "01345"}

REMEDY = "Make one with: ceers associate"


def is_association_path(value: object) -> bool:
    """Say whether a value is the path of an association file, by its ending.

    Parameters
    ----------
    value
        What a step or a pipeline is given.

    Returns
    -------
    bool
        True for a path that ends as one of `ASSOCIATION_SUFFIXES`.
    """
    return isinstance(value, (str, os.PathLike)) and str(value).endswith(ASSOCIATION_SUFFIXES)


def build_association(
    products: Mapping[str, Iterable[str | os.PathLike]],
    *,
    program: str = "noprogram",
    target: str = "none",
    asn_id: str = ASN_ID,
) -> dict[str, Any]:
    """Return a level-3 association as jwst takes it.

    Parameters
    ----------
    products
        Paths of the science members of each product, by its name.
    program, target
        As jwst writes them into the products.
    asn_id
        Part of the names of the exposures that stage 3 writes.

    Returns
    -------
    dict
        To be handed to a library, or written with `as_json`.
    """
    return {
        "asn_type": "image3",
        "asn_rule": "DMS_Level3_Base",
        "asn_id": asn_id,
        "asn_pool": "none",
        "version_id": None,
        "program": program,
        "target": target,
        "constraints": "No constraints",
        "products": [_named(name, _members(paths)) for name, paths in products.items()],
    }


def list_association(paths: Iterable[str | os.PathLike], name: str | None = None) -> dict[str, Any]:
    """Return the association that stands for a list of files.

    Parameters
    ----------
    paths
        Files; each counts once. They become absolute.
    name
        Of the product; None leaves it out.

    Returns
    -------
    dict
        Without an id, so products are named after their exposures alone.
    """
    members = _members(dict.fromkeys(os.path.abspath(path) for path in paths))
    return {"products": [{"members": members} if name is None else _named(name, members)]}


def as_json(association: Mapping[str, Any]) -> bytes:
    """Return the content of the file of an association.

    Parameters
    ----------
    association
        As built by `build_association`.

    Returns
    -------
    bytes
        JSON.
    """
    return (json.dumps(association, indent=1) + "\n").encode()


def merge_products(association: Mapping[str, Any]) -> dict[str, Any]:
    """Return an association with one product, the first, that has all members, each once.

    Parameters
    ----------
    association
        As read by `read_association`.

    Returns
    -------
    dict
        A new association; the given one is not changed.
    """
    products = association["products"]
    members = {member["expname"]: member for each in products for member in each["members"]}
    return {**association, "products": [{**products[0], "members": list(members.values())}]}


def read_association(path: str | os.PathLike) -> dict[str, Any]:
    """Read an association, with the paths of its members made absolute.

    Parameters
    ----------
    path
        Association file (JSON or YAML). Members stand relative to its folder, as everywhere in
        jwst.

    Returns
    -------
    dict
        The association: ``products``, each with a ``name`` and ``members``.

    Raises
    ------
    CeersError
        When it cannot be read, is no association, has a key that stands twice, a value of another
        type, a product whose name is no file name, a product without a science member, a member
        that stands twice in a product, is an association itself or has no known exptype, or names
        an exposure that does not exist.
    """
    path = user_path(path)
    association = _load(path)
    products = association.get("products") if isinstance(association, dict) else None
    if not isinstance(products, list) or not all(isinstance(each, dict) for each in products):
        found = "no products" if isinstance(association, dict) else f"a {_kind(association)}"
        raise CeersError(
            f"{path} is not an association: {found}. It must have products, and members with an "
            f"expname in each. {REMEDY}"
        )
    _check_texts(association, path)
    for product in products:
        _check_product(product, path)
    folder = path.absolute().parent
    members = [member for product in products for member in product["members"]]
    if not members:
        raise CeersError(f"Association {path} has no members. Make it again: ceers associate")
    for member in members:
        member["expname"] = os.path.join(folder, member["expname"])
        member["exptype"] = member["exptype"].lower()  # as a library compares it
    if association.get("asn_type") != "image2":
        _leave_out_missing(products, path)  # stage 3 uses the exposures of science only
        members = [member for product in products for member in product["members"]]
    missing = [member["expname"] for member in members if not os.path.isfile(member["expname"])]
    if missing:
        raise CeersError(_tell_missing(path, folder, missing, len(members)))
    for product in products:
        kinds = [member["exptype"] for member in product["members"]]
        if "science" not in kinds:
            raise CeersError(
                f"Association {path}: product {product.get('name')} has no member with exptype "
                f"'science' (found: {', '.join(dict.fromkeys(kinds)) or 'no member'}). Make it "
                "again: ceers associate"
            )
    return association


def _leave_out_missing(products: list[dict[str, Any]], path: Path) -> None:
    """Leave out what is not there and not used: backgrounds, catalogues, target acquisitions."""
    for product in products:
        kept = [
            member
            for member in product["members"]
            if member["exptype"] == "science" or os.path.isfile(member["expname"])
        ]
        for member in product["members"]:
            if member not in kept:
                log.warning(
                    "%s: %s (exptype %s) is not there, and not used",
                    path.name,
                    member["expname"],
                    member["exptype"],
                )
        product["members"] = kept


def _members(paths: Iterable[str | os.PathLike]) -> list[dict[str, str]]:
    """Return science members."""
    return [{"expname": str(path), "exptype": "science"} for path in paths]


def _named(name: str, members: list[dict[str, str]]) -> dict[str, Any]:
    """Return a product."""
    return {"name": name, "members": members}


def _load(path: Path) -> Any:
    """Return what stands in an association file."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise CeersError(f"Association {path} is not a regular file. Give a file (JSON).")
        if about.st_size > LARGEST:
            raise CeersError(
                f"Association {path} has {about.st_size / 1e6:.0f} MB, more than "
                f"{LARGEST / 1e6:.0f} MB: it is no association. {REMEDY}"
            )
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_once)
        if problem := yaml_problem(text):
            raise ValueError(problem)
        # an alias can stand for another one, and a few lines so for gigabytes
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("it has YAML aliases (*name); write the values out")
        tree = yaml.load(text, Loader=_OnceLoader)
        _warn_if_cut_off(tree, text, path)
        return tree
    except OSError as err:
        raise CeersError(f"Association {path} cannot be read: {err.strerror or err}.") from err
    except RecursionError as err:
        raise CeersError(
            f"{path} is not an association: it is nested too deeply. {REMEDY}"
        ) from err
    except (ValueError, yaml.YAMLError) as err:
        reason = " ".join(str(err).split())
        raise CeersError(
            f"{path} is not an association: {type(err).__name__} {reason}. It must be JSON with "
            f"products, and members with an expname in each. {REMEDY}"
        ) from err


def _warn_if_cut_off(tree: Any, text: str, path: Path) -> None:
    """Warn of YAML that may be the beginning of a longer file: it is valid, with fewer members."""
    ended = text.endswith("\n")
    # jwst writes the keys in the order of their names: program and target after products
    if not ended or (isinstance(tree, dict) and "asn_rule" in tree and "program" not in tree):
        log.warning(
            "Association %s may be cut off: %s. Look whether all members are there.",
            path,
            "it has an asn_rule, but no program" if ended else "its last line has no end",
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; `ValueError` for a key that stands twice: readers take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands twice in one place")
    return found


class _OnceLoader(yaml.SafeLoader):
    """Reads YAML; a key that stands twice in one place is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        """Return a mapping."""
        keys = [(str(key.value), None) for key, _ in node.value]
        _once(keys)
        return super().construct_mapping(node, deep)


def _check_texts(association: Mapping[str, Any], path: Path) -> None:
    """Raise `CeersError` for what becomes text in headers and names, and cannot."""
    if problem := header_problem(path.name):
        raise CeersError(f"The name of association {str(path)!r} {problem}. Rename the file.")
    for key in sorted(_TEXTS & set(association)):
        value = association[key]
        if not isinstance(value, str):
            problem = f"{value!r:.60} is no text"
        elif key == "asn_id" and value:
            problem = name_problem(value)
        else:
            problem = text_problem(value) or header_problem(value)
        if problem:
            raise CeersError(
                f"Association {path}: {key}: {problem}. Write a text in quotes, as in "
                f'"{key}": "{_EXAMPLES.get(key, "none")}".'
            )


def _check_product(product: dict[str, Any], path: Path) -> None:
    """Raise `CeersError` for a product that no pipeline could make."""
    name = product.get("name")
    problem = "" if name is None else name_problem(name)
    if problem:
        raise CeersError(
            f"Association {path}: the name of a product becomes that of a file, but {problem}. "
            "Correct the 'name' in it."
        )
    members = product.get("members")
    if not isinstance(members, list):
        raise CeersError(
            f"{path} is not an association: product {name} has no list of members. {REMEDY}"
        )
    seen: set[str] = set()
    for member in members:
        expname = member.get("expname") if isinstance(member, dict) else None
        if not isinstance(expname, str) or not expname or not expname.isprintable():
            raise CeersError(
                f"{path} is not an association: a member of product {name} has no expname that "
                f"is the name of a file ({str(member)[:60]}). {REMEDY}"
            )
        exptype = member.get("exptype")
        if not isinstance(exptype, str) or exptype.lower() not in MEMBER_TYPES:
            found = "no exptype" if "exptype" not in member else f"exptype {exptype!r:.40}"
            raise CeersError(
                f"Association {path}: member {expname} of product {name} has {found}, and would "
                'not be used. Give "exptype": "science" to what is to be combined (others: '
                f"{', '.join(MEMBER_TYPES[1:])})."
            )
        if is_association_path(expname):
            raise CeersError(
                f"Association {path}: member {expname} of product {name} is an association "
                "itself. Put its members in its place."
            )
        if os.path.normpath(expname) in seen:
            raise CeersError(
                f"Association {path}: {expname} stands twice in product {name}, and would count "
                "twice in the mosaic. Take one out."
            )
        seen.add(os.path.normpath(expname))


def _tell_missing(path: Path, folder: Path, missing: Sequence[str], count: int) -> str:
    """Return what to say of members that do not exist."""
    names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    beside = [name for name in missing if os.path.isfile(folder / os.path.basename(name))]
    remedy = "Put them there, or make the association again: ceers associate"
    if beside:
        remedy = (
            f"{len(beside)} of them stand beside the association: leave their folder out of "
            "expname, or make the association again: ceers associate"
        )
    return (
        f"{len(missing)} of the {count} members of association {path} do not exist: {names}. "
        f"{remedy}"
    )


def _kind(value: object) -> str:
    """Return the word for a JSON value."""
    return {list: "list", str: "text", int: "number", float: "number"}.get(type(value), "value")
