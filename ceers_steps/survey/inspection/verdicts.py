"""Step by step: what the package would do with a file, and what it would leave alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.headers.check import Wanted, check_input, filled_values
from ceers_steps.files.headers.other_tools import already_done
from ceers_steps.files.membership import group_problems, left_out_reason
from ceers_steps.survey.inspection.headers import LEVELS, FileHeaders

__all__ = ["Inspection", "Verdict", "inspect_file"]

APPLIES, SKIPPED, DONE, STOPS = "applies", "skipped", "done", "stops"

PIPELINES = {
    "uncal": "CeersDetector1",
    "ramp": "CeersDetector1",
    "rate": "CeersImage2",
    "rateints": "CeersImage2",
    "cal": "CeersImage3",
    "match": "CeersImage3",
    "i2d": "MosaicBackgroundStep",
}
"""What takes a file of a level."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a file in a step.

    Attributes
    ----------
    step : str
        Class or name of the step.
    state : {"applies", "skipped", "done", "stops"}
        "stops": the step ends with an error.
    note : str
        Why, or with what.
    """

    step: str
    state: str
    note: str = ""


@dataclass(frozen=True)
class Inspection:
    """What is known of a file before anything is computed.

    Attributes
    ----------
    headers : FileHeaders
        The file.
    summary : str
        Instrument, detector, filter, array and read-out in a line.
    problems : tuple of str
        What keeps the package from using it; empty if nothing does.
    filled : tuple of str
        Keywords that are missing, with the values that follow from others.
    verdicts : tuple of Verdict
        In the order in which the steps would run.
    """

    headers: FileHeaders
    summary: str
    problems: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def takes_it(self) -> str:
        """Name of the pipeline or step to which the file is given; empty if there is none."""
        name = PIPELINES.get(self.headers.level, "")
        refused = any(verdict.step == name for verdict in self.verdicts)
        return "" if self.problems or refused else name

    @property
    def same(self) -> tuple:
        """What files have in common that are shown together."""
        return self.headers.level, self.summary, self.problems, self.filled, self.verdicts


def inspect_file(headers: FileHeaders, template_dir: str | None = None) -> Inspection:
    """Say what the package would do with a file.

    Parameters
    ----------
    headers
        Of the file.
    template_dir
        Folder of wisp templates, as the wisp step takes it.

    Returns
    -------
    Inspection
    """
    wanted, name = _wanted(headers)
    problems = tuple(_problems(headers, wanted, name))
    verdicts: tuple[Verdict, ...] = ()
    filled: tuple[str, ...] = ()
    if headers.level and headers.shape:
        verdicts = tuple(_verdicts(headers, template_dir))
    if not problems:
        values = filled_values(headers.path, wanted)
        filled = tuple(f"{path.removeprefix('meta.')} = {value}" for path, value in values.items())
    return Inspection(headers, _summary(headers), problems, filled, verdicts)


def _wanted(headers: FileHeaders) -> tuple[Wanted, str]:
    """Return what the pipeline or step needs to which the file is given, and its name."""
    import ceers_steps

    name = PIPELINES.get(headers.level, "")
    return (getattr(ceers_steps, name).wanted(), name) if name else (Wanted(), "")


def _problems(headers: FileHeaders, wanted: Wanted, name: str) -> Iterator[str]:
    """Return what is wrong with the file as a whole."""
    kind = headers.primary.get("DATAMODL")
    if not headers.level:
        yield (
            f"DATAMODL {kind}: no step of this package takes it"
            if kind
            else "no DATAMODL: not written by the JWST pipeline, or its primary header is lost"
        )
        return
    try:
        check_input(headers.path, wanted, name)
    except CeersError as err:
        yield str(err).removeprefix(f"{name}: ")


def _verdicts(headers: FileHeaders, template_dir: str | None) -> Iterator[Verdict]:
    """Return the steps that a file still has before it."""
    level = headers.level
    if level in ("uncal", "ramp"):
        yield from _stage_1(headers, template_dir)
    elif level in ("rate", "rateints"):
        yield from _rate_steps(headers, template_dir)
    if level in ("uncal", "ramp", "rate", "rateints"):
        yield from _stage_2(headers)
    if level in ("rateints", "calints"):
        yield Verdict("CeersImage3", STOPS, "takes images, not integrations: give it the *_cal")
    elif level != "bkgsub":
        yield from _stage_3(headers)
    else:
        yield Verdict("mosaic_background", DONE)


def _stage_1(headers: FileHeaders, template_dir: str | None) -> Iterator[Verdict]:
    """Return what CeersDetector1 does with ramps."""
    import ceers_steps

    model = headers.as_model()
    for name, step in (
        ("jump_check", ceers_steps.JumpCheckStep()),
        ("snowball", ceers_steps.SnowballStep()),
    ):
        yield _decide(name, headers, lambda step=step: step.reason_to_skip(model))
    yield from _rate_steps(headers, template_dir)


def _rate_steps(headers: FileHeaders, template_dir: str | None) -> Iterator[Verdict]:
    """Return what the steps do that correct rates."""
    import ceers_steps

    model = headers.as_model()
    wisps = ceers_steps.WispSubStep(template_dir=template_dir)
    try:
        paths, reason = wisps.template_files(model, {})
        if paths and (reason := already_done(model, "wisps")):
            paths = []
    except CeersError as err:
        yield Verdict("wispsub", STOPS, str(err))
    else:
        names = ", ".join(path.name for path in paths)
        yield _decide("wispsub", headers, lambda: "" if paths else reason, f"template {names}")
    yield _decide(
        "remstriping", headers, lambda: ceers_steps.RemStripingStep().reason_to_skip(model)
    )


def _stage_2(headers: FileHeaders) -> Iterator[Verdict]:
    """Return what CeersImage2 does."""
    for name, keyword in (
        ("assign_wcs", "S_WCS"),
        ("flat_field", "S_FLAT"),
        ("photom", "S_PHOTOM"),
    ):
        done = headers.status(keyword) == "COMPLETE"
        yield Verdict(name, DONE if done else APPLIES)


def _stage_3(headers: FileHeaders) -> Iterator[Verdict]:
    """Return what CeersImage3, and the background of the mosaics, do."""
    if headers.level == "i2d":
        yield Verdict("mosaic_background", APPLIES)
        return
    reason = left_out_reason(headers.primary)
    if reason:
        yield Verdict("CeersImage3", SKIPPED, reason)
        return
    if headers.level in ("cal", "match"):
        yield from _cal_steps(headers)
    else:
        for name in ("tweakreg", "outlier_detection", "skyvar", "resample", "mosaic_background"):
            yield Verdict(name, APPLIES)


def _cal_steps(headers: FileHeaders) -> Iterator[Verdict]:
    """Return what is left to do for calibrated images."""
    problems = group_problems([(headers.path.name, headers.primary)])
    if problems:
        yield Verdict("CeersImage3", STOPS, problems[headers.path.name])
        return
    for name, keyword in (
        ("tweakreg", "S_TWKREG"),
        ("outlier_detection", "S_OUTLIR"),
        ("skyvar", "S_SKYVAR"),
        ("resample", "S_RESAMP"),
        ("mosaic_background", "S_MOSAIC"),
    ):
        yield Verdict(name, DONE if headers.status(keyword) == "COMPLETE" else APPLIES)


def _decide(name: str, headers: FileHeaders, reason: Any, note: str = "") -> Verdict:
    """Return what a step of ours does with a file, by its own rules."""
    from ceers_steps.files.headers.provenance import status_keyword

    if headers.status(status_keyword(f"ceers_{name}")) == "COMPLETE":
        return Verdict(name, DONE)
    try:
        why = reason()
    except CeersError as err:
        return Verdict(name, STOPS, str(err))
    return Verdict(name, SKIPPED, why) if why else Verdict(name, APPLIES, note)


def _summary(headers: FileHeaders) -> str:
    """Return instrument, detector, filter, array and read-out in a line."""
    primary = headers.primary
    wheels = [primary.get("FILTER"), primary.get("PUPIL")]
    parts: Sequence[Any] = (
        primary.get("INSTRUME"),
        primary.get("DETECTOR"),
        "+".join(str(name) for name in wheels if name and name != "CLEAR"),
        primary.get("EXP_TYPE"),
        primary.get("SUBARRAY"),
        primary.get("READPATT"),
        _count(primary.get("NGROUPS"), "group"),
        _count(primary.get("NINTS"), "integration"),
    )
    text = ", ".join(str(part) for part in parts if part)
    return f"{LEVELS.get(headers.level, 'unknown data')}: {text or 'no JWST keywords'}"


def _count(number: Any, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}" if number else ""
