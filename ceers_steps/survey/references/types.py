"""Which types of reference file the pipelines ask for: collected from their own steps."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ceers_steps
from ceers_steps.errors import CeersError

__all__ = ["PIPELINES", "WISP_KEYWORDS", "Chain", "load_chain"]

PIPELINES = ("CeersDetector1", "CeersImage2", "CeersImage3")
"""From raw exposures to mosaics."""

WISPS = "wispsub"

WISP_KEYWORDS = (
    "META.INSTRUMENT.DETECTOR",
    "META.INSTRUMENT.FILTER",
    "META.INSTRUMENT.PUPIL",
    "META.EXPOSURE.TYPE",
)
"""What decides on the wisp template."""


@dataclass(frozen=True)
class Chain:
    """Pipelines one after the other, with the parameters that the user sets.

    Attributes
    ----------
    pipelines : tuple
        Instances with default parameters.
    parameters : mapping
        ``{pipeline name: {"steps": {step: {parameter: value}}}}``
    """

    pipelines: tuple
    parameters: Mapping[str, Mapping]

    @functools.cached_property
    def all_types(self) -> list[str]:
        """Every type that any of their steps may ask for, parameters among them."""
        steps = [step for pipeline in self.pipelines for _, step in _steps(pipeline)]
        types = {kind for step in steps for kind in step.reference_file_types}
        return sorted({*types, *self.parameter_types})

    @functools.cached_property
    def parameter_types(self) -> list[str]:
        """Types that hold parameters of pipelines and steps (``pars-...``)."""
        types = {pipeline.get_config_reftype() for pipeline in self.pipelines}
        for pipeline in self.pipelines:
            types |= {step.get_config_reftype() for _, step in _steps(pipeline) if _asks(step)}
        return sorted(types)

    @functools.cached_property
    def overridden(self) -> dict[str, str]:
        """``{type: file}`` of the references that the user gives instead of those of CRDS."""
        found = {}
        for pipeline in self.pipelines:
            for name, step in _steps(pipeline):
                for kind in step.reference_file_types:
                    value = self._user(pipeline, name).get(f"override_{kind}")
                    if value:
                        found[kind] = str(value)
        return found

    def types(self, parameter_files: Mapping[str, Path]) -> list[str]:
        """Return the types that are needed: those of the steps that are not skipped.

        Parameters
        ----------
        parameter_files
            ``{type: path}`` of the parameters that CRDS has for an exposure.
        """
        needed: set[str] = set()
        for pipeline in self.pipelines:
            of_pipeline = _load(parameter_files.get(pipeline.get_config_reftype()))
            for name, step in _steps(pipeline):
                of_step = (
                    _load(parameter_files.get(step.get_config_reftype())) if _asks(step) else {}
                )
                within = of_pipeline.get("steps", {}).get(name, {})
                # what the user sets beats the pipeline's parameters, and those the step's
                merged = {"skip": step.skip, **of_step, **within, **self._user(pipeline, name)}
                if not _true(merged["skip"]) and step.prefetch_references:
                    needed |= set(step.reference_file_types)
        return sorted(needed - set(self.overridden))

    def _user(self, pipeline: Any, step: str) -> Mapping:
        """Return the parameters that the user sets for a step."""
        return self.parameters.get(type(pipeline).__name__, {}).get("steps", {}).get(step, {})

    # -- wisps

    @functools.cached_property
    def _wisp_step(self) -> Mapping | None:
        """Parameters of the wisp step; None where it does not run."""
        for pipeline in self.pipelines:
            if WISPS in pipeline.step_defs:
                user = self._user(pipeline, WISPS)
                if _true(user.get("skip", getattr(pipeline, WISPS).skip)):
                    return None
                overrides = self.parameters.get(type(pipeline).__name__, {}).get("overrides")
                return {"overrides": overrides, **user}
        return None

    @property
    def template_dir(self) -> str | None:
        """Directory that is searched for wisp templates first."""
        return (self._wisp_step or {}).get("template_dir")

    @property
    def given_templates(self) -> list[Path]:
        """Templates that are given by name."""
        given = (self._wisp_step or {}).get("templates") or []
        return [Path(name) for name in ([given] if isinstance(given, str) else given)]

    def wisps(self, exposures: Sequence[tuple[Path, Mapping]]) -> Counter:
        """Return ``{(detector, filter): number}`` of the exposures that the wisp step will treat.

        Parameters
        ----------
        exposures
            Paths with keywords.
        """
        from ceers_steps.files.overrides import read_overrides
        from ceers_steps.files.wisps.templates import AFFECTED_DETECTORS
        from ceers_steps.names import effective_filter, exposure_name

        needed: Counter = Counter()
        if self._wisp_step is None:
            return needed
        table = self._wisp_step.get("overrides")
        rows = read_overrides(table) if table else {}
        for path, keywords in exposures:
            detector, filter_name, pupil, kind = map(keywords.get, WISP_KEYWORDS)
            if (
                detector in AFFECTED_DETECTORS
                and kind == "NRC_IMAGE"
                and not rows.get(exposure_name(path), {}).get("skip_wispsub")
            ):
                needed[detector, effective_filter(filter_name, pupil)] += 1
        return needed


def load_chain(pipelines: Sequence[str], parameters: Mapping[str, Mapping]) -> Chain:
    """Load pipelines by name.

    Parameters
    ----------
    pipelines
        Names in `ceers_steps`.
    parameters
        As in `Chain`.

    Raises
    ------
    CeersError
        For a name that is not one of a pipeline.
    """
    unknown = {*pipelines, *parameters} - set(ceers_steps.__all__)
    if unknown:
        raise CeersError(
            f"{', '.join(sorted(unknown))} is no pipeline; there are {', '.join(PIPELINES)}."
        )
    return Chain(tuple(getattr(ceers_steps, name)() for name in pipelines), parameters)


def _steps(pipeline: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(pipeline, name)) for name in pipeline.step_defs]


def _asks(step: Any) -> bool:
    """Whether a step asks CRDS for parameters; those of this package do not."""
    from ceers_steps.steps.base import CeersStep

    methods = (kind._get_config_from_parameters for kind in (type(step), CeersStep))
    asked, empty = (getattr(method, "__func__", method) for method in methods)
    return asked is not empty


def _load(path: Path | None) -> Mapping:
    """Return the parameters in a file; nothing where there is none or it cannot be read."""
    return {} if path is None else _load_version(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _load_version(path: Path, modified: int) -> Mapping:
    from stpipe import config_parser

    try:
        return config_parser.load_config_file(str(path))
    except (OSError, ValueError, KeyError):
        return {}  # the check of the file itself tells what is wrong


def _true(value: object) -> bool:
    return str(value).strip().lower() in {"true", "1", "yes"}
