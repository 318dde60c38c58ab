"""What became of the regions of a map."""

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
        What was raised.
    traceback
        Where.
    """

    region: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    bounds: tuple[float, float, float, float]
    error: str
    traceback: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "FailedRegion":
        """Take it from JSON, which knows no tuples."""
        found: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return cls(**found)

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
        Complete by now, whoever wrote them.
    written
        By this call.
    asked
        How many were asked for: none where a map has fewer regions than a job has shares.
    failed
        Of those asked for, with ``on_error="skip"``.
    clipped
        Share of the map's values that were beyond the range of ``quantize=``, once it is complete.
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
        """Whether every region of the map is there."""
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
