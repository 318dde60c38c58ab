"""Read the tensors of a checkpoint without running anything that it holds.

The file that ``torch.save`` writes is a zip archive: a pickle that says which tensor lies where,
and one uncompressed entry of raw numbers per storage.  A pickle is a program that can call any
function of any module, so it is not unpickled here.  Its opcodes are followed by a small machine
of our own that knows tensors, dicts, lists, tuples and plain values, and that has no way to
import, look up or call anything: what a training run pickled besides (its configuration,
callbacks, optimiser) turns into an inert mark, and a global that no checkpoint has a use for
refuses the file.  Numbers stay on disk, memory-mapped, until they are asked for.
"""

import mmap
import pickletools
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

from .errors import WeightsError

__all__ = ["FLOATS", "Checkpoint", "StoredTensor", "read_checkpoint"]

FloatArray = npt.NDArray[np.float32]

FLOATS = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2"}
"""Types that weights may have on disk, and the numpy type that reads them (bfloat16: its bits)."""

_PICKLE_LIMIT = 16 * 2**20
"""Bytes of pickle to accept: a training checkpoint of this model has well under one MiB."""

_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What torch.save wrote first before it wrote zip archives (torch < 1.6): its magic number."""

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

    Reads no values.  Names lose a "model." or "module." that all of them begin with.

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
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror or error}") from error
    if not tensors:
        raise WeightsError(f"{path} holds no tensors: it needs a state dict (names -> tensors)")
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return Checkpoint(path=path, tensors=tensors, metadata=metadata)


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
        raise WeightsError(f"{path} is damaged, or not a safetensors file: {error}") from error


def _safetensors_values(file: Any, name: str) -> FloatArray:
    values: FloatArray = file.get_tensor(name).float().numpy()
    return values


def _read_torch(path: Path) -> dict[str, StoredTensor]:
    with path.open("rb") as file:
        start = file.read(len(_LEGACY_START))
    if start == _LEGACY_START:
        return _read_legacy(path)
    if not start.startswith(b"PK\x03\x04"):
        raise WeightsError(
            f"{path} is not a checkpoint: it begins with {start[:4]!r}, where a file of torch.save"
            " begins with b'PK\\x03\\x04'. Was the download cut short, or is it a web page or a"
            " Git LFS pointer?"
        )
    try:
        archive = _Archive(path)
        content = _Machine().run(archive.pickle)
        state = _state_dict(content)
        return {name: archive.tensor(name, value) for name, value in state.items()}
    except _Refused as error:
        raise WeightsError(
            f"{path} cannot be used as weights: it {error}. Nothing in it was run. If you made"
            " this file yourself, save the state dict alone:"
            " torch.save(model.state_dict(), 'weights.pth')"
        ) from error


def _read_legacy(path: Path) -> dict[str, StoredTensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = _state_dict(content)
        for name, value in state.items():
            if not isinstance(value, torch.Tensor):
                raise _Refused(f"has {_brief(name)} in its state dict, which is not a tensor")
    except Exception as error:  # whatever torch makes of a bad file
        reason = _brief(str(error).strip().split("\n")[0])
        raise WeightsError(
            f"{path} is in torch's format from before version 1.6, and damaged or holding more"
            f" than tensors ({type(error).__name__}: {reason}). Save it anew with a recent torch:"
            " torch.save(state_dict, 'weights.pth')"
        ) from error
    return {
        name: StoredTensor(
            shape=tuple(value.shape),
            dtype=str(value.dtype).removeprefix("torch."),
            read=partial(_torch_values, value),
        )
        for name, value in state.items()
    }


def _torch_values(tensor: Any) -> FloatArray:
    values: FloatArray = tensor.detach().float().contiguous().numpy()
    return values


def _state_dict(content: object) -> dict[str, Any]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise _Refused("holds no state dict (names -> tensors)")
    return content


def _brief(text: str, length: int = 120) -> str:
    return repr(text if len(text) <= length else text[:length] + "...")


class _Refused(Exception):
    """Why a file is not read; completes the sentence "the file ..."."""


# ---------------------------------------------------------------------------------------------
# the archive


@dataclass(frozen=True, slots=True)
class _Storage:
    """A row of numbers in the archive."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


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
                raise _Refused(f"is cut short or damaged ({error})") from error
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise _Refused("is a zip archive with two entries of one name")
        tops = [name for name in self._entries if name.endswith("/data.pkl")]
        if len(tops) != 1:
            raise _Refused(f"is a zip archive with {len(tops)} entries data.pkl instead of one")
        self._folder = tops[0].removesuffix("data.pkl")
        self.pickle = self._bytes("data.pkl", _PICKLE_LIMIT)
        order = b"little"
        if self._folder + "byteorder" in self._entries:
            order = self._bytes("byteorder", 16)
        if order not in (b"little", b"big"):
            raise _Refused(f"names an unknown byte order ({order!r})")
        self._order = "<" if order == b"little" else ">"

    def _span(self, name: str) -> tuple[int, int]:
        """Where the entry's bytes begin in the file, and how many they are."""
        entry = self._entries.get(self._folder + name)
        if entry is None:
            raise _Refused(f"lacks its part {_brief(name)}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise _Refused(f"has a compressed or encrypted part {_brief(name)}")
        # The local header repeats name and extra field, in lengths of its own (PKWARE APPNOTE
        # 4.3.7): 30 bytes, the two lengths last.
        header = self._map[entry.header_offset : entry.header_offset + 30]
        if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
            raise _Refused(f"is cut short or damaged at its part {_brief(name)}")
        start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
        if entry.file_size != entry.compress_size or start + entry.file_size > len(self._map):
            raise _Refused(f"has a part {_brief(name)} that is larger than the file")
        return start, entry.file_size

    def _bytes(self, name: str, limit: int) -> bytes:
        start, size = self._span(name)
        if size > limit:
            raise _Refused(f"has a part {_brief(name)} of {size} bytes; {limit} are accepted")
        return self._map[start : start + size]

    def tensor(self, name: str, value: object) -> StoredTensor:
        """Describe a tensor after checking that all of it lies inside its storage."""
        if not isinstance(value, _Tensor):
            raise _Refused(f"has {_brief(name)} in its state dict, which is not a tensor")
        if value.dtype not in FLOATS:
            return StoredTensor(shape=value.shape, dtype=value.dtype, read=_no_values)
        start, size = self._span(f"data/{value.storage.key}")
        item = np.dtype(self._order + FLOATS[value.dtype])
        stored_item = np.dtype(FLOATS.get(value.storage.dtype, "u1")).itemsize  # u1: untyped
        stored = value.storage.count * stored_item
        if not 0 <= stored <= size:
            raise _Refused(f"has {size} bytes for {_brief(name)}, whose storage is {stored} bytes")
        steps = zip(value.shape, value.strides, strict=True)
        end = value.offset + sum((count - 1) * step for count, step in steps) + 1
        if (
            min(value.offset, *value.shape, *value.strides, 0) < 0
            or (0 not in value.shape and end * item.itemsize > stored)
        ):  # fmt: skip
            raise _Refused(f"has a tensor {_brief(name)} that reaches outside of its storage")
        read = partial(self._values, value, item, start + value.offset * item.itemsize)
        return StoredTensor(shape=value.shape, dtype=value.dtype, read=read)

    def _values(self, tensor: _Tensor, item: np.dtype[Any], start: int) -> FloatArray:
        strides = [step * item.itemsize for step in tensor.strides]
        values: npt.NDArray[Any] = np.ndarray(tensor.shape, item, self._map, start, strides)
        if tensor.dtype == "bfloat16":  # the upper half of a float32's bits
            values = np.asarray(np.left_shift(values.astype(np.uint32), 16)).view(np.float32)
        with np.errstate(over="ignore"):  # float64 too large for float32: infinite, found later
            return np.asarray(values, dtype=np.float32, order="C")


def _no_values() -> FloatArray:
    raise TypeError("not a floating-point tensor")


# ---------------------------------------------------------------------------------------------
# the pickle


@dataclass(frozen=True, slots=True)
class _Global:
    """The name of a function or class, and no more than the name."""

    name: str


class _Inert:
    """Stands for any object that is of no use here."""


_INERT = _Inert()

_STORAGES = {
    "torch.BFloat16Storage": "bfloat16", "torch.BoolStorage": "bool", "torch.ByteStorage": "uint8",
    "torch.CharStorage": "int8", "torch.ComplexDoubleStorage": "complex128",
    "torch.ComplexFloatStorage": "complex64", "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32", "torch.HalfStorage": "float16", "torch.IntStorage": "int32",
    "torch.LongStorage": "int64", "torch.ShortStorage": "int16",
    "torch.storage.UntypedStorage": "uint8", "torch.storage._UntypedStorage": "uint8",
}  # fmt: skip

_EXTRAS = frozenset({
    "_codecs", "argparse", "collections", "copy_reg", "copyreg", "datetime", "decimal", "enum",
    "functools", "hydra", "lightning", "lightning_fabric", "lightning_utilities", "models",
    "numpy", "omegaconf", "pathlib", "pytorch_lightning", "src", "torch", "torchmetrics", "typing",
    "uuid",
})  # fmt: skip
"""Packages whose objects a training run pickles along; here they are names, and never imported."""

_EXTRA_BUILTINS = frozenset({
    "NoneType", "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int",
    "list", "object", "range", "set", "slice", "str", "tuple",
})  # fmt: skip

_DICTS = frozenset({"collections.OrderedDict", "builtins.dict", "__builtin__.dict"})

_PLAIN = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_SET": _INERT}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Follows the opcodes of a pickle; calls nothing that the pickle names.

    Opcodes and their meaning: the standard library's `pickletools`.
    """

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> object:
        """Give what the pickle describes, reduced to plain data, tensors and inert marks."""
        try:
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name != "STOP":
                    self._step(opcode.name, argument)
            return self._stack.pop()
        except _Refused:
            raise
        except (
            ValueError, TypeError, LookupError, ArithmeticError, RecursionError, struct.error,
        ) as error:  # fmt: skip
            reason = _brief(str(error))
            raise _Refused(f"has a damaged list of contents ({reason})") from error

    def _step(self, name: str, argument: Any) -> None:
        if name in _PLAIN:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "GLOBAL":
            self._stack.append(_named(*argument.split(" ", 1)))
        elif not (self._shuffle(name, argument) or self._fill(name) or self._make(name, argument)):
            raise _Refused(f"uses the pickle operation {name}, which no state dict needs")

    def _pop(self, count: int) -> list[Any]:
        if count > len(self._stack):
            raise ValueError("more is taken off the stack than was put there")
        kept = len(self._stack) - count
        items = self._stack[kept:]
        del self._stack[kept:]
        return items

    def _pop_mark(self) -> list[Any]:
        return self._pop(max(0, len(self._stack) - self._marks.pop()))

    def _shuffle(self, name: str, argument: Any) -> bool:
        """Do what concerns the stack and the memo; False for any other opcode."""
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self._marks.append(len(self._stack))
            case "POP" if self._marks and self._marks[-1] == len(self._stack):
                self._marks.pop()
            case "POP":
                self._stack.pop()
            case "POP_MARK":
                self._pop_mark()
            case "DUP":
                self._stack.append(self._stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case _:
                return False
        return True

    def _fill(self, name: str) -> bool:
        """Do what concerns lists, tuples, dicts and sets."""
        match name:
            case "TUPLE":
                self._stack.append(tuple(self._pop_mark()))
            case "LIST":
                self._stack.append(self._pop_mark())
            case "EMPTY_LIST":
                self._stack.append([])
            case "DICT":
                items = self._pop_mark()
                self._stack.append({})
                _set_items(self._stack[-1], items)
            case "EMPTY_DICT":
                self._stack.append({})
            case "FROZENSET":
                self._pop_mark()
                self._stack.append(_INERT)
            case "APPEND" | "APPENDS":
                items = self._pop(1) if name == "APPEND" else self._pop_mark()
                if isinstance(self._stack[-1], list):
                    self._stack[-1].extend(items)
            case "ADDITEMS":
                self._pop_mark()
            case "SETITEM" | "SETITEMS":
                items = self._pop(2) if name == "SETITEM" else self._pop_mark()
                _set_items(self._stack[-1], items)
            case _:
                return False
        return True

    def _make(self, name: str, argument: Any) -> bool:
        """Do what concerns globals and storages, and stand in for what would be calls."""
        match name:
            case "STACK_GLOBAL":
                self._stack.append(_named(*self._pop(2)))
            case "BINPERSID":
                self._stack.append(_storage(self._stack.pop()))
            case "REDUCE" | "NEWOBJ":
                self._stack.append(_result(*self._pop(2)))
            case "NEWOBJ_EX":
                made, arguments, _ = self._pop(3)
                self._stack.append(_result(made, arguments))
            case "OBJ":
                made, *arguments = self._pop_mark()
                self._stack.append(_result(made, tuple(arguments)))
            case "INST":
                made = _named(*argument.split(" ", 1))
                self._stack.append(_result(made, tuple(self._pop_mark())))
            case "BUILD":  # an object's state: of no use
                self._pop(1)
            case _:
                return False
        return True


def _set_items(target: object, items: list[Any]) -> None:
    """Put pairs into a dict, names only: other keys are those of optimisers and the like."""
    if not isinstance(target, dict):
        return
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str):
            if key in target:
                raise _Refused(f"has the key {_brief(key)} twice")
            target[key] = value


def _named(module: object, name: object) -> _Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise _Refused("names a global by something other than text")
    if module in ("builtins", "__builtin__"):
        harmless = name in _EXTRA_BUILTINS
    else:  # no dots: "torch", "os.system" would be an attribute of an attribute
        harmless = module.partition(".")[0] in _EXTRAS and name.isidentifier()
    if not harmless:
        raise _Refused(f"refers to {_brief(f'{module}.{name}')}, which no state dict needs")
    return _Global(f"{module}.{name}")


def _storage(persistent_id: object) -> _Storage:
    match persistent_id:
        case ("storage", _Global(name), str(key), str(), int(count)):
            dtype = _STORAGES.get(name.replace("torch.cuda.", "torch."))
            if dtype is not None:
                return _Storage(key, dtype, count)
    raise _Refused("refers to a storage that is none")


def _result(made: object, arguments: object) -> object:
    """Give what ``made(*arguments)`` would have given, where that is a tensor or a dict."""
    if not isinstance(made, _Global):
        raise _Refused("calls something that is not a known function or class")
    match made.name, arguments:
        case name, () if name in _DICTS:
            return {}
        case "torch.Size", (tuple(size),):
            return size
        case (
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state",
            (_Tensor() as tensor, *_),
        ):
            return tensor
        case "torch._tensor._rebuild_from_type_v2", (_Global() as inner, _, inner_arguments, *_):
            return _result(inner, inner_arguments)
        case (
            "torch._utils._rebuild_tensor_v3",
            (_Storage() as storage, offset, shape, strides, _, _, _Global(dtype), *_),
        ):
            return _view(storage, dtype.removeprefix("torch."), offset, shape, strides)
        case (
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
            (_Storage() as storage, offset, shape, strides, *_),
        ):
            return _view(storage, storage.dtype, offset, shape, strides)
    return _INERT


def _view(storage: _Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> _Tensor:
    for numbers in ((offset,), shape, strides):
        if not isinstance(numbers, tuple) or any(type(number) is not int for number in numbers):
            raise _Refused("has a tensor whose shape, strides or offset are no whole numbers")
    if len(shape) != len(strides):
        raise _Refused("has a tensor with a different number of sizes and strides")
    return _Tensor(storage, dtype, offset, shape, strides)
