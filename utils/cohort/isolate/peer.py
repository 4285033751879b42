"""Two processes that call each other's functions: the tests on one side, a student's answer on the other.

Each side sends requests and serves those of the other until its own reply comes. Tensors that ask for gradients cross as numbers, and a
backward pass crosses after them: through what came back from a call (`_Crossing`), and through what the other side has made from one
tensor to another before it sent both (`_Given`). How values are written differs: see `wire`.
"""

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


class Peer(ABC):
    """One side of a connection.

    `write` and `read` turn a message into bytes and back: a dict with "what", and in "value" anything that may cross; in a reply
    with tensors that ask for gradients, "graph" is the number by which a backward pass is asked for; in a request with some that are
    made from others, "sent" is that number, and "parents" are the places of the others.
    """

    most_bytes = MOST_BYTES

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._left = self.most_bytes
        self._graphs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self._sent: list[list[Tensor]] = []
        self.is_cut = False  # in a backward pass for the other side, which goes through its own part itself

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
            leaves.extend(self._given(message, values))
            return leaves

        return self.read(self._receive(), wrap), leaves

    def _given(self, message: dict, values: list[Tensor]) -> list[Tensor]:
        """The tensors of a request, those that are made from others among them after these."""
        parents, made = message.get("parents") or [[]] * len(values), {}

        def make(place: int) -> Tensor:
            if place not in made:
                others = [make(other) for other in parents[place]]
                value = values[place]
                made[place] = (
                    _Given.apply(self, message["sent"], place, value, *others) if others else value.requires_grad_()
                )
            return made[place]

        with torch.enable_grad():
            return [make(place) for place in range(len(values))]

    def note_sent(self, tensors: list[Tensor]) -> dict:
        """Keep what is sent for later, and say by which number, and which tensors are made from which others."""
        self._sent.append(tensors)
        return {"sent": len(self._sent) - 1, "parents": parents_of(tensors)}

    def answer(self, request: dict, leaves: list[Tensor]) -> None:
        """Serve a request; `leaves` are its tensors that ask for gradients."""
        outputs: list[Tensor] = []
        try:
            if request["what"] == "backward":
                value = self._backward(*request["value"])
            elif request["what"] == "through":
                value = self._through(*request["value"])
            else:
                value = self.serve(request)
            data = self.write({"what": "reply", "value": value, "graph": len(self._graphs)}, outputs)
        except Exception as error:
            outputs = []
            data = self.write({"what": "raised", "value": self.raised(error)}, outputs)
        if outputs:
            self._graphs[len(self._graphs)] = leaves, outputs
        self._send(data)

    def _backward(self, number: int, grads: list[Tensor | None], is_batch: bool) -> list[Tensor | None]:
        """The gradients of what a request gave in what came with it, each with the others held fixed."""
        leaves, outputs = self._graphs[number]
        pairs = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
        if not leaves or not pairs:
            return [None] * len(leaves)
        before, self.is_cut = self.is_cut, True
        try:
            return slopes(*zip(*pairs), leaves, is_batch)
        finally:
            self.is_cut = before

    def _through(self, number: int, place: int, grads: list[Tensor], is_batch: bool) -> list[Tensor | None]:
        """The gradients of a tensor that was sent in those that it is made from, each with the others held fixed."""
        tensors = self._sent[number]
        others = [tensors[other] for other in parents_of(tensors)[place]]
        if not others:
            return []
        stops = [_stop(*edge) for edge in map(get_gradient_edge, others)]
        try:
            return slopes([tensors[place]], grads, others, is_batch)
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
    def forward(ctx, peer: Peer, number: int, place: int, value: Tensor, *others: Tensor) -> Tensor:
        ctx.peer, ctx.number, ctx.place = peer, number, place
        ctx.others = [(other.shape, other.dtype) for other in others]
        return value.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        if ctx.peer.is_cut:
            return (None,) * (4 + len(ctx.others))
        found = _asked(ctx.peer, ("through", ctx.number, ctx.place), [grad], ctx.others)
        return (None, None, None, None, *found)


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


def parents_of(tensors: list[Tensor]) -> list[list[int]]:
    """For each tensor the places of those among the others that it is made from, with none of them in between."""
    edges = [tuple(get_gradient_edge(tensor))[:2] for tensor in tensors]
    places = {edge: place for place, edge in reversed([*enumerate(edges)])}

    def above(place: int) -> list[int]:
        first = places[edges[place]]
        if first != place:  # another name for the same
            return [first]
        found, seen, waiting = set(), set(), list(edges[place][0].next_functions)
        while waiting:
            edge = waiting.pop()
            if edge[0] is None or edge in seen:
                continue
            seen.add(edge)
            if edge in places:
                found.add(places[edge])
            else:
                waiting += edge[0].next_functions
        return sorted(found)

    return [above(place) for place in range(len(tensors))]


def _stop(node: torch.autograd.graph.Node, number: int, *_: object) -> torch.utils.hooks.RemovableHandle:
    """Let no gradient get on beyond one output of a node. It is still told what came there."""

    def nothing(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return tuple(
            torch.zeros_like(grad) if place == number and grad is not None else grad for place, grad in enumerate(grads)
        )

    return node.register_prehook(nothing)
