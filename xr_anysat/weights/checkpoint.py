"""The tensors of a file of weights, found without running any code in the file.

The file that ``torch.save`` writes is a zip archive: a pickle that says which tensor lies where,
and one uncompressed entry of raw numbers per storage. Numbers stay on disk, memory-mapped, until
they are read.
"""

import mmap
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from xr_anysat.errors import WeightsError
from xr_anysat.findings import Call

from .unpickle import Damaged, Refused, TensorRecord, brief, unpickle

__all__ = ["FLOATS", "Checkpoint", "FloatArray", "StoredTensor", "read_checkpoint", "unreadable"]

FloatArray = npt.NDArray[np.float32]

FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
"""Types that weights may have on disk."""

_PICKLE_LIMIT = 16 * 2**20
"""Bytes of pickle to accept: a training checkpoint of this model has well under one MiB."""

_safe_open: Any = safetensors.safe_open  # has no annotations


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor that is still on disk.

    Parameters
    ----------
    shape
        Its shape.
    dtype
        Its type on disk, as torch names it: "float32".
    read
        Gives the values as float32, memory-mapped where the file has them as such.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a file of weights holds: tensors by name, and the texts of a safetensors header."""

    path: Path
    tensors: dict[str, StoredTensor]
    metadata: dict[str, str] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """List the tensors of a `.safetensors` file, or of one that ``torch.save`` wrote.

    Reads no values. Names lose a "model." or "module." that all of them begin with.

    Raises
    ------
    WeightsError
        The file is missing, unreadable, cut short, or holds more than plain data.
    """
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            tensors, metadata = _read_safetensors(path)
        else:
            tensors = _read_torch(path)
        if not tensors:
            raise Refused("holds no tensors")
    except WeightsError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except Damaged as error:
        raise WeightsError("weights.damaged", path=path, reason=error) from error
    except Refused as error:
        raise WeightsError(
            "weights.refused",
            Call("torch.save(model.state_dict(), 'weights.pth')"),
            path=path,
            reason=error,
        ) from error
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return Checkpoint(path=path, tensors=tensors, metadata=metadata)


def unreadable(path: Path, error: OSError) -> WeightsError:
    """Error for a file that cannot be read."""
    return WeightsError("weights.unreadable", path=path, reason=error.strerror or error)


def _read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    try:
        file = _safe_open(path, framework="pt")
        tensors = {}
        for name in file.keys():  # noqa: SIM118 - not a dict
            header = file.get_slice(name)
            tensors[name] = StoredTensor(
                shape=tuple(header.get_shape()),
                dtype=names.get(header.get_dtype(), header.get_dtype()),
                read=partial(_safetensors_values, file, name),
            )
        return tensors, dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise Damaged(f"is damaged, or not a safetensors file ({error})") from error


def _safetensors_values(file: Any, name: str) -> FloatArray:
    values: FloatArray = file.get_tensor(name).float().numpy()
    return values


def _read_torch(path: Path) -> dict[str, StoredTensor]:
    with path.open("rb") as file:
        start = file.read(4)
    if not start.startswith(b"PK\x03\x04"):
        raise WeightsError("weights.not-checkpoint", path=path, start=start)
    archive = _Archive(path)
    state = _state_dict(unpickle(archive.contents()))
    return {name: archive.tensor(name, value) for name, value in state.items()}


def _state_dict(content: object) -> dict[str, Any]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise Refused("holds no state dict of tensors by name")
    return content


class _Archive:
    """The zip file, mapped; entries are used where they lie and never unpacked."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    entries = archive.infolist()
            except (
                zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OverflowError,
                struct.error,
            ) as error:  # fmt: skip
                raise Damaged(f"is cut short or damaged ({error})") from error
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise Refused("is a zip archive with two entries of one name")
        tops = [name for name in self._entries if name.endswith("/data.pkl")]
        if len(tops) != 1:
            raise Refused(f"is a zip archive with {len(tops)} entries data.pkl instead of one")
        self._folder = tops[0].removesuffix("data.pkl")

    def contents(self) -> bytes:
        """Give the pickle that lists the tensors."""
        if self._folder + "byteorder" in self._entries:
            start, size = self._span("byteorder")
            if self._map[start : start + size] != b"little":
                raise Refused("has its numbers in a byte order other than little-endian")
        start, size = self._span("data.pkl")
        if size > _PICKLE_LIMIT:
            raise Refused(f"has a part 'data.pkl' of {size} bytes; {_PICKLE_LIMIT} are accepted")
        return self._map[start : start + size]

    def _span(self, name: str) -> tuple[int, int]:
        """Where the entry's bytes begin in the file, and how many they are."""
        entry = self._entries.get(self._folder + name)
        if entry is None:
            raise Damaged(f"lacks its part {brief(name)}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Refused(f"has a compressed or encrypted part {brief(name)}")
        # The local header repeats name and extra field, in lengths of its own (PKWARE APPNOTE
        # 4.3.7): 30 bytes, the two lengths last.
        header = self._map[entry.header_offset : entry.header_offset + 30]
        if entry.header_offset < 0 or len(header) < 30 or not header.startswith(b"PK\x03\x04"):
            raise Damaged(f"is cut short or damaged at its part {brief(name)}")
        start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
        if entry.file_size != entry.compress_size or start + entry.file_size > len(self._map):
            raise Damaged(f"has a part {brief(name)} that is larger than the file")
        return start, entry.file_size

    def tensor(self, name: str, record: object) -> StoredTensor:
        """Describe a tensor after checking that all of it lies inside its storage."""
        if not isinstance(record, TensorRecord):
            raise Refused(f"has {brief(name)} in its state dict, which is not a tensor")
        storage, shape = record.storage, record.shape
        start, size = self._span(f"data/{storage.key}")
        stored = storage.count * _numpy_type(storage.dtype).itemsize
        if not 0 <= stored <= size:
            raise Refused(f"has {size} bytes for {brief(name)}, whose storage is {stored} bytes")
        # In Python's integers, because numpy's own check of strides may overflow.
        steps = zip(shape, record.strides, strict=True)
        end = record.offset + sum((count - 1) * step for count, step in steps) + 1
        negative = min(record.offset, *shape, *record.strides, 0) < 0
        if negative or (0 not in shape and end > storage.count):
            raise Refused(f"has a tensor {brief(name)} that reaches outside of its storage")
        read = partial(self._values, start, record)
        return StoredTensor(shape=shape, dtype=storage.dtype, read=read)

    def _values(self, start: int, record: TensorRecord) -> FloatArray:
        item = _numpy_type(record.storage.dtype)
        place = start + record.offset * item.itemsize
        strides = [step * item.itemsize for step in record.strides]
        values: npt.NDArray[Any] = np.ndarray(record.shape, item, self._map, place, strides)
        if record.storage.dtype == "bfloat16":  # the upper half of a float32's bits
            values = np.asarray(np.left_shift(values.astype(np.uint32), 16)).view(np.float32)
        with np.errstate(over="ignore"):  # float64 too large for float32: infinite, found later
            return np.asarray(values, dtype=np.float32, order="C")


def _numpy_type(dtype: str) -> np.dtype[Any]:
    """Give what reads a type; bfloat16, which numpy lacks, as its bits."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")
