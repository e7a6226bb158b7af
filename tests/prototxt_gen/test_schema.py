"""Our schema is Caffe's: the same fields, numbers, types and defaults."""

import struct
import subprocess
from pathlib import Path

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import descriptor_pb2

DUMP = """
import sys
from caffe.proto import caffe_pb2
sys.stdout.buffer.write(caffe_pb2.DESCRIPTOR.serialized_pb)
"""


def flat(file: descriptor_pb2.FileDescriptorProto) -> set[tuple[object, ...]]:
    """Every field and enum value of a schema, package name left out."""
    out: set[tuple[object, ...]] = set()
    float_ = descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT

    def walk(message: descriptor_pb2.DescriptorProto, prefix: str) -> None:
        name = prefix + message.name
        for field in message.field:
            default: object = field.default_value
            if field.type == float_ and field.default_value:
                default = struct.pack("f", float(field.default_value))
            type_name = field.type_name.split(".", 2)[-1]
            packed = field.options.packed
            out.add(
                (
                    name,
                    field.name,
                    field.number,
                    field.label,
                    field.type,
                    type_name,
                    default,
                    packed,
                )
            )
        for enum in message.enum_type:
            out.update((name, enum.name, value.name, value.number) for value in enum.value)
        for nested in message.nested_type:
            walk(nested, f"{name}.")

    for message in file.message_type:
        walk(message, "")
    for enum in file.enum_type:
        out.update((enum.name, value.name, value.number) for value in enum.value)
    return out


@pytest.mark.conformance
def test_the_schema_equals_pycaffes(pycaffe: Path) -> None:
    real = subprocess.run([pycaffe, "-c", DUMP], capture_output=True, check=True).stdout
    theirs = flat(descriptor_pb2.FileDescriptorProto.FromString(real))
    ours = flat(descriptor_pb2.FileDescriptorProto.FromString(caffe_pb2.DESCRIPTOR.serialized_pb))
    assert len(theirs) > 500
    assert ours == theirs
