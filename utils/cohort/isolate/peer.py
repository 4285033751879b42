"""Two processes that call each other's functions: the tests on one side, a student's answer on the other.

Each side sends requests and serves those of the other until its own reply comes. Tensors that ask for gradients cross as numbers, and a
backward pass crosses after them. How values are written differs: see `wire`.
"""

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from utils.cohort.isolate.values import LENGTHS, Malformed

MOST_BYTES = 128 << 20  # that one side takes in, all messages together


class OtherSideGone(BaseException):
    """The other process has ended, or sends what nobody sends. No Exception: a test must not take it for an answer's error."""


class TooMuch(OtherSideGone):
    """The other process sends more than can be looked at."""


class Peer(ABC):
    """One side of a connection.

    `write` and `read` turn a message into bytes and back: a dict with "what", and in "value" anything that may cross; in a reply
    with tensors that ask for gradients, "graph" is the number by which a backward pass is asked for.
    """

    most_bytes = MOST_BYTES

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._left = self.most_bytes
        self._graphs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    @abstractmethod
    def write(self, message: dict, live: list[Tensor]) -> bytes:
        """A message; tensors that ask for gradients are added to `live`."""

    @abstractmethod
    def read(self, data: bytes, wrap: Callable[[dict, list[Tensor]], list[Tensor]]) -> dict:
        """The same backwards: `wrap` gets what is known of the message, and the values of its live tensors, and gives what stands
        for them here. Raises Malformed."""

    @abstractmethod
    def serve(self, request: dict) -> object:
        """What a request asks for, besides a backward pass."""

    @abstractmethod
    def raised(self, error: Exception) -> dict:
        """An error as it is sent."""

    @abstractmethod
    def error(self, raised: object) -> BaseException:
        """An error that was sent, to be raised here."""

    def ask(self, what: str, *value: object) -> object:
        """Send a request and wait for what comes of it."""
        live: list[Tensor] = []
        self._send(self.write({"what": what, "value": list(value)}, live))
        while True:
            message, leaves = self._next(live)
            if message["what"] == "reply":
                return message["value"]
            if message["what"] == "raised":
                raise self.error(message["value"])
            self.answer(message, leaves)

    def next_request(self) -> None:
        """Wait for a request, and serve it."""
        self.answer(*self._next([]))

    def _next(self, live: list[Tensor]) -> tuple[dict, list[Tensor]]:
        """The next message, and its tensors that ask for gradients; those of a reply come from `live`."""
        leaves: list[Tensor] = []

        def wrap(message: dict, values: list[Tensor]) -> list[Tensor]:
            if message["what"] == "reply" and live and values:
                return list(_Crossing.apply(self, message["graph"], len(values), *values, *live))
            leaves.extend(value.requires_grad_() for value in values)
            return leaves

        return self.read(self._receive(), wrap), leaves

    def answer(self, request: dict, leaves: list[Tensor]) -> None:
        """Serve a request; `leaves` are its tensors that ask for gradients."""
        outputs: list[Tensor] = []
        try:
            if request["what"] == "backward":
                value = self._backward(*request["value"])
            else:
                value = self.serve(request)
            data = self.write({"what": "reply", "value": value, "graph": len(self._graphs)}, outputs)
        except Exception as error:
            outputs = []
            data = self.write({"what": "raised", "value": self.raised(error)}, outputs)
        if outputs:
            self._graphs[len(self._graphs)] = leaves, outputs
        self._send(data)

    def _backward(self, number: int, grads: list[Tensor | None]) -> list[Tensor | None]:
        leaves, outputs = self._graphs[number]
        pairs = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
        if not leaves or not pairs:
            return [None] * len(leaves)
        given, directions = zip(*pairs)
        found = torch.autograd.grad(given, leaves, directions, allow_unused=True, retain_graph=True)
        return [None if grad is None else grad.detach() for grad in found]

    def _send(self, data: bytes) -> None:
        try:
            self._connection.sendall(LENGTHS.pack(len(data), 0) + data)
        except OSError:
            raise OtherSideGone from None

    def _receive(self) -> bytes:
        size = LENGTHS.unpack(self._read_exactly(LENGTHS.size))[0]
        self._left -= size
        if self._left < 0:
            raise TooMuch
        return self._read_exactly(size)

    def _read_exactly(self, size: int) -> bytes:
        whole = bytearray()
        while len(whole) < size:
            try:
                part = self._connection.recv(min(size - len(whole), 1 << 20))
            except OSError:
                part = b""
            if not part:
                raise OtherSideGone
            whole += part
        return bytes(whole)


class _Crossing(torch.autograd.Function):
    """Values that came from the other side, whose gradients are computed there."""

    @staticmethod
    def forward(ctx, peer: Peer, number: int, n_outputs: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.peer, ctx.number, ctx.n_outputs = peer, number, n_outputs
        ctx.live = [(tensor.shape, tensor.dtype) for tensor in tensors[n_outputs:]]
        return tuple(tensor.clone() for tensor in tensors[:n_outputs])

    @staticmethod
    def backward(ctx, *grads: Tensor | None) -> tuple:
        found = ctx.peer.ask("backward", ctx.number, list(grads))
        is_right = isinstance(found, list) and len(found) == len(ctx.live)
        for grad, (shape, dtype) in zip(found if is_right else (), ctx.live):
            is_right = is_right and (
                grad is None or (isinstance(grad, Tensor) and (grad.shape, grad.dtype) == (shape, dtype))
            )
        if not is_right:
            raise Malformed("a gradient is none")
        return (None, None, None, *[None] * ctx.n_outputs, *found)
