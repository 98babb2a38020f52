"""The reference files and wisp templates that exposures will need: are they there, and whole?"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.disk import check_space
from ceers_steps.files.whole_files import fits_problem
from ceers_steps.survey.references import crds_rules
from ceers_steps.survey.references.crds_rules import INSTRUMENT_KEYWORD, Rules
from ceers_steps.survey.references.types import PIPELINES, WISP_KEYWORDS, Chain, load_chain

__all__ = ["Reference", "ReferenceReport", "check_references", "fetch_references"]

NO_RULE = "NOT FOUND"
"""What CRDS puts before its reason, instead of a name."""

READ_AT_ONCE = 1 << 20

FETCH_ATTEMPTS = 3


@dataclass(frozen=True)
class Reference:
    """A file that exposures need.

    Attributes
    ----------
    name : str
        File name.
    types : tuple of str
        What it is used as: types of CRDS, or "wisp template".
    exposures : int
        Number of exposures that need it.
    state : {"ok", "missing", "damaged", "no rule"}
        "no rule": CRDS has no such file for these exposures.
    path : Path or None
        Where it is, or would be.
    size : int or None
        Bytes, as CRDS lists them, else as found.
    note : str
        What is wrong with it; of a template that is there, the package that it is part of.
    """

    name: str
    types: tuple[str, ...]
    exposures: int
    state: str
    path: Path | None = None
    size: int | None = None
    note: str = ""


@dataclass(frozen=True)
class ReferenceReport:
    """What `check_references` found.

    Attributes
    ----------
    context : str
        The context of CRDS.
    n_exposures, n_configurations : int
        Number of files, and of different sets of keywords that CRDS looks at.
    references, templates : tuple of Reference
        Reference files, and wisp templates.
    unreadable : dict
        ``{path: reason}`` of files that are not exposures.
    n_listed : int
        Number of references whose size and checksum are known.
    checksums : bool
        Whether checksums were compared.
    """

    context: str
    n_exposures: int
    n_configurations: int
    references: tuple[Reference, ...]
    templates: tuple[Reference, ...] = ()
    unreadable: Mapping[Path, str] = field(default_factory=dict)
    n_listed: int = 0
    checksums: bool = False

    @property
    def problems(self) -> tuple[Reference, ...]:
        """What is not there or not right."""
        files = (*self.references, *self.templates)
        return tuple(item for item in files if item.state != "ok")

    @property
    def due(self) -> tuple[Reference, ...]:
        """What `fetch_references` is to fetch."""
        return tuple(item for item in self.references if item.state in ("missing", "damaged"))

    @property
    def ok(self) -> bool:
        """Whether nothing stands against a run."""
        return not self.problems and not self.unreadable

    def summary(self) -> str:
        """Return all that is wrong, a line each, after a line with the numbers."""
        good = sum(item.state == "ok" for item in self.references)
        known = "size and checksum" if self.checksums else "size"
        lines = [
            f"{self.n_exposures} exposures ({self.n_configurations} configurations) under "
            f"{self.context}: {good} of {len(self.references)} references are there; {known} "
            f"compared for {self.n_listed}"
        ]
        if self.templates:
            good = sum(item.state == "ok" for item in self.templates)
            lines.append(f"{good} of {len(self.templates)} wisp templates are there")
            packaged = [item for item in self.templates if item.state == "ok" and item.note]
            lines += [f"wisp template {item.name} of {item.note}" for item in packaged]
        lines += [f"{path}: {reason}" for path, reason in self.unreadable.items()]
        for item in self.problems:
            many = f"{item.exposures} exposure{'' if item.exposures == 1 else 's'}"
            note = f": {item.note}" if item.note else ""
            lines.append(f"{item.state}: {item.name} ({', '.join(item.types)}; {many}){note}")
        return "\n".join(lines)


def check_references(
    files: Iterable[str | os.PathLike],
    context: str | None = None,
    *,
    pipelines: Sequence[str] = PIPELINES,
    parameters: Mapping[str, Mapping] | None = None,
    checksums: bool = False,
) -> ReferenceReport:
    """Find out whether all reference files and wisp templates for a run are there.

    Only headers of the exposures are read, and CRDS is asked once for each set of keywords that
    its rules tell apart. Nothing is fetched but rules.

    Parameters
    ----------
    files
        Exposures of any level.
    context
        Context of CRDS; None for the one that jwst would take.
    pipelines
        Names of the pipelines that will run.
    parameters
        Their parameters, as ``{"CeersDetector1": {"steps": {"wispsub": {"skip": True}}}}``, where
        they differ from the defaults: what is skipped or overridden is not needed.
    checksums
        Compare checksums too, which reads every reference file.

    Returns
    -------
    ReferenceReport
        What is there and what is not.

    Raises
    ------
    CeersError
        When there are no files, or CRDS has no rules to work with.
    """
    chain = load_chain(pipelines, parameters or {})
    context = crds_rules.context_name(context)
    rules: dict[str, Rules] = {}
    names = {*WISP_KEYWORDS, INSTRUMENT_KEYWORD}
    groups: dict[tuple[str, tuple], list[dict]] = {}
    exposures, unreadable = [], {}
    for name in files:
        path = Path(name)
        try:
            keywords = crds_rules.read_keywords(path, names)
            instrument = str(keywords[INSTRUMENT_KEYWORD]).upper()
            if instrument not in rules:
                rules[instrument] = crds_rules.open_rules(context, instrument)
                names |= {*rules[instrument].keywords}
                keywords = crds_rules.read_keywords(path, names)
        except OSError as err:
            unreadable[path] = err.strerror or str(err)
            continue
        exposures.append((path, keywords))
        configuration = rules[instrument].configuration(keywords, chain.all_types)
        groups.setdefault((instrument, configuration), []).append(keywords)
    if not exposures and not unreadable:
        raise CeersError("No files to check references for: give exposures (*_uncal.fits).")

    uses: Counter[tuple[str, str]] = Counter()
    given: Counter[tuple[str, str]] = Counter()
    for (instrument, _), members in groups.items():
        needed = _needed(rules[instrument], chain, members[0])
        uses.update(dict.fromkeys(needed.items(), len(members)))
        given.update(dict.fromkeys(chain.overridden.items(), len(members)))
    listed = crds_rules.catalogue()
    references = [
        _reference(name, types, n, Rules.path(name), listed.get(name), checksums)
        if NO_RULE not in name
        else _without_rule(name, types, n)
        for name, (types, n) in _by_name(uses).items()
    ]
    references += [
        _reference(name, types, n, Path(name), None, False)
        for name, (types, n) in _by_name(given).items()
    ]
    return ReferenceReport(
        context=context,
        n_exposures=len(exposures),
        n_configurations=len(groups),
        references=tuple(references),
        templates=tuple(_templates(exposures, chain)),
        unreadable=unreadable,
        n_listed=sum(item.name in listed for item in references),
        checksums=checksums,
    )


def fetch_references(
    report: ReferenceReport, tell: Callable[[Reference, str], None] | None = None
) -> list[Reference]:
    """Fetch with the crds library what a check found missing or damaged.

    Size and checksum of each file are compared with those of the server; what does not agree is
    removed and fetched again.

    Parameters
    ----------
    report
        What `check_references` found.
    tell
        Called with each reference, and "" or the reason for which it could not be had.

    Returns
    -------
    list of Reference
        Those that could not be had, with the reason as their note.

    Raises
    ------
    CeersError
        When the server cannot be reached, or the disk has no room.
    """
    due = report.due
    if not due:
        return []
    if not crds_rules.connected():
        raise CeersError(
            f"The CRDS server {crds_rules.server()} cannot be reached; {len(due)} reference files "
            "have to be fetched. Check the network and CRDS_SERVER_URL "
            "(https://jwst-crds.stsci.edu)."
        )
    needed, folder = sum(item.size or 0 for item in due), (due[0].path or Path()).parent
    check_space(needed, folder, "or set CRDS_PATH to a folder on another disk")
    listed = crds_rules.catalogue()
    failed = []
    for item in due:
        problem = _fetch(item, report.context, listed.get(item.name))
        if tell is not None:
            tell(item, problem)
        if problem:
            failed.append(replace(item, note=problem))
    return failed


def _fetch(item: Reference, context: str, listed: Mapping[str, str] | None) -> str:
    """Fetch a file; return why it could not be had, or nothing."""
    from crds.client import api
    from crds.core.exceptions import CrdsError

    if listed is None:
        return "not from CRDS: put it there yourself, or change the parameter that names it"
    path, problem = Rules.path(item.name), ""
    for _ in range(FETCH_ATTEMPTS):
        try:
            # what is there is not right: crds removes it first
            api.dump_references(context, baserefs=[item.name], ignore_cache=True)
        except (CrdsError, OSError, AssertionError) as err:
            problem = " ".join(str(err).split())
        else:
            problem = _problem(path, listed, checksum=False)
        if not problem:
            return ""
        # crds gives a file its name before it compares the checksum
        path.unlink(missing_ok=True)
    return problem


def _needed(rules: Rules, chain: Chain, keywords: Mapping[str, object]) -> dict[str, str]:
    """Return the reference files of an exposure by type, those with parameters among them."""
    needed = rules.recommend(keywords, chain.parameter_types)
    there = {
        kind: path
        for kind, name in needed.items()
        if not name.startswith(NO_RULE) and (path := rules.path(name)).is_file()
    }
    # parameters that CRDS has no rule for are simply not set
    needed = {kind: name for kind, name in needed.items() if not name.startswith(NO_RULE)}
    return needed | rules.recommend(keywords, chain.types(there))


def _by_name(uses: Counter) -> dict[str, tuple[tuple[str, ...], int]]:
    """Return ``{name: (types, number of exposures)}``."""
    kinds: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for (kind, name), count in uses.items():
        # a reason instead of a name is reported for each type
        key = f"{kind} ({name})" if name.startswith(NO_RULE) else name
        if kind not in kinds.setdefault(key, []):
            kinds[key].append(kind)
        counts[key] = max(counts[key], count)
    return {name: (tuple(sorted(kinds[name])), counts[name]) for name in sorted(kinds)}


def _without_rule(name: str, types: tuple[str, ...], exposures: int) -> Reference:
    """Describe what CRDS has no rule for; the name holds its reason."""
    reason = name.partition(NO_RULE)[2].strip(" )") or "CRDS does not say why"
    return Reference(types[0], types, exposures, "no rule", note=reason)


def _reference(
    name: str,
    types: tuple[str, ...],
    exposures: int,
    path: Path,
    listed: Mapping[str, str] | None,
    checksums: bool,
) -> Reference:
    """Look at a reference file."""
    size = int(listed["size"]) if listed else None
    if not path.is_file():
        return Reference(Path(name).name, types, exposures, "missing", path, size, f"not at {path}")
    problem = _problem(path, listed, checksum=checksums)
    state = "damaged" if problem else "ok"
    size = path.stat().st_size if size is None else size
    return Reference(Path(name).name, types, exposures, state, path, size, problem)


def _problem(path: Path, listed: Mapping[str, str] | None, *, checksum: bool) -> str:
    """Say what is wrong with a file; nothing if it is whole."""
    try:
        size = path.stat().st_size
        if listed and size != int(listed["size"]):
            return f"{size} bytes, {listed['size']} in CRDS"
        if checksum and listed and listed.get("sha1sum") not in (None, "", "none"):
            found = _sha1(path)
            return "" if found == listed["sha1sum"] else "checksum differs from that in CRDS"
        if path.suffix == ".fits":
            return fits_problem(path)
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".asdf":
            import asdf

            with asdf.open(path, lazy_tree=True):
                pass
    except (OSError, ValueError, KeyError) as err:
        return f"cannot be read ({' '.join(str(err).split())})"
    return ""


def _sha1(path: Path) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(READ_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def _templates(exposures: Sequence[tuple[Path, Mapping]], chain: Chain) -> list[Reference]:
    """Look at the wisp templates that the exposures need."""
    from ceers_steps.files.wisps.package import package_label
    from ceers_steps.files.wisps.templates import find_templates

    found: list[Reference] = []
    for (detector, filter_name), count in sorted(chain.wisps(exposures).items()):
        name = f"wisps_{detector.lower()}_{filter_name}.fits"
        kind = ("wisp template",)
        try:
            paths = chain.given_templates or find_templates(
                detector, filter_name, chain.template_dir
            )
        except CeersError as err:
            found.append(Reference(name, kind, count, "missing", note=str(err)))
            continue
        for path in paths:
            if not path.is_file():
                found.append(
                    Reference(path.name, kind, count, "missing", path, None, f"not at {path}")
                )
                continue
            problem = fits_problem(path)
            state = "damaged" if problem else "ok"
            size = path.stat().st_size
            note = problem or package_label(path)
            found.append(Reference(path.name, kind, count, state, path, size, note))
    return found
