"""The CEERS pointings: which exposures each is made of."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.names import whole_number

__all__ = ["Pointings", "read_pointings"]


@dataclass(frozen=True)
class Pointings:
    """The CEERS pointings: which exposures each is made of.

    Attributes
    ----------
    exposures : dict
        ``{exposure: (pointing, filter)}``, as ``(1, "F115W")``.
    """

    exposures: dict[str, tuple[int, str]]

    @property
    def numbers(self) -> list[int]:
        """The pointings."""
        return sorted({pointing for pointing, _ in self.exposures.values()})

    @functools.cached_property
    def of_observation(self) -> dict[int, int]:
        """``{observation: pointing}``."""
        return {int(name[7:10]): at for name, (at, _) in self.exposures.items()}

    def choose(
        self,
        names: Iterable[str],
        *,
        observations: Sequence[int] = (),
        filters: Sequence[str] = (),
    ) -> list[str]:
        """Return the exposures of some pointings.

        Parameters
        ----------
        names
            Numbers, as ``1`` or ``nircam1``, or ``all``.
        observations, filters
            Only these; empty for all.

        Raises
        ------
        CeersError
            For a pointing that is not in the table, or one without such observation or filter.
        """
        wanted = set()
        for name in names:
            digits = str(name).lower().removeprefix("nircam")
            if digits == "all":
                wanted |= set(self.numbers)
            elif whole_number(digits) in self.numbers:
                wanted.add(int(digits))
            else:
                raise CeersError(
                    f"--pointing {name}: the table has the pointings "
                    f"{', '.join(map(str, self.numbers))} (or all). Give others by their "
                    "--observation."
                )
        wanted_filters = {filter_name.upper() for filter_name in filters}
        chosen = [
            exposure
            for exposure, (pointing, filter_name) in self.exposures.items()
            if pointing in wanted
            and (not wanted_filters or filter_name in wanted_filters)
            and (not observations or int(exposure[7:10]) in observations)
        ]
        if not chosen:
            raise CeersError(
                f"Pointing {', '.join(map(str, sorted(wanted)))} has no such filter or "
                "observation: leave out --filter or --observation, or give others."
            )
        return chosen


def read_pointings() -> Pointings:
    """Read the table of the CEERS pointings that comes with the package."""
    from astropy.table import Table

    table = Table.read(parameter_files_dir() / "dr05" / "pointings.ecsv", format="ascii.ecsv")
    numbers = (int(str(name).lower().removeprefix("nircam")) for name in table["pointing"])
    listed = (str(filter_name).upper() for filter_name in table["filter"])
    places = zip(numbers, listed, strict=True)
    return Pointings(dict(zip(map(str, table["exposure"]), places, strict=True)))
