"""Reading and writing streams."""

import json
import os

from utils.cohort.isolate.values import LENGTHS


def read(stream: int) -> dict | None:
    """One frame's message; None at the end."""
    head = read_exactly(stream, LENGTHS.size)
    if head is None:
        return None
    return json.loads(read_exactly(stream, sum(LENGTHS.unpack(head))))


def read_exactly(stream: int, size: int) -> bytes | None:
    whole = bytearray()
    while len(whole) < size:
        part = os.read(stream, size - len(whole))
        if not part:
            return None
        whole += part
    return bytes(whole)


def write(stream: int, data: bytes) -> None:
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]
