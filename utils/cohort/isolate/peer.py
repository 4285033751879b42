"""Two processes that call each other's functions: the tests on one side, a student's answer on the other.

Each side sends requests and serves those of the other until its own reply comes. Tensors that ask for gradients cross as numbers, and a
backward pass crosses after them: through what came back from a call (`_Crossing`), and through what the other side has made from one
tensor to another before it sent both (`_Given`). How values are written differs: see `wire`.
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


Place = tuple[int, int]  # the number of a message, and the place among its tensors that ask for gradients


class Crossed:
    """Tensors that have crossed, by their places."""

    def __init__(self):
        self._tensors: dict[Place, Tensor] = {}
        self._places: dict[tuple, Place] = {}  # by where their gradients arrive

    def __contains__(self, place: Place) -> bool:
        return place in self._tensors

    def at(self, place: Place) -> Tensor:
        """Raises LookupError."""
        return self._tensors[tuple(place)]

    def add(self, place: Place, tensor: Tensor) -> Place:
        """The place where the same one has crossed first: this one, if it has not."""
        self._tensors[place] = tensor
        return self._places.setdefault(tuple(get_gradient_edge(tensor))[:2], place)

    def above(self, tensor: Tensor, itself: Place | None = None) -> list[Place]:
        """Those that a tensor is made from, with none of them in between. One that is itself among them is made from itself,
        unless `itself` is its place."""
        found, seen, waiting = set(), set(), [tuple(get_gradient_edge(tensor))[:2]]
        while waiting:
            edge = waiting.pop()
            if edge[0] is None or edge in seen:
                continue
            seen.add(edge)
            if edge in self._places and self._places[edge] != itself:
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
        self.is_cut = False  # in a backward pass for the other side, which goes through its own part itself

    def forget(self) -> None:
        """Another test begins: no gradient goes back to before it."""
        self._graphs: dict[
            int, tuple[list[Tensor], list[Tensor]]
        ] = {}  # what replies were made from, and their tensors
        self._sent, self._got = Crossed(), Crossed()  # with requests
        self._parents: dict[Place, list[Place]] = {}

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

        def wrap(message: dict, values: list[Tensor]) -> list[Tensor]:
            if message["what"] != "reply":
                return self._given(message, values)
            origins = [self._sent.at(place) for place in message.get("from", ())]
            if origins and values:
                return list(_Crossing.apply(self, message["graph"], len(values), *values, *origins))
            return [value.requires_grad_() for value in values]

        return self.read(self._receive(), wrap)

    def said_of(self, what: str, live: list[Tensor]) -> dict:
        """What a message says of its tensors that ask for gradients.

        A reply: "graph", the number by which a backward pass through them is asked for, and "from", those of the other side's tensors
        that they are made from. A request: "sent", the number of these, and for each of them in "parents" those of this side's tensors,
        sent now or before, that it is made from with none of them in between.
        """
        number = next(self._numbers)
        if what == "reply":
            origins = sorted({place for tensor in live for place in self._got.above(tensor)})
            self._graphs[number] = [self._got.at(place) for place in origins], live
            return {"graph": number, "from": origins}
        first = [self._sent.add((number, index), tensor) for index, tensor in enumerate(live)]
        parents = [
            self._sent.above(tensor, place) if place == (number, index) else [place]
            for index, (tensor, place) in enumerate(zip(live, first))
        ]
        self._parents |= {(number, index): places for index, places in enumerate(parents)}
        return {"sent": number, "parents": parents}

    def _given(self, message: dict, values: list[Tensor]) -> list[Tensor]:
        """The tensors of a request, those that are made from others after these."""
        number, parents = message.get("sent"), message.get("parents")

        def make(index: int) -> Tensor:
            place = number, index
            if place not in self._got:
                others = [self._got.at(p) if p in self._got else make(p[1]) for p in parents[index]] if parents else []
                value = (
                    values[index].requires_grad_() if not others else _Given.apply(self, place, values[index], *others)
                )
                self._got.add(place, value)
            return self._got.at(place)

        with torch.enable_grad():
            return [make(index) for index in range(len(values))]

    def answer(self, request: dict) -> None:
        """Serve a request."""
        try:
            if request["what"] == "backward":
                value = self._backward(*request["value"])
            elif request["what"] == "through":
                value = self._through(*request["value"])
            else:
                value = self.serve(request)
            data = self.write({"what": "reply", "value": value})
        except Exception as error:
            data = self.write({"what": "raised", "value": self.raised(error)})
        self._send(data)

    def _backward(self, number: int, grads: list[Tensor | None], is_batch: bool) -> list[Tensor | None]:
        """The gradients of what a reply gave in what it was made from, each with the others held fixed."""
        leaves, outputs = self._graphs[number]
        pairs = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
        if not leaves or not pairs:
            return [None] * len(leaves)
        before, self.is_cut = self.is_cut, True
        try:
            return slopes(*zip(*pairs), leaves, is_batch)
        finally:
            self.is_cut = before

    def _through(self, number: int, index: int, grads: list[Tensor], is_batch: bool) -> list[Tensor | None]:
        """The gradients of a tensor that was sent in those that it is made from, each with the others held fixed."""
        others = [self._sent.at(place) for place in self._parents[number, index]]
        if not others:
            return []
        stops = [_stop(*get_gradient_edge(other)) for other in others]
        try:
            return slopes([self._sent.at((number, index))], grads, others, is_batch)
        finally:
            for stop in stops:
                stop.remove()

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
        found = _asked(ctx.peer, ("backward", ctx.number), list(grads), ctx.live)
        return (None, None, None, *[None] * ctx.n_outputs, *found)


class _Given(torch.autograd.Function):
    """A tensor that the other side has made from others, and sent with them: gradients go on to these as they do there."""

    @staticmethod
    def forward(ctx, peer: Peer, place: Place, value: Tensor, *others: Tensor) -> Tensor:
        ctx.peer, ctx.place = peer, place
        ctx.others = [(other.shape, other.dtype) for other in others]
        return value.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        if ctx.peer.is_cut:
            return (None,) * (3 + len(ctx.others))
        return (None, None, None, *_asked(ctx.peer, ("through", *ctx.place), [grad], ctx.others))


def _asked(peer: Peer, what: tuple, grads: list[Tensor | None], wanted: list[tuple]) -> list[Tensor | None]:
    """Gradients from the other side, of the wanted shapes and types. Raises Malformed."""
    batched = [grad is not None and torch._C._functorch.is_legacy_batchedtensor(grad) for grad in grads]
    is_batch = any(batched)
    if is_batch:
        plain = [torch._remove_batch_dim(g, _LEVEL, 0, 0) if b else g for g, b in zip(grads, batched)]
        n = len(plain[batched.index(True)])
        grads = [g if b or g is None else g.expand(n, *g.shape) for g, b in zip(plain, batched)]
    found = peer.ask(*what, grads, is_batch)
    is_right = isinstance(found, list) and len(found) == len(wanted)
    for grad, (shape, dtype) in zip(found if is_right else (), wanted):
        size = (n, *shape) if is_batch else tuple(shape)
        is_right = is_right and (
            grad is None or (isinstance(grad, Tensor) and (tuple(grad.shape), grad.dtype) == (size, dtype))
        )
    if not is_right:
        raise Malformed("a gradient is none")
    return [torch._add_batch_dim(g, 0, _LEVEL) if is_batch and g is not None else g for g in found]


_LEVEL = 1  # at which `is_grads_batched` puts rows together: it is never asked for within itself


def slopes(outputs, directions, inputs: list[Tensor], is_batch: bool) -> list[Tensor | None]:
    """The gradients of some tensors in others; None where there is none. With `is_batch`, one for each row of `directions`."""
    found = torch.autograd.grad(
        outputs, inputs, directions, allow_unused=True, retain_graph=True, is_grads_batched=is_batch is True
    )
    return [None if grad is None else grad.detach() for grad in found]


def _stop(node: torch.autograd.graph.Node, number: int, *_: object) -> torch.utils.hooks.RemovableHandle:
    """Let no gradient get on beyond one output of a node. It is still told what came there."""

    def nothing(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return tuple(
            torch.zeros_like(grad) if place == number and grad is not None else grad for place, grad in enumerate(grads)
        )

    return node.register_prehook(nothing)
