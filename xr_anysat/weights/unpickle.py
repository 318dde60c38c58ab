"""Read what a pickle of torch.save describes, without running it.

A pickle is a program that can call any function of any module, so it is not unpickled here. Its
opcodes are followed by a small machine that has no way to import, look up or call anything. It
keeps tensors, dicts and tuples as records; what a training run pickled besides (configuration,
callbacks, optimiser) turns into an inert mark; an opcode or a global that no checkpoint needs makes
it refuse the file.
"""

import pickletools
import sys
import warnings
from dataclasses import dataclass
from typing import Any

__all__ = ["Damaged", "Refused", "Storage", "TensorRecord", "brief", "unpickle"]


class Refused(Exception):
    """Why a file is not used; completes the sentence "the file ..."."""


class Damaged(Refused):
    """The file is not whole, or is no longer what was written."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A row of numbers in the archive: its entry, the type of its numbers, how many there are."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A view of a storage; offset and strides count elements. Its bounds are not checked yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Global:
    """The name of a function or class, and no more than the name."""

    name: str


_INERT = object()
"""Stands for any object that is not needed here."""

_STORAGES = {
    "BFloat16": "bfloat16", "Bool": "bool", "Byte": "uint8", "Char": "int8",
    "ComplexDouble": "complex128", "ComplexFloat": "complex64", "Double": "float64",
    "Float": "float32", "Half": "float16", "Int": "int32", "Long": "int64", "Short": "int16",
}  # fmt: skip

_EXTRAS = frozenset({
    "_codecs", "argparse", "collections", "copy_reg", "copyreg", "datetime", "decimal", "enum",
    "functools", "pathlib", "typing", "uuid",
})  # fmt: skip
"""Modules of the standard library whose objects a training run pickles along.

What names any other of them (os, subprocess, importlib ...) was not written by one. Packages from
elsewhere (omegaconf, lightning, a training run's own) are names here, and never imported.
"""

_STANDARD = sys.stdlib_module_names | {"nt", "posix"}

_EXTRA_BUILTINS = frozenset({
    "NoneType", "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int",
    "list", "object", "range", "set", "slice", "str", "tuple",
})  # fmt: skip

_CONSTANTS = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "EMPTY_LIST": _INERT,
}  # fmt: skip


def unpickle(data: bytes) -> object:
    """Give what the pickle describes, reduced to tensors, dicts, tuples, plain and inert values.

    Raises
    ------
    Damaged
        It is not a whole pickle.
    Refused
        It does what no state dict needs.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():  # of escapes in a damaged name, which then means nothing
            warnings.filterwarnings("ignore", r".*invalid (octal )?escape", DeprecationWarning)
            for opcode, argument, _ in pickletools.genops(data):
                machine.step(opcode.name, argument)
        return machine.stack.pop()
    except (ValueError, LookupError) as error:
        raise Damaged(f"has a damaged list of contents ({brief(str(error))})") from error


def brief(text: str) -> str:
    """Quote text of a file for an error message, 120 characters at most."""
    return repr(text if len(text) <= 120 else text[:120] + "...")


class _Machine:
    """The opcodes that protocol 2 writes, which is torch.save's; their meaning: `pickletools`."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what was on the stack before each mark
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        match opcode:
            case "PROTO" | "STOP":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "LONG4" | "BINFLOAT" | "BINUNICODE":
                self.stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_TUPLE" | "EMPTY_LIST":
                self.stack.append(_CONSTANTS[opcode])
            case "EMPTY_DICT":
                self.stack.append({})
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "POP" if self.stack:
                self.stack.pop()
            case "POP" | "POP_MARK":
                self.pop_mark()
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self.pop(int(opcode[-1]))))
            case "TUPLE":
                items = self.pop_mark()
                self.stack.append(tuple(items))
            case "APPEND" | "BUILD":  # to a list, or an object's state: not needed
                self.pop(1)
            case "APPENDS":
                self.pop_mark()
            case "SETITEM":
                self.set_items(self.pop(2))
            case "SETITEMS":
                self.set_items(self.pop_mark())
            case "GLOBAL":
                self.stack.append(_named(*argument.split(" ", 1)))
            case "BINPERSID":
                self.stack.append(_storage(self.stack.pop()))
            case "REDUCE" | "NEWOBJ":
                self.stack.append(_result(*self.pop(2)))
            case _:
                raise Refused(f"uses the pickle operation {opcode}, which no state dict needs")

    def pop(self, count: int) -> list[Any]:
        return [self.stack.pop() for _ in range(count)][::-1]

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def set_items(self, items: list[Any]) -> None:
        """Put pairs into a dict, names only: other keys are those of optimisers and the like."""
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(target, dict) and isinstance(key, str):
                if key in target:
                    raise Refused(f"has the key {brief(key)} twice")
                target[key] = value


def _named(module: str, name: str) -> _Global:
    if module in ("builtins", "__builtin__"):
        harmless = name in _EXTRA_BUILTINS
    else:  # no dots: "torch", "os.system" would be an attribute of an attribute
        root = module.partition(".")[0]
        harmless = (root in _EXTRAS or root not in _STANDARD) and name.isidentifier()
    if not harmless:
        raise Refused(f"refers to {brief(f'{module}.{name}')}, which no state dict needs")
    return _Global(f"{module}.{name}")


def _storage(persistent_id: object) -> Storage:
    match persistent_id:
        case ("storage", _Global(name), str(key), str(), int(count)):
            dtype = _STORAGES.get(name.removeprefix("torch.").removesuffix("Storage"))
            if dtype is not None:
                return Storage(key, dtype, count)
    raise Refused("refers to a storage of a kind that torch does not have")


def _result(made: object, arguments: object) -> object:
    """Give what ``made(*arguments)`` would have given, where that is a tensor or a dict."""
    match made, arguments:
        case _Global("collections.OrderedDict"), ():
            return {}
        case _Global("torch._utils._rebuild_parameter"), (TensorRecord() as tensor, *_):
            return tensor
        case (
            _Global("torch._utils._rebuild_tensor_v2"),
            (Storage() as storage, offset, shape, strides, *_),
        ):
            return _tensor(storage, offset, shape, strides)
        case _Global(), _:
            return _INERT
    raise Refused("calls something that is not a known function or class")


def _tensor(storage: Storage, offset: Any, shape: Any, strides: Any) -> TensorRecord:
    for numbers in ((offset,), shape, strides):
        if not isinstance(numbers, tuple) or any(type(number) is not int for number in numbers):
            raise Refused("has a tensor whose shape, strides or offset are not whole numbers")
    if len(shape) != len(strides):
        raise Refused("has a tensor with a different number of sizes and strides")
    return TensorRecord(storage, offset, shape, strides)
