"""The records of a store: the job it belongs to, which regions are done, and which have failed.

They lie beside the chunks of the embedding, in objects that are each written once and whole by one
process; none is read in order to be changed. Where the embedding is deleted or replaced, they go
with it.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from xr_anysat._version import __version__
from xr_anysat.errors import StoreError
from xr_anysat.findings import SetOption
from xr_anysat.job.fingerprint import fingerprint
from xr_anysat.job.job import EmbedJob

from .location import ZarrLocation
from .regions import RegionGrid
from .report import FailedRegion

__all__ = ["ARRAY", "FOLDER", "JOB", "PACKING", "STATISTICS", "Manifest", "check_same", "describe"]

ARRAY = "embedding"
FOLDER = f"{ARRAY}/progress"

JOB = f"{FOLDER}/job.json"
"""The job that a store was laid out for."""

STATISTICS = f"{FOLDER}/statistics.json"
"""The numbers that the cube is normalised with."""

PACKING = f"{FOLDER}/packing.json"
"""The numbers of the reduction and the quantization."""

DONE = f"{FOLDER}/done/"
FAILED = f"{FOLDER}/failed/"

FORMAT = 1
"""Version of these records."""

SHOWN = 8
"""Maximum number of differences that a message lists."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The records of a store: every one is read, written and deleted here."""

    location: ZarrLocation

    def job(self) -> dict[str, Any] | None:
        """Read the job that a store was laid out for, None where there is none."""
        return self.read(JOB)

    def read(self, name: str) -> dict[str, Any] | None:
        """Read `JOB`, `STATISTICS` or `PACKING`, None before there is one."""
        record = self.location.read_json(name)
        return record if isinstance(record, dict) else None

    def keep(self, name: str, record: dict[str, Any]) -> dict[str, Any]:
        """Write one of these, unless another process just has; return the store's."""
        stored = self.location.claim_json(name, record)
        return stored if isinstance(stored, dict) else record

    def done(self, grid: RegionGrid) -> set[int]:
        """List the regions that are complete: those that have a record."""
        return set(self._regions(DONE, grid))

    def is_done(self, grid: RegionGrid, region: int) -> bool:
        """Whether a region is complete, as this process sees the store."""
        return self.location.read(_name(DONE, grid, region)) is not None

    def set_done(self, grid: RegionGrid, region: int, counts: dict[str, int]) -> None:
        """Record that a region is complete: its files have been written.

        Parameters
        ----------
        grid, region
            Which.
        counts
            How many values were coded, and clipped, of a map of codes.
        """
        rows, columns = ([part.start, part.stop] for part in grid.window(region))
        record = {"region": region, "rows": rows, "columns": columns, **counts}
        self.location.write_json(_name(DONE, grid, region), record)

    def coded(self, grid: RegionGrid) -> tuple[int, int]:
        """Add up the counts of complete regions: values, and those that were clipped."""
        names = [_name(DONE, grid, region) for region in sorted(self.done(grid))]
        values = clipped = 0
        for text in self.location.read_each(names):
            with suppress(TypeError, ValueError, KeyError):  # torn
                record = json.loads(text or b"{}")
                values, clipped = values + record["values"], clipped + record["clipped"]
        return values, clipped

    def failed(self, grid: RegionGrid) -> list[FailedRegion]:
        """Read the list of failed regions, without those that have been done since."""
        failed = []
        for region in sorted(set(self._regions(FAILED, grid)) - self.done(grid)):
            record = self.location.read_json(_name(FAILED, grid, region))
            with suppress(TypeError, AttributeError):  # torn, or of another version
                failed.append(FailedRegion.from_json(record))
        return failed

    def set_failed(self, grid: RegionGrid, failed: FailedRegion) -> None:
        """Put a region on the list of those that failed."""
        self.location.write_json(_name(FAILED, grid, failed.region), asdict(failed))

    def clear_failed(self, grid: RegionGrid, regions: set[int]) -> None:
        """Take regions off that list."""
        for region in regions & set(self._regions(FAILED, grid)):
            self.location.delete(_name(FAILED, grid, region))

    def delete_records(self) -> None:
        """Delete all records but the job, those of complete regions first.

        In this order, and before the data, a kill leaves no record of data that are gone.
        """
        names = [name for name in self.location.names(f"{FOLDER}/") if name != JOB]
        for name in sorted(names, key=lambda name: not name.startswith(DONE)):
            self.location.delete(name)

    def delete_job(self) -> None:
        """Delete the record of whose the store is, once nothing else is left."""
        self.location.delete(JOB)

    def _regions(self, folder: str, grid: RegionGrid) -> Iterator[int]:
        for name in self.location.names(folder):
            if name.endswith(".json"):  # others are left from a kill
                region = grid.number(name.removeprefix(folder).removesuffix(".json"))
                if region is not None:  # a file manager's, or somebody's copy
                    yield region


def _name(folder: str, grid: RegionGrid, region: int) -> str:
    """Name of a region's record."""
    return f"{folder}{grid.name(region)}.json"


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


def check_same(location: ZarrLocation, stored: dict[str, Any], job: dict[str, Any]) -> None:
    """Refuse to go on with another job's store.

    Raises
    ------
    StoreError
        With the differences.
    """
    lines: list[str] = []
    for part in ("format", "xr_anysat", "cube", "options", "model"):
        lines += _differences(part, stored.get(part), job.get(part))
    lines += _differences("map.shape", stored.get("map", {}).get("shape"), job["map"]["shape"])
    if lines:
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        text = "\n".join(f"  - {line}" for line in [*lines[:SHOWN], *more])
        repair = SetOption("overwrite", True)
        raise StoreError("store.other-job", repair, store=location, differences=text)


def _differences(name: str, stored: Any, now: Any) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(now, dict):
        for key in {**stored, **now}:
            yield from _differences(f"{name}.{key}", stored.get(key), now.get(key))
    elif name == "cube.values" and None in (stored, now):
        return  # a lazy cube and one in memory: there is nothing to compare
    elif name == "options.mask" and "lazy" in (stored, now) and None not in (stored, now):
        return
    elif isinstance(stored, list) and isinstance(now, list) and len(stored) != len(now):
        yield f"{name}: {len(stored)} in the store, {len(now)} now"
    elif stored != now:
        if isinstance(stored, list) and isinstance(now, list):  # of long lists, what differs first
            pairs = enumerate(zip(stored, now, strict=True))
            n = next(n for n, (one, other) in pairs if one != other)
            name, stored, now = f"{name}[{n}]", stored[n], now[n]
        yield f"{name}: {_short(stored)} in the store, {_short(now)} now"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
