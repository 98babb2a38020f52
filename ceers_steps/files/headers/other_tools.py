"""Corrections that another program has made: the statuses and keywords that tell of them."""

import logging
from collections.abc import Mapping
from typing import Any

from stdatamodels.jwst.datamodels import JwstDataModel

__all__ = ["already_done"]

log = logging.getLogger(__name__)

_MARKS: dict[str, dict[str, str]] = {
    "stripes": {
        "clean_flicker_noise": "clean_flicker_noise of jwst, S_CLNFNS",
        "nsclean": "nsclean of jwst, S_NSCLEN",
        "ONEFEXP": "the 1/f correction of grizli, ONEFEXP",
        "COLCORR": "the column correction of grizli, COLCORR",
    },
    "wisps": {
        "WISPBKG": "the wisp fit of grizli, WISPBKG",
        "WISPNORM": "the wisp fit of grizli, WISPNORM",
        "WISPSUB": "a wisp template, WISPSUB",
    },
    "snowballs": {
        "snowblind": "snowblind, meta.cal_step.snowblind",
        "EXTNCRS": "expand_large_events of jwst's jump step, EXTNCRS",
        "SNOWMASK": "the snowball mask of grizli, SNOWMASK",
    },
}
"""By kind of correction: status (small letters) or keyword, and who leaves it."""

_NUMBERS = {"WISPBKG", "WISPNORM"}
"""Keywords whose value, also 0, tells that the fit was made."""


def already_done(model: JwstDataModel, kind: str) -> str:
    """Return why a correction is left out that another program has made, with a warning.

    Parameters
    ----------
    model
        The exposure.
    kind : {"stripes", "wisps", "snowballs"}
        Of the correction.

    Returns
    -------
    str
        Empty if none has.
    """
    who = _corrected_elsewhere(model, kind)
    if not who:
        return ""
    log.warning(
        "%s: %s were treated by %s: left out here. Run it all the same with force=true.",
        model.meta.filename,
        kind,
        who,
    )
    return f"{kind} were treated by {who}; force runs it again"


def _corrected_elsewhere(model: JwstDataModel, kind: str) -> str:
    """Return which other program has made a correction already; empty if none has."""
    statuses = model.meta.cal_step.instance
    cards = {**_extra_cards(model), "EXTNCRS": model.meta.exposure.extended_emission_events}
    for mark, who in _MARKS[kind].items():
        if mark.islower():
            done = statuses.get(mark) == "COMPLETE"
        elif mark in _NUMBERS:
            done = cards.get(mark) is not None
        else:
            done = cards.get(mark) not in (None, False, 0, "", "F", "SKIPPED")
        if done:
            return who
    return ""


def _extra_cards(model: JwstDataModel) -> dict[str, Any]:
    """Return the header cards that are no keywords of jwst."""
    cards = {}
    for part in model.instance.get("extra_fits", {}).values():
        for card in part.get("header", []) if isinstance(part, Mapping) else []:
            cards[str(card[0])] = card[1]
    return cards
