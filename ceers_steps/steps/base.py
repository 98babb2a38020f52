"""What all Steps and Pipelines of the package share."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jwst.stpipe import Step, record_step_status
from jwst.stpipe.core import JwstStep
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel
from stpipe.exceptions import StpipeExitException, ValidationError

import ceers_steps
from ceers_steps.errors import CeersError
from ceers_steps.figures.looks import keep_record
from ceers_steps.files.associations import is_association_path
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.headers.check import Wanted, check_input, fill_keywords, filled_values
from ceers_steps.files.headers.provenance import (
    add_history,
    drop_checksums,
    keep_table,
    set_card,
    status_keyword,
)
from ceers_steps.files.json_files import plain_values
from ceers_steps.files.membership import identity_of
from ceers_steps.files.overrides import read_overrides
from ceers_steps.files.parameters.check import check_given, check_parameter_files
from ceers_steps.files.parameters.meant import as_meant
from ceers_steps.steps.inputs.before import checked
from ceers_steps.steps.inputs.crds import CRDS_ERRORS, asking_crds, crds_message

__all__ = [
    "CeersMixin",
    "CeersStep",
    "StepError",
    "save_atomic",
]

log = logging.getLogger(__name__)

_OUR_SUFFIX = re.compile(
    r"^(?P<root>.+)_(?:jumpcheck|trapped|snowball|1fmask|match|m?bkgsub|imgbkg(?:sub)?|mergedmask|alignment"
    r"|(?:wispsub|remstriping|prewisp|pre1f|wispmodel|horiz|vert|tilt)(?:ints)?)$"
)


class StepError(CeersError, StpipeExitException):
    """A `CeersError` that ends ``strun`` with its message and exit code 1, without a traceback."""

    def __init__(self, message: str) -> None:
        StpipeExitException.__init__(self, 1, message)

    def __str__(self) -> str:
        return self.args[1]


class ParameterError(StepError, ValidationError):
    """A `StepError` about parameters, which stpipe's own callers know as well."""


_OF_INIT = ("name", "parent", "config_file", "_validate_kwds")
"""Keywords of making a step that are no parameters."""

_Extended: Any = JwstStep if TYPE_CHECKING else object  # what the mixin stands before


class _AtomicSaver:
    """Stands in for a data model in `stpipe.Step.save_model`: its file is renamed into place."""

    def __init__(self, model: JwstDataModel) -> None:
        keep_table(model)
        drop_checksums(model)
        self.meta = model.meta
        self._save = model.save

    def save(self, path: str, *args: Any, **kwargs: Any) -> str:
        return str(write_atomic(path, lambda scratch: self._save(scratch, *args, **kwargs)))


def save_atomic(step: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Do what ``step.save_model`` does, with the file written aside and then renamed.

    For the steps of jwst inside our pipelines, which know no atomic output.

    Parameters
    ----------
    step : `~stpipe.Step`
        Whose product it is.
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The product.
    *args, **kwargs
        As ``save_model`` takes them.

    Returns
    -------
    str or list
        What ``save_model`` returns.
    """
    if isinstance(model, JwstDataModel):
        model = _AtomicSaver(model)
    return type(step).save_model(step, model, *args, **kwargs)


class CeersMixin(_Extended):
    """Logging, names, atomic output, clear errors and provenance, for Steps and Pipelines.

    Attributes
    ----------
    output_suffix : str or None
        Suffix of the product; None keeps the one that stpipe chooses.
    input_types : tuple of str
        ``DATAMODL`` of the files that are taken; empty takes all.
    input_planes : tuple of str
        Planes that have to be there beside SCI, by their EXTNAME.
    input_keywords : tuple of str
        Keywords without which the work cannot be done: filled in where they follow from others.
    later_keywords : tuple of str
        Keywords that only later stages need.
    needs_wcs : bool
        Whether the input has to have a world coordinate system.
    """

    output_suffix: ClassVar[str | None] = None
    input_types: ClassVar[tuple[str, ...]] = ()
    input_planes: ClassVar[tuple[str, ...]] = ()
    input_keywords: ClassVar[tuple[str, ...]] = ()
    later_keywords: ClassVar[tuple[str, ...]] = ()
    needs_wcs: ClassVar[bool] = False
    output_file: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("_validate_kwds", True):  # made by hand: stpipe has not asked `merge_config`
            kwargs = as_meant(type(self), kwargs)
            own = {key: value for key, value in kwargs.items() if key not in _OF_INIT}
            try:
                check_given(type(self), own, None)
            except CeersError as err:
                raise ParameterError(str(err)) from err
        try:
            super().__init__(*args, **kwargs)
        except TypeError as err:
            if "is not a function" not in str(err):
                raise
            hooks = [*kwargs.get("pre_hooks", ()), *kwargs.get("post_hooks", ())]
            raise StepError(
                f"{type(self).__name__}: {err}. Its hooks are {hooks}: give functions written in "
                "Python, steps, or commands of the shell."
            ) from err

    @staticmethod
    def get_stpipe_loggers() -> tuple[str, ...]:
        """Add this package's logger, so that its lines are shown and kept in ``cal_logs``."""
        return (*JwstStep.get_stpipe_loggers(), "ceers_steps")

    def default_suffix(self) -> str:
        """Return the suffix of the product."""
        return self.output_suffix or super().default_suffix()

    def remove_suffix(self, name: str) -> tuple[str, str | None]:
        """Remove a suffix of jwst or of this package, so that suffixes do not pile up."""
        name = name.removesuffix(".fits")  # of an input that is packed, x_uncal.fits.gz
        match = _OUR_SUFFIX.match(name)
        return (match["root"], "_") if match else super().remove_suffix(name)

    @classmethod
    def wanted(cls) -> Wanted:
        """Return what this step or pipeline needs of its input."""
        return Wanted(
            types=cls.input_types,
            planes=cls.input_planes,
            keywords=cls.input_keywords,
            later_keywords=cls.later_keywords,
            wcs=cls.needs_wcs,
        )

    def prepare_output(self, *args: Any, **kwargs: Any) -> Any:
        """Open the input as jwst does; outermost, what is missing in its header is filled in."""
        with _opening(*args):
            model = super().prepare_output(*args, **kwargs)
        if self.parent is None and isinstance(model, JwstDataModel):
            for note in fill_keywords(model, self.wanted()):
                log.warning("%s: %s", model.meta.filename, note)
        return model

    @classmethod
    def _get_crds_parameters(cls, dataset: Any) -> tuple[dict[str, Any], str]:
        """Return what CRDS chooses references by, with what is filled in."""
        with warnings.catch_warnings(), _opening(dataset):
            # members in another folder are what ceers associate writes: nothing is wrong with them
            warnings.filterwarnings("ignore", "Input association file contains path information")
            parameters, observatory = super()._get_crds_parameters(dataset)
        return {**parameters, **filled_values(dataset, cls.wanted())}, observatory

    def save_model(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Save as stpipe does, with the file written aside and then renamed."""
        if isinstance(model, JwstDataModel):
            model = _AtomicSaver(model)
        return super().save_model(model, *args, **kwargs)

    def extra_product_path(self, model: JwstDataModel, suffix: str, ext: str = "fits") -> Path:
        """Return the path of a product beside the main one, ``<exposure>_<suffix>.<ext>``."""
        return Path(self.make_output_path(basepath=model.meta.filename, suffix=suffix, ext=ext))

    # -- errors

    @classmethod
    def get_config_from_reference(cls, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Look the parameters up in CRDS; for unusable input there are none.

        What is wrong with the input is reported by `run`: ``strun`` prints only what fails there.
        """
        try:
            check_input(dataset, cls.wanted(), cls.__name__)
            with asking_crds():
                return super().get_config_from_reference(dataset, *args, **kwargs)
        except (CeersError, SystemExit, AssertionError) as err:
            log.debug("No parameters from CRDS for %s: %s", dataset, err)
            return cls._empty_config()

    @classmethod
    def build_config(cls, input: Any, **kwargs: Any) -> Any:
        """Gather the parameters of a `call`, after a look at the input."""
        try:
            check_parameter_files(cls, kwargs)
            check_input(input, cls.wanted(), cls.__name__)
        except CeersError as err:
            raise StepError(str(err)) from err
        return super().build_config(input, **as_meant(cls, kwargs))

    @classmethod
    def merge_config(cls, config: Any, config_file: str | None) -> Any:
        """Gather the parameters of ``strun``; report what is wrong without the help text of all."""
        try:
            check_given(cls, config.dict(), config_file)
        except CeersError as err:
            log.error("%s", err)
            raise ParameterError(str(err)) from err
        return super().merge_config(as_meant(cls, config), config_file)

    def run(self, *args: Any) -> Any:
        """Run the step; outermost, an error that the user can fix becomes one clear message."""
        if self.parent is not None:
            return super().run(*args)
        try:
            with checked(self, args):
                return super().run(*args)
        except CeersError as err:
            raise StepError(str(err)) from err
        except SystemExit as err:
            raise StepError(crds_message("reference files", args[0] if args else None)) from err
        except OSError as err:
            # folders that cannot be made or written by code that is not ours
            check = f"output_dir={self.output_dir!r} and the input"
            if "returned error code" in str(err):  # as stpipe says of a command of the shell
                check = "pre_hooks and post_hooks"
            raise StepError(f"{err}. Check {check}.") from err

    def get_reference_file(self, input_file: Any, reference_file_type: str) -> str:
        """Return the path of a reference file; a missing one is an error that names its type."""
        try:
            with asking_crds():
                return super().get_reference_file(input_file, reference_file_type)
        except CRDS_ERRORS as err:
            raise CeersError(crds_message(reference_file_type, input_file, err)) from err

    def _precache_references(self, input_file: Any) -> None:
        """Fetch all references before the first step; name the types that cannot be had."""
        try:
            with asking_crds():
                super()._precache_references(input_file)
        except CRDS_ERRORS as err:
            missing = {}
            for kind in sorted(set(self.reference_file_types)):
                try:
                    self.get_reference_file(input_file, kind)
                except CeersError as problem:
                    missing[kind] = problem.__cause__
            kinds = ", ".join(missing) or "reference files"
            raise CeersError(crds_message(kinds, input_file, *missing.values() or [err])) from err

    def has_run(self, model: JwstDataModel) -> bool:
        """Say whether this step has run on an exposure, by its status in the tree or the header."""
        cards = model.instance.get("extra_fits", {}).get("PRIMARY", {}).get("header", [])
        status = model.meta.cal_step.instance.get(self.class_alias)
        keyword = status_keyword(self.class_alias)
        return "COMPLETE" in (status, *(card[1] for card in cards if card[0] == keyword))

    # -- per-exposure values

    def overrides_row(self, model: JwstDataModel) -> dict[str, Any]:
        """Return the values that the ``overrides`` table has for this exposure.

        Parameters
        ----------
        model : `~stdatamodels.jwst.datamodels.JwstDataModel`
            Its file name gives the exposure, or else its keywords.

        Returns
        -------
        dict
            Empty when there is no table or the exposure is not in it.
        """
        path = self.search_attr("overrides")
        if not path:
            return {}
        exposure = identity_of(model, self.search_attr("_input_filename"))
        row = read_overrides(path).get(exposure, {})
        if row:
            log.info("Overrides for %s from %s: %s", exposure, path, row)
        return row

    # -- provenance

    def record(
        self,
        model: JwstDataModel,
        status: str,
        *,
        parameters: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """Write into the model what was done: status, ASDF tree and a HISTORY line.

        Parameters
        ----------
        model : `~stdatamodels.jwst.datamodels.JwstDataModel`
            Changed in place.
        status : {"COMPLETE", "SKIPPED", "FAILED"}
            Goes to ``meta.cal_step.<alias>``.
        parameters : dict, optional
            The parameters actually used.
        metrics : dict, optional
            What was measured. Together with the parameters it goes to
            ``meta.ceers_steps.<alias>``.
        note : str
            One line for people, in the log and in HISTORY.
        """
        alias = self.class_alias
        record_step_status(model, alias, status=status)
        set_card(model, status_keyword(alias), status, f"{alias} of ceers_steps")  # as S_JUMP
        entry = {
            "status": status,
            "version": ceers_steps.__version__,
            "parameters": plain_values(parameters or {}),
            "metrics": plain_values(metrics or {}),
            "note": note,
        }
        model.meta.instance.setdefault("ceers_steps", {})[alias] = entry
        keep_record(model, alias, entry)
        used = ", ".join(f"{key}={value}" for key, value in entry["parameters"].items())
        measured = ", ".join(
            f"{key}={value:.5g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in entry["metrics"].items()
        )
        parts = [f"ceers_steps {ceers_steps.__version__} {alias} {status}", note, used, measured]
        add_history(model, "; ".join(part for part in parts if part))
        level = logging.WARNING if status == "FAILED" else logging.INFO
        whose = f"{model.meta.filename}: " if model.meta.filename else ""
        log.log(level, "%s%s %s%s", whose, alias, status, f": {note}" if note else "")


class CeersStep(CeersMixin, Step):
    """Base class of the Steps of this package."""

    def save_model(self, model: Any, suffix: str | None = None, **kwargs: Any) -> Any:
        """Save a product; that of rateints is named so, and does not replace that of rate."""
        if suffix is None and isinstance(model, CubeModel) and self.suffix == self.output_suffix:
            suffix = f"{self.output_suffix}ints"
        return super().save_model(model, suffix=suffix, **kwargs)

    @classmethod
    def _get_config_from_parameters(cls, crds_parameters: Any, crds_observatory: str) -> Any:
        """CRDS has no parameter references for steps of ours, so it is not asked."""
        return cls._empty_config()


@contextmanager
def _opening(dataset: object = None, *_: object) -> Iterator[None]:
    """Name the file where jwst stumbles over something that no check of ours has seen."""
    try:
        yield
    except (CeersError, StpipeExitException, OSError):
        raise
    except Exception as err:
        if not isinstance(dataset, (str, os.PathLike)) or is_association_path(dataset):
            raise  # callers of jwst's know its errors about associations
        reason = f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
        raise CeersError(
            f"{dataset} cannot be opened ({reason}). Download it again, or make it again."
        ) from err
