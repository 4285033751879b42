"""What a graph file says about heads, for the page: which heads an edge goes through, where they look, and why.

It is an addition of ours (`python -m solutions.trace … --attention`), so it is never refused: what is not of its form is left
out, as other tools leave all of it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.engine.json_input import is_drawable, short

MAX_HEADS, MAX_PAIRS = 50, 50  # of one edge, of one look


def read_attention(
    raw: Any, places: Mapping[str, list[int]], links: list[list[Any]], n_tokens: int
) -> dict[str, Any] | None:
    """Edges and heads by index.

    Args:
        raw: `metadata.attention` of the file.
        places: the nodes of every id.
        links: (source, target, weight) of the page's links.
        n_tokens: the length of the prompt.

    Returns:
        `heads`: of each head its `name` ("4.0"), `pattern` and `looks`. `edges`: of each edge `source`, `target`, `past` and `heads`,
        which are `[place in heads, loading, query, key]`. None where nothing can be shown.
    """
    if not isinstance(raw, Mapping):
        return None
    heads = {}
    for head in _objects(raw.get("heads")):
        found = _head(head, places, n_tokens)
        if found is not None:
            heads.setdefault(found["name"], found)
    order = {name: place for place, name in enumerate(heads)}
    known = {(source, target) for source, target, _ in links}
    edges = []
    for edge in _objects(raw.get("edges")):
        ends = _place(edge.get("source"), places), _place(edge.get("target"), places)
        if ends in known and is_drawable(edge.get("past_heads")):
            parts = [_part(part, order, n_tokens) for part in _objects(edge.get("heads"))[:MAX_HEADS]]
            past = short(edge["past_heads"])
            edges.append(
                {"source": ends[0], "target": ends[1], "past": past, "heads": [part for part in parts if part]}
            )
    return {"heads": list(heads.values()), "edges": edges} if edges else None


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _place(name: Any, places: Mapping[str, list[int]]) -> int | None:
    return places[name][0] if isinstance(name, str) and name in places else None


def _name(head: Mapping[str, Any]) -> str | None:
    """A head's name, "layer.head"."""
    numbers = [head.get("layer"), head.get("head")]
    whole = all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10**4 for number in numbers)
    return "{}.{}".format(*numbers) if whole else None


def _positions(look: Mapping[str, Any], n_tokens: int) -> list[int] | None:
    """Query and key."""
    found = [look.get("query"), look.get("key")]
    fits = all(isinstance(at, int) and not isinstance(at, bool) and 0 <= at < n_tokens for at in found)
    return found if fits else None


def _part(part: Mapping[str, Any], order: Mapping[str, int], n_tokens: int) -> list[Any] | None:
    """One head's part of an edge."""
    name, at = _name(part), _positions(part, n_tokens)
    if name not in order or at is None or not is_drawable(part.get("loading")):
        return None
    return [order[name], short(part["loading"]), *at]


def _head(head: Mapping[str, Any], places: Mapping[str, list[int]], n_tokens: int) -> dict[str, Any] | None:
    """A head with a pattern that fits the prompt."""
    name, pattern = _name(head), head.get("pattern")
    if name is None or not _is_square(pattern, n_tokens):
        return None
    looks = [_look(look, places, n_tokens) for look in _objects(head.get("looks"))]
    rows = [[round(min(max(part, 0.0), 1.0), 3) for part in row] for row in pattern]
    return {"name": name, "pattern": rows, "looks": [look for look in looks if look]}


def _is_square(pattern: Any, n: int) -> bool:
    return (
        isinstance(pattern, list)
        and len(pattern) == n
        and all(isinstance(row, list) and len(row) == n and all(is_drawable(part) for part in row) for row in pattern)
    )


def _look(look: Mapping[str, Any], places: Mapping[str, list[int]], n_tokens: int) -> dict[str, Any] | None:
    """Why a head looks from one position to another: the score, and the pairs of nodes that make it."""
    at = _positions(look, n_tokens)
    if at is None or not is_drawable(look.get("score")):
        return None
    pairs = []
    for pair in _objects(look.get("pairs"))[:MAX_PAIRS]:
        ends = [_end(pair.get(side), places) for side in ("query", "key")]
        if None not in ends and is_drawable(pair.get("value")):
            pairs.append([*ends, short(pair["value"])])
    contrast = short(look["contrast"]) if is_drawable(look.get("contrast")) else None
    return {"query": at[0], "key": at[1], "score": short(look["score"]), "contrast": contrast, "pairs": pairs}


def _end(end: Any, places: Mapping[str, list[int]]) -> int | str | None:
    """One end of a pair: a node by index, or words for one that the page does not have."""
    if not isinstance(end, Mapping):
        return None
    place = _place(end.get("id"), places)
    return place if place is not None else end["name"] if isinstance(end.get("name"), str) else None
