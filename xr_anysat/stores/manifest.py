"""What a store says of itself: the job it belongs to, what is done of it, and what has failed.

All of it lies beside the chunks of the embedding, in objects that are each written once and whole
by one process; nothing is read in order to be changed. Where the embedding is deleted or replaced,
these go with it.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from xr_anysat._version import __version__
from xr_anysat.errors import StoreError
from xr_anysat.job.fingerprint import fingerprint
from xr_anysat.job.job import EmbedJob

from .location import ZarrLocation
from .regions import RegionGrid
from .report import FailedRegion

__all__ = ["ARRAY", "FOLDER", "Manifest", "check_same", "describe", "done_record"]

ARRAY = "embedding"
FOLDER = f"{ARRAY}/progress"
JOB = f"{FOLDER}/job.json"
STATISTICS = f"{FOLDER}/statistics.json"
PACKING = f"{FOLDER}/packing.json"
DONE = f"{FOLDER}/done/"
FAILED = f"{FOLDER}/failed/"

FORMAT = 1
"""Of these objects."""

SHOWN = 8
"""Differences that a message lists."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The objects of a store that say what is in it."""

    place: ZarrLocation

    def job(self) -> dict[str, Any] | None:
        """Give the job that a store was laid out for, None where there is none."""
        found = self.place.read_json(JOB)
        return found if isinstance(found, dict) else None

    def claim(self, job: dict[str, Any]) -> dict[str, Any]:
        """Make a store that of a job, unless another process just has; return whose it is."""
        found = self.place.claim_json(JOB, job)
        return found if isinstance(found, dict) else job

    def statistics(self) -> dict[str, Any] | None:
        """Numbers that the cube is normalised with, once they are computed."""
        found = self.place.read_json(STATISTICS)
        return found if isinstance(found, dict) else None

    def keep_statistics(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Keep these numbers, unless there are some; return those that are there."""
        found = self.place.claim_json(STATISTICS, numbers)
        return found if isinstance(found, dict) else numbers

    def packing(self) -> dict[str, Any] | None:
        """Numbers that the embedding is reduced and quantized with, once they are fitted."""
        found = self.place.read_json(PACKING)
        return found if isinstance(found, dict) else None

    def keep_packing(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Keep these numbers, unless there are some; return those that are there."""
        found = self.place.claim_json(PACKING, numbers)
        return found if isinstance(found, dict) else numbers

    def coded(self, grid: RegionGrid) -> tuple[int, int]:
        """Add up what complete regions say of their codes: values, and those out of range."""
        names = [f"{DONE}{grid.name(region)}.json" for region in sorted(self.done(grid))]
        values = clipped = 0
        for found in self.place.read_each(names):
            with suppress(TypeError, ValueError, KeyError):  # torn
                record = json.loads(found or b"{}")
                values, clipped = values + record["values"], clipped + record["clipped"]
        return values, clipped

    def done(self, grid: RegionGrid) -> set[int]:
        """List the regions that are complete: that their object is there says it."""
        return set(self._regions(DONE, grid))

    def is_done(self, grid: RegionGrid, region: int) -> bool:
        """Whether a region is complete, as this process sees the store."""
        return self.place.read(f"{DONE}{grid.name(region)}.json") is not None

    def failed(self, grid: RegionGrid) -> list[FailedRegion]:
        """Read the manifest of failed regions, without those that have been done since."""
        missing = set(self._regions(FAILED, grid)) - self.done(grid)
        found = []
        for region in sorted(missing):
            value = self.place.read_json(f"{FAILED}{grid.name(region)}.json")
            with suppress(TypeError, AttributeError):  # torn, or of another version
                found.append(FailedRegion.from_json(value))
        return found

    def set_failed(self, grid: RegionGrid, failed: FailedRegion) -> None:
        """Put a region on the list of those that failed."""
        self.place.write_json(f"{FAILED}{grid.name(failed.region)}.json", asdict(failed))

    def clear_failed(self, grid: RegionGrid, regions: set[int]) -> None:
        """Take regions off that list."""
        for region in regions & set(self._regions(FAILED, grid)):
            self.place.delete(f"{FAILED}{grid.name(region)}.json")

    def forget(self) -> None:
        """Delete what is said of the data, before the data: in this order no kill is a lie."""
        names = [name for name in self.place.names(f"{FOLDER}/") if name != JOB]
        for name in sorted(names, key=lambda name: not name.startswith(DONE)):
            self.place.delete(name)

    def disown(self) -> None:
        """Delete what says whose the store is, when there is nothing else left."""
        self.place.delete(JOB)

    def _regions(self, folder: str, grid: RegionGrid) -> Iterator[int]:
        for name in self.place.names(folder):
            if name.endswith(".json"):  # others are left from a kill
                region = grid.number(name.removeprefix(folder).removesuffix(".json"))
                if region is not None:  # a file manager's, or somebody's copy
                    yield region


def done_record(grid: RegionGrid, region: int, coded: dict[str, int]) -> tuple[str, dict[str, Any]]:
    """Name and contents of the object that says that a region is complete, with its codes."""
    rows, columns = grid.window(region)
    value = {
        "region": region,
        "rows": [rows.start, rows.stop],
        "columns": [columns.start, columns.stop],
        **coded,
    }
    return f"{DONE}{grid.name(region)}.json", value


def describe(job: EmbedJob, grid: RegionGrid, mask: Any, packing: dict[str, Any]) -> dict[str, Any]:
    """Describe the job of a store, in JSON.

    Parameters
    ----------
    job
        The job.
    grid
        The map's regions, which are laid once and are no part of the comparison.
    mask
        As the user gave it.
    packing
        Options of what becomes of the embedding before it is stored.
    """
    form = fingerprint(job, mask)
    return {
        "format": FORMAT,
        "xr_anysat": ".".join(__version__.split(".")[:2]),
        **form,
        "options": {**form["options"], **packing},
        "map": {**grid.to_json(), **form["map"]},
    }


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Name what differs between two jobs."""
    found: list[str] = []
    for part in ("format", "xr_anysat", "cube", "options", "model"):
        found += _differences(part, there.get(part), here.get(part))
    if there.get("map", {}).get("shape") != here["map"]["shape"]:
        found += _differences("map.shape", there.get("map", {}).get("shape"), here["map"]["shape"])
    return found


def check_same(place: ZarrLocation, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse to go on with another job's store.

    Raises
    ------
    StoreError
        With the differences.
    """
    found = differences(there, here)
    if not found:
        return
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    lines = "\n".join(f"  - {line}" for line in [*found[:SHOWN], *more])
    raise StoreError(
        f"{place} was begun with another cube, model or options:\n{lines}\n"
        "Call with the same to go on with it, give another store, or delete what is there with "
        "overwrite=True."
    )


def _differences(name: str, there: Any, here: Any) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            yield from _differences(f"{name}.{key}", there.get(key), here.get(key))
    elif name == "cube.values" and None in (there, here):
        return  # a lazy cube and one in memory: there is nothing to compare
    elif name == "options.mask" and "lazy" in (there, here) and None not in (there, here):
        return
    elif isinstance(there, list) and isinstance(here, list) and there != here:
        if len(there) != len(here):
            yield f"{name}: {len(there)} in the store, {len(here)} now"
            return
        first = next(
            n for n, pair in enumerate(zip(there, here, strict=True)) if pair[0] != pair[1]
        )
        yield f"{name}[{first}]: {_short(there[first])} in the store, {_short(here[first])} now"
    elif there != here:
        yield f"{name}: {_short(there)} in the store, {_short(here)} now"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
