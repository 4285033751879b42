"""Supernodes found in a graph: the few boxes with which its page begins.

From the nodes that matter most for the answer, boxes are made by three rules:

* tokens of one word are one box: D + alla + s is "Dallas";
* latents with the same name at one position are one box, in whatever layers;
* latents without a name of their own at one position, in the same or in neighbouring layers, are one box if their inputs and
  outputs are alike; errors at one position are one box.

The rules see no more than what a page draws (:func:`utils.dashboard.read_graph.graph_view`), so they serve graphs of every tool.
Chapter 4 tests these boxes beside supernodes that it builds from many prompts.
"""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from utils.dashboard.graph_json import Labels, build_graph
from utils.dashboard.read_graph import graph_view

if TYPE_CHECKING:
    from utils.engine.graph import AttributionResult

MOST_BOXES = 9
N_CANDIDATES = 40  # nodes of which boxes are made, besides those on the file's paths
N_INPUTS = 8  # of the answer, which are always among them
ALIKE = 0.5  # the cosine, of inputs and of outputs, from which on latents are alike
SECOND_ANSWER = 0.05  # the probability from which on another answer has a box
# Scripts that put no space between words: there each token stays alone.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")

Node = Mapping[str, Any]


class Box(NamedTuple):
    """A supernode, or one node alone: its name, and its members' places in the list of nodes, strongest first (tokens: in order)."""

    name: str
    members: list[int]


def find_boxes(view: Mapping[str, Any]) -> list[Box]:
    """At most ``MOST_BOXES`` boxes of a page's graph: its answers, and the groups with most influence.

    Args:
        view: ``tokens``, ``nodes``, ``links`` and ``paths`` as :func:`utils.dashboard.read_graph.graph_view` makes them.
    """
    nodes, links = view["nodes"], view["links"]
    answers = _answers(nodes)
    chosen = _candidates(nodes, links, view["paths"], answers)
    boxes = [*_words(nodes, chosen, view["tokens"]), *_same_names(nodes, chosen), *_errors(nodes, chosen)]
    boxes += _alike(nodes, links, chosen - {i for box in boxes for i in box.members})
    boxes.sort(key=lambda box: -sum(weight(nodes[i]) for i in box.members))
    return _strongest_joined([Box(nodes[i]["name"], [i]) for i in answers], boxes, links)


def open_with_boxes(graph: dict[str, Any]) -> dict[str, Any]:
    """A graph of :func:`utils.dashboard.build_graph` that opens with its boxes, said as other viewers read it (``qParams``)."""
    names = [node["node_id"] for node in graph["nodes"]]
    boxes = find_boxes(graph_view(graph))
    pinned = [names[i] for box in boxes for i in box.members]
    groups = [[box.name, *(names[i] for i in box.members)] for box in boxes if len(box.members) > 1]
    return graph | {"qParams": graph["qParams"] | {"pinnedIds": pinned, "supernodes": groups}}


def page_boxes(result: AttributionResult, labels: Labels | None = None) -> list[Box]:
    """The boxes with which the page of a traced prompt opens; their members are indices into ``result.graph.nodes``.

    Args:
        result: what ``attribute`` returned.
        labels: names of latents, ``{(layer, latent): name}``.
    """
    kept = result.kept_indices.tolist()
    boxes = find_boxes(graph_view(build_graph(result, labels)))
    return [Box(box.name, [kept[i] for i in box.members]) for box in boxes]


def weight(node: Node) -> float:
    """A node's influence, or, in files that do not say it, its part of all influence."""
    return node["share"] if node["own"] is None else node["own"]


# ---------------------------------------------------------------- which nodes


def _answers(nodes: Sequence[Node]) -> list[int]:
    logits = sorted((i for i, node in enumerate(nodes) if node["kind"] == "logit"), key=lambda i: -nodes[i]["prob"])
    return logits[:1] + [i for i in logits[1:3] if nodes[i]["prob"] >= SECOND_ANSWER]


def _candidates(nodes: Sequence[Node], links: Sequence, paths: Iterable[Mapping], answers: Sequence[int]) -> set[int]:
    """Nodes on the file's paths, the strongest inputs of the answer, and the nodes with most influence."""
    inner = [i for i, node in enumerate(nodes) if node["kind"] != "logit"]
    chosen = set(sorted(inner, key=lambda i: -weight(nodes[i]))[:N_CANDIDATES])
    chosen |= {i for path in paths for i in path["nodes"]}
    if answers:
        chosen |= set([source for source, target, _ in links if target == answers[0]][:N_INPUTS])  # strongest first
    return chosen.intersection(inner)


def _strongest_joined(answers: list[Box], boxes: list[Box], links: Sequence) -> list[Box]:
    """The answers and the first boxes, as many as there is room for; one that no link joins to another gives way to the next."""
    inside = {i for box in (*answers, *boxes) for i in box.members}
    links = [(source, target) for source, target, _ in links if source in inside and target in inside]
    while True:
        kept = answers + boxes[: MOST_BOXES - len(answers)]
        owner = {i: k for k, box in enumerate(kept) for i in box.members}
        pairs = [(owner.get(source), owner.get(target)) for source, target in links]
        joined = {k for pair in pairs if None not in pair and pair[0] != pair[1] for k in pair} | {0}
        alone = [box for k, box in enumerate(kept) if k not in joined]
        if not alone:
            return kept
        answers, boxes = ([box for box in some if box not in alone] for some in (answers, boxes))


# ---------------------------------------------------------------- tokens of a word


def _words(nodes: Sequence[Node], chosen: set[int], tokens: Sequence[str]) -> list[Box]:
    """A box for every word of which a token is chosen, with all of its tokens that are nodes."""
    words = word_numbers(tokens)
    by_word: dict[int, list[int]] = defaultdict(list)
    for i, node in enumerate(nodes):
        if node["kind"] == "embedding":
            by_word[words[node["pos"]]].append(i)
    boxes = []
    for members in by_word.values():
        members.sort(key=lambda i: nodes[i]["pos"])
        if chosen.intersection(members):
            word = words[nodes[members[0]]["pos"]]
            text = "".join(token for token, number in zip(tokens, words) if number == word).strip()
            boxes.append(Box(text if len(members) > 1 else nodes[members[0]]["name"], members))
    return boxes


def word_numbers(tokens: Sequence[str]) -> list[int]:
    """For every token the number of its word: a token goes on with the word before it if letters or digits meet."""
    numbers = [0] * len(tokens)
    for k in range(1, len(tokens)):
        goes_on = _in_word(tokens[k - 1][-1:]) and _in_word(tokens[k][:1])
        numbers[k] = numbers[k - 1] + (not goes_on)
    return numbers


def _in_word(letter: str) -> bool:
    letters = bool(letter) and (letter.isalnum() or unicodedata.category(letter)[0] == "M")
    return letters and not unicodedata.name(letter, "").startswith(UNSPACED)


# ---------------------------------------------------------------- latents


def _is_named(node: Node) -> bool:
    """Whether a latent's name says more than on which tokens it fires."""
    return node["kind"] == "latent" and node["named"] and not node.get("quiet")


def _same_names(nodes: Sequence[Node], chosen: set[int]) -> list[Box]:
    """A box for every name and position. A question mark at a name's end, the mark of a doubtful one, makes no other name."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i in _strongest_first(nodes, chosen):
        if _is_named(nodes[i]):
            found[nodes[i]["name"].rstrip("?"), nodes[i]["pos"]].append(i)
    return [Box(nodes[members[0]]["name"], members) for members in found.values()]


def _errors(nodes: Sequence[Node], chosen: set[int]) -> list[Box]:
    found: dict[int, list[int]] = defaultdict(list)
    for i in _strongest_first(nodes, chosen):
        if nodes[i]["kind"] == "mlp_error":
            found[nodes[i]["pos"]].append(i)
    return [Box("errors" if len(members) > 1 else nodes[members[0]]["name"], members) for members in found.values()]


def _alike(nodes: Sequence[Node], links: Sequence, chosen: set[int]) -> list[Box]:
    """Boxes of the nodes that are left, by position: the two groups that are most alike become one, as long as any are alike."""
    profiles = _profiles(nodes, links, chosen)
    boxes = []
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i in _strongest_first(nodes, chosen):
        places[nodes[i]["kind"], nodes[i]["pos"]].append(i)
    for members in places.values():
        likeness = {(i, j): _likeness(profiles[i], profiles[j]) for i in members for j in members if i < j}
        groups = [[i] for i in members]
        while pair := _most_alike(groups, nodes, likeness):
            first, second = pair
            groups[first] += groups.pop(second)
        for group in groups:
            group = _strongest_first(nodes, group)
            boxes.append(Box(_common_name(nodes, group), group))
    return boxes


def _most_alike(
    groups: Sequence[Sequence[int]], nodes: Sequence[Node], likeness: Mapping[tuple[int, int], float]
) -> tuple[int, int] | None:
    """The two groups of at most two neighbouring layers whose members are on average most alike, if they are alike enough."""
    best, found = ALIKE, None
    for a in range(len(groups)):
        for b in range(a + 1, len(groups)):
            layers = [nodes[i]["layer"] for i in (*groups[a], *groups[b])]
            if max(layers) - min(layers) > 1:
                continue
            pairs = [likeness[min(i, j), max(i, j)] for i in groups[a] for j in groups[b]]
            mean = sum(pairs) / len(pairs)
            if mean >= best:
                best, found = mean, (a, b)
    return found


Profile = dict[int, float]


def _profiles(nodes: Sequence[Node], links: Sequence, chosen: set[int]) -> dict[int, tuple[Profile, Profile]]:
    """What reaches each chosen node, by source, and what it does, by target, weighed by how much the target matters."""
    totals: dict[int, float] = defaultdict(float)
    for _, target, value in links:
        totals[target] += abs(value)
    found: dict[int, tuple[Profile, Profile]] = {i: ({}, {}) for i in chosen}
    for source, target, value in links:
        share = value / (nodes[target]["total"] or totals[target] or 1.0)
        if target in found:
            found[target][0][source] = share
        if source in found:
            matters = 1.0 if nodes[target]["kind"] == "logit" else weight(nodes[target])
            found[source][1][target] = share * matters
    return found


def _likeness(one: tuple[Profile, Profile], other: tuple[Profile, Profile]) -> float:
    """The cosine of the inputs or that of the outputs, whichever is smaller: both have to be alike."""
    return min(_cosine(a, b) for a, b in zip(one, other))


def _cosine(a: Profile, b: Profile) -> float:
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(value * b[key] for key, value in a.items() if key in b) / lengths if lengths else 0.0


def _common_name(nodes: Sequence[Node], members: Sequence[int]) -> str:
    """The strongest member's name, and how many are like it."""
    first = nodes[members[0]]["name"]
    return first if len(members) == 1 else f"{first} + {len(members) - 1} like it"


def _strongest_first(nodes: Sequence[Node], chosen: Iterable[int]) -> list[int]:
    return sorted(chosen, key=lambda i: (-weight(nodes[i]), i))
