"""The result of `to_zarr`: which regions were written, and which failed."""

from dataclasses import dataclass
from typing import Any

from xr_anysat.formatting import count_text

__all__ = ["FailedRegion", "StoreReport"]


@dataclass(frozen=True, kw_only=True)
class FailedRegion:
    """A region that could not be computed or written.

    Parameters
    ----------
    region
        Its number, as in ``regions=``.
    rows, columns
        (start, stop) in the map.
    bounds
        Left, bottom, right and top, in the CRS of the map.
    error
        Its kind and message.
    traceback
        Of the error, as text.
    """

    region: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    bounds: tuple[float, float, float, float]
    error: str
    traceback: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "FailedRegion":
        """Read it from JSON, which has no tuples."""
        fields: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return cls(**fields)

    def __repr__(self) -> str:
        rows, columns = ("{}:{}".format(*part) for part in (self.rows, self.columns))
        return f"FailedRegion({self.region}, rows {rows}, columns {columns}: {self.error})"


@dataclass(frozen=True, kw_only=True)
class StoreReport:
    """What `to_zarr` did.

    Parameters
    ----------
    store
        Where.
    regions
        Of the whole map.
    done
        Regions that are complete by now, whoever wrote them.
    written
        Regions that this call wrote.
    asked
        Regions that this call was to write: none where a map has fewer regions than there are
        shares.
    failed
        Regions that could not be written, with ``on_error="skip"``.
    clipped
        Share of the map's values that were out of the range of ``quantize=``, once it is complete.
    """

    store: str
    regions: int
    done: int
    written: int
    asked: int
    failed: tuple[FailedRegion, ...]
    clipped: float | None = None

    @property
    def complete(self) -> bool:
        """Whether every region of the map has been written."""
        return self.done == self.regions

    def __repr__(self) -> str:
        lines = [
            f"<xr_anysat.StoreReport, {self.store}>",
            f"  {self.done} of {count_text(self.regions, 'region is', 'regions are')} there, "
            f"{self.written} {'of them ' * (self.regions > 1)}new",
        ]
        if not self.asked:
            only = "only " if self.regions == 1 else ""
            lines.append(
                "  nothing was to be done: the share that was asked for is empty, since the map "
                f"has {only}{count_text(self.regions, 'region')}"
            )
        if self.clipped is not None:
            lines.append(f"  {self.clipped:.2g} of its values were out of range, and clipped")
        lines += [f"  {failed!r}" for failed in self.failed]
        return "\n".join(lines)
