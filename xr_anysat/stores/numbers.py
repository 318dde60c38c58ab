"""Arrays that a map is packed with, as they are kept in the records of a store."""

import base64
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Numbers"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """Named arrays of float32, some of which may be None."""

    def to_json(self) -> dict[str, Any]:
        """Write them as JSON, exact to the bit."""
        return {field.name: _to_json(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(**{field.name: _from_json(record[field.name]) for field in fields(cls)})


def _to_json(array: Array | None) -> dict[str, Any] | None:
    if array is None:
        return None
    data = base64.b64encode(np.asarray(array, dtype="<f4").tobytes()).decode()
    return {"shape": list(array.shape), "float32": data}


def _from_json(record: dict[str, Any] | None) -> Array | None:
    if record is None:
        return None
    values = np.frombuffer(base64.b64decode(record["float32"]), dtype="<f4")
    return values.reshape(record["shape"]).astype(np.float32)
