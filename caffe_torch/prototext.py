"""Messages of Caffe's schema: read from text or bytes, print as C++ prints, write atomically."""

import math
import re
import struct
from pathlib import Path
from typing import Any, TypeVar

import prototxt_gen.caffe_pb2 as caffe_pb2
from google.protobuf import text_encoding, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from caffe_torch.files import write_whole
from caffe_torch.log import FatalError

M = TypeVar("M", bound=Message)
_PACKAGE = caffe_pb2.DESCRIPTOR.package + "."


def read_text(path: str, message: M, where: str) -> M:
    """Parse a prototxt file into `message` and return it.

    Raises:
        FatalError: the file is missing, or it is not text of that message; the preamble gives
            line and column.
    """
    name = message.DESCRIPTOR.name
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, "io.cpp:39", error) from None
    try:
        text_format.Parse(data.decode(), message)
    except UnicodeDecodeError as error:
        reason = _position(data[: error.start]) + ": this is no text in UTF-8"
    except RecursionError:
        reason = "1:1: messages are nested too deeply"
    except text_format.ParseError as error:
        reason = _reason(error)
    else:
        return message
    parser = "[libprotobuf ERROR google/protobuf/text_format.cc:309]"
    raise FatalError(
        where,
        "Check failed: ReadProtoFromTextFile(param_file, param) "
        f"Failed to parse {name} file: {path} (correct it at line:column {reason})",
        (f"{parser} Error parsing text-format caffe.{name}: {reason}",),
    )


def _position(before: bytes) -> str:
    """The line and column, from 1, of what follows these bytes."""
    lines = before.split(b"\n")
    return f"{len(lines)}:{len(lines[-1]) + 1}"


def _reason(error: text_format.ParseError) -> str:
    """Where and why a text does not parse; the column is behind an unknown name, as in C++."""
    reason = str(error).replace(_PACKAGE, "caffe.").partition("\n")[0]
    if error.GetLine() is None:
        return reason
    unknown = re.search(r'no field named "(.*?)"', reason)
    column = (error.GetColumn() or 0) + (len(unknown[1]) if unknown else 0)
    return f"{error.GetLine()}:{column}: {reason.split(' : ', 1)[-1]}"


def read_binary(path: str, message: M, where: str) -> M:
    """Parse a file of bytes (caffemodel, solverstate, mean image) into `message`.

    Raises:
        FatalError: the file is missing, truncated or of another kind.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, "io.cpp:57", error) from None
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise FatalError(
            where,
            f"Check failed: ReadProtoFromBinaryFile(param_file, param) Failed to parse "
            f"{message.DESCRIPTOR.name} file: {path} ({len(data)} bytes; it is truncated or of "
            "another kind: give another file)",
        ) from None
    return message


def write_binary(path: str, message: Message) -> None:
    """Write a message's bytes to `path`: wholly, or not at all.

    Raises:
        FatalError: the folder is missing or not writable, or the disk is full.
    """
    try:
        write_whole(path, message.SerializeToString())
    except OSError as error:
        raise FatalError(
            "io.cpp:72",
            f"Check failed: proto.SerializeToOstream(&output) Cannot write {path}: "
            f"{error.strerror}; create its folder, or set another snapshot_prefix",
        ) from None


def debug_string(message: Message, indent: str = "") -> str:
    """`Message::DebugString()` of C++ protobuf 3: two spaces a level, floats in 6 or 9 digits."""
    lines: list[str] = []
    for field, value in message.ListFields():
        for item in value if field.is_repeated else (value,):
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                inner = debug_string(item, indent + "  ")
                lines.append(f"{indent}{field.name} {{\n{inner}{indent}}}\n")
            else:
                lines.append(f"{indent}{field.name}: {_scalar(field, item)}\n")
    return "".join(lines)


def _scalar(field: Any, value: Any) -> str:
    if field.type == FieldDescriptor.TYPE_ENUM:
        return str(field.enum_type.values_by_number[value].name)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true" if value else "false"
    if field.type == FieldDescriptor.TYPE_STRING:
        return f'"{text_encoding.CEscape(value, as_utf8=False)}"'
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return _shortest_float(value)
    return str(value)


def _shortest_float(value: float) -> str:
    """Six digits where they read back to the same float32, else nine."""
    if not math.isfinite(value):
        return str(value)
    short = f"{value:.6g}"
    same = struct.pack("<f", float(short)) == struct.pack("<f", value)
    return short if same else f"{value:.9g}"


def _unreadable(path: str, where: str, error: OSError) -> FatalError:
    if isinstance(error, FileNotFoundError) or not path:
        reason = f"File not found: {path}"
    else:
        reason = f"Cannot read {path}: {error.strerror}"
    return FatalError(where, f"Check failed: fd != -1 (-1 vs. -1) {reason} (give a readable file)")
