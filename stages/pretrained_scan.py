"""What a pickle of weights would make, found without unpickling it.

The opcodes that `torch.save` writes are followed on a stack of descriptions. Nothing is imported,
called or built but lists, dictionaries, tuples and the descriptions below. A scan that ends says
that the pickle makes tensors over its storages and plain values, and nothing else.

Rules:

- WTS-4  Opcodes, globals and what they are called with are on a list; whatever else stands in a
         pickle refuses the file. The list is shorter than that of `torch.load(weights_only=True)`,
         which was got around before (CVE-2025-32434, CVE-2026-24747).
- WTS-5  Every tensor lies within its storage.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from stages.pretrained_limits import Limits
from stages.pretrained_values import CALLS, GLOBALS, ITEM_BYTES, Global, Storage, refused


@dataclass(frozen=True)
class Scanned:
    """What one pickle makes."""

    value: Any
    """Plain values, lists, tuples, dictionaries, `View`s, `Storage`s and `Global`s."""
    storages: Mapping[str, Storage]
    end: int
    """Where the pickle ends in the data."""


def scan(data: bytes, start: int, limits: Limits) -> Scanned:
    """Follow one pickle.

    Args:
        data: a file that holds it.
        start: where it begins there.
        limits: of opcodes and depth.

    Raises:
        Refused: WTS-4, WTS-5, or it is no whole pickle.
    """
    machine = _Machine(limits)
    stream = BytesIO(data)
    stream.seek(start)
    try:
        for number, (code, argument, position) in enumerate(pickletools.genops(stream), 1):
            if number > limits.opcodes:
                raise refused(f"has more than {limits.opcodes} opcodes in a pickle")
            step = _STEPS.get(code.name)
            if step is None:
                raise refused(f"has the opcode {code.name}, which weights do not need")
            if code.name == "GLOBAL":
                _as_written(str(argument), data, position or 0)
            step(machine, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError):
        raise refused("holds a pickle that is broken") from None
    if machine.marks or len(machine.stack) != 1:
        raise refused("holds a pickle that leaves values on its stack")
    return Scanned(machine.stack[0], machine.storages, stream.tell())


class _Machine:
    """The pickle machine on descriptions."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        if len(self.marks) >= self.limits.depth:
            raise refused(f"nests deeper than {self.limits.depth}")
        self.marks.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marks.pop()
        return values

    def tuple_of(self, count: int) -> None:
        values = tuple(self.stack[-count:])
        if len(values) != count:
            raise IndexError
        del self.stack[-count:]
        self.push(values)

    def put(self, slot: int) -> None:
        self.memo[slot] = self.stack[-1]

    def name(self, argument: str) -> None:
        if argument not in GLOBALS:
            raise refused(f"asks for {_shown(argument)}, which weights do not need")
        self.push(Global(argument))

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(values) % 2:
            raise TypeError
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in (str, int):
                raise refused("has a dictionary with keys that are neither text nor numbers")
            self.stack[-1][key] = value

    def item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def build(self, _: Any) -> None:
        """`state_dict` hangs `_metadata` onto its dictionary; it is dropped."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not dict or type(state) is not dict:
            raise refused("sets the state of an object")

    def call(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        make = CALLS.get(function.name) if type(function) is Global else None
        if make is None or type(arguments) is not tuple:
            raise refused("calls what weights do not need")
        self.push(make(*arguments))

    def storage(self, _: Any) -> None:
        word, kind, key, place, count, *rest = self.stack.pop()
        known = type(kind) is Global and kind.name.removeprefix("torch ") in ITEM_BYTES
        texts = (word, key, place)
        if not known or any(type(text) is not str for text in texts) or rest not in ([], [None]):
            raise refused("asks for something outside the pickle that is no storage")
        if word != "storage" or type(count) is not int or count < 0:
            raise refused("asks for something outside the pickle that is no storage")
        made = Storage(kind.name.removeprefix("torch "), key, count)
        if self.storages.setdefault(key, made) != made:
            raise refused("tells two sizes or types of one storage")
        self.push(made)


_STEPS: Final[Mapping[str, Callable[[_Machine, Any], None]]] = {
    "PROTO": lambda machine, argument: _protocol(argument),
    "STOP": lambda machine, argument: None,
    "MARK": _Machine.mark,
    "EMPTY_DICT": lambda machine, argument: machine.push({}),
    "EMPTY_LIST": lambda machine, argument: machine.push([]),
    "EMPTY_TUPLE": lambda machine, argument: machine.push(()),
    "NONE": lambda machine, argument: machine.push(None),
    "NEWTRUE": lambda machine, argument: machine.push(not argument),  # it has none
    "NEWFALSE": lambda machine, argument: machine.push(bool(argument)),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _Machine.push
    ),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.to_mark())),
    "TUPLE1": lambda machine, argument: machine.tuple_of(1),
    "TUPLE2": lambda machine, argument: machine.tuple_of(2),
    "TUPLE3": lambda machine, argument: machine.tuple_of(3),
    "APPEND": lambda machine, argument: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, argument: machine.extend(machine.to_mark()),
    "SETITEM": _Machine.item,
    "SETITEMS": lambda machine, argument: machine.update(machine.to_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(
        ("BINGET", "LONG_BINGET"), lambda machine, argument: machine.push(machine.memo[argument])
    ),
    "GLOBAL": _Machine.name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
}


def _protocol(argument: int) -> None:
    if argument != 2:
        raise refused(f"has a pickle of protocol {argument} instead of 2")


def _as_written(argument: str, data: bytes, position: int) -> None:
    """Refuse a name whose bytes are not its letters: `genops` reads escapes, unpicklers do not."""
    written = b"c" + argument.replace(" ", "\n", 1).encode() + b"\n"
    if data[position : position + len(written)] != written:
        raise refused("writes a name in escapes")


def _shown(text: str) -> str:
    """A name from the file, fit for a message."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:80])
