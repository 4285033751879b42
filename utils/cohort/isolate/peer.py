"""Two processes that call each other's functions: the tests on one side, a student's answer on the other.

Each side sends requests and serves those of the other until its own reply comes. Tensors that ask for gradients cross with what they
are made from: a backward pass through one is a request to the side that has made it. How values are written differs: see `wire`.
"""

import itertools
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from utils.cohort.isolate.values import LENGTHS, Malformed

MOST_BYTES = 128 << 20  # that one side takes in, all messages together


class OtherSideGone(BaseException):
    """The other process has ended, or sends what nobody sends. No Exception: a test must not take it for an answer's error."""


class TooMuch(OtherSideGone):
    """The other process sends more than can be looked at."""


# Whether this side has sent it, the number of the message, and the place among its live tensors.
Place = tuple[bool, int, int]


class Crossed:
    """Tensors that ask for gradients and have crossed, either way, by their places."""

    def __init__(self):
        self._tensors: dict[Place, Tensor] = {}
        self._places: dict[tuple, Place] = {}  # by where their gradients arrive

    def __contains__(self, place: Place) -> bool:
        return place in self._tensors

    def at(self, place: Place) -> Tensor:
        """Raises LookupError."""
        return self._tensors[place]

    def add(self, place: Place, tensor: Tensor) -> Place:
        """The place where the same one has crossed first: this one, if it has not."""
        self._tensors[place] = tensor
        return self._places.setdefault(tuple(get_gradient_edge(tensor))[:2], place)

    def above(self, place: Place) -> list[Place]:
        """Those that a tensor is made from, with none of them in between."""
        found, seen, waiting = set(), set(), [tuple(get_gradient_edge(self._tensors[place]))[:2]]
        while waiting:
            edge = waiting.pop()
            if edge[0] is None or edge in seen:
                continue
            seen.add(edge)
            if self._places.get(edge, place) != place:
                found.add(self._places[edge])
            else:
                waiting += edge[0].next_functions
        return sorted(found)


class Peer(ABC):
    """One side of a connection.

    `write` and `read` turn a message into bytes and back: a dict with "what", in "value" anything that may cross, and what `said_of`
    says of the tensors in it that ask for gradients.
    """

    most_bytes = MOST_BYTES

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._left = self.most_bytes
        self._numbers = itertools.count()
        self.forget()
        self.is_cut = False  # in a backward pass for the other side, which goes on from there itself

    def forget(self) -> None:
        """Another test begins: no gradient goes back to before it."""
        self._crossed = Crossed()
        self._parents: dict[Place, list[Place]] = {}  # of what was sent

    @abstractmethod
    def write(self, message: dict) -> bytes:
        """A message."""

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
        self._send(self.write({"what": what, "value": list(value)}))
        while True:
            message = self._next()
            if message["what"] == "reply":
                return message["value"]
            if message["what"] == "raised":
                raise self.error(message["value"])
            self.answer(message)

    def next_request(self) -> None:
        """Wait for a request, and serve it."""
        self.answer(self._next())

    def _next(self) -> dict:
        """The next message."""
        return self.read(self._receive(), self._given)

    def said_of(self, live: list[Tensor]) -> dict:
        """What a message says of its tensors that ask for gradients.

        "sent" is its number, "parents" are for each of them the places of those that it is made from, among all that have crossed, and
        "again" says whether it is itself one that has crossed before, its only parent then.
        """
        number = next(self._numbers)
        places = [(True, number, index) for index in range(len(live))]
        first = [self._crossed.add(place, tensor) for place, tensor in zip(places, live)]
        parents = [self._crossed.above(place) if place == own else [place] for own, place in zip(places, first)]
        self._parents |= zip(places, parents)
        return {"sent": number, "parents": parents, "again": [place != own for own, place in zip(places, first)]}

    def _given(self, message: dict, values: list[Tensor]) -> list[Tensor]:
        """The tensors of a message, those that are made from others after these. Raises Malformed, LookupError."""
        waiting = list(range(len(values)))
        while waiting:
            later = [index for index in waiting if not self._is_made(message["sent"], index, message, values[index])]
            if len(later) == len(waiting):
                raise Malformed("tensors are made from each other")
            waiting = later
        return [self._crossed.at((False, message["sent"], index)) for index in range(len(values))]

    def _is_made(self, number: int, index: int, message: dict, value: Tensor) -> bool:
        """Make what stands here for a tensor of the other side, if all that it is made from is here."""
        parents = [(not is_theirs, *place) for is_theirs, *place in message["parents"][index]]
        if any(place not in self._crossed for place in parents):
            return False
        others = [self._crossed.at(place) for place in parents]
        if message["again"][index] is True and torch.equal(others[0], value):  # its numbers may have been changed
            made = others[0]
        else:
            with torch.enable_grad():
                made = _Given.apply(self, number, index, value, *others) if others else value.requires_grad_()
        self._crossed.add((False, number, index), made)
        return True

    def answer(self, request: dict) -> None:
        """Serve a request."""
        try:
            if request["what"] == "backward":
                value = self._backward(*request["value"])
            else:
                value = self.serve(request)
            data = self.write({"what": "reply", "value": value})
        except Exception as error:
            data = self.write({"what": "raised", "value": self.raised(error)})
        self._send(data)

    def _backward(self, number: int, index: int, grad: Tensor, is_batch: bool) -> list[Tensor | None]:
        """The gradients of a tensor that was sent in those that it is made from, each with the others held fixed.

        With `is_batch`, one for each row of `grad`.
        """
        parents = self._parents[True, number, index]
        others = [self._crossed.at(place) for place in parents]
        stops = [_stop(*get_gradient_edge(other)) for (is_own, *_), other in zip(parents, others) if is_own]
        before, self.is_cut = self.is_cut, True
        try:
            found = torch.autograd.grad(
                self._crossed.at((True, number, index)),
                others,
                grad,
                allow_unused=True,
                retain_graph=True,
                is_grads_batched=is_batch is True,
            )
        finally:
            self.is_cut = before
            for stop in stops:
                stop.remove()
        return [None if part is None else part.detach() for part in found]

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


class _Given(torch.autograd.Function):
    """A tensor of the other side that is made from others that have crossed: gradients go on to these as they do there."""

    @staticmethod
    def forward(ctx, peer: Peer, number: int, index: int, value: Tensor, *others: Tensor) -> Tensor:
        ctx.peer, ctx.place = peer, (number, index)
        ctx.others = [(other.shape, other.dtype) for other in others]
        return value.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        if ctx.peer.is_cut:
            return (None,) * (4 + len(ctx.others))
        is_batch = torch._C._functorch.is_legacy_batchedtensor(grad)
        if is_batch:
            grad = torch._remove_batch_dim(grad, LEVEL, 0, 0)
        found = ctx.peer.ask("backward", *ctx.place, grad, is_batch)
        rows = grad.shape[:1] if is_batch else ()
        if not _are_gradients(found, [((*rows, *shape), dtype) for shape, dtype in ctx.others]):
            raise Malformed("a gradient is none")
        if is_batch:
            found = [None if part is None else torch._add_batch_dim(part, 0, LEVEL) for part in found]
        return (None, None, None, None, *found)


LEVEL = 1  # at which `is_grads_batched` puts rows together: it is never asked for within itself


def _are_gradients(found: object, wanted: list[tuple]) -> bool:
    """Whether something is a list of tensors of these shapes and types, or of None in their places."""
    return (
        isinstance(found, list)
        and len(found) == len(wanted)
        and all(
            part is None or (isinstance(part, Tensor) and (tuple(part.shape), part.dtype) == one)
            for part, one in zip(found, wanted)
        )
    )


def _stop(node: torch.autograd.graph.Node, number: int, *_: object) -> torch.utils.hooks.RemovableHandle:
    """Let no gradient get on beyond one output of a node. It is still told what came there."""

    def nothing(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return tuple(
            torch.zeros_like(grad) if place == number and grad is not None else grad for place, grad in enumerate(grads)
        )

    return node.register_prehook(nothing)
