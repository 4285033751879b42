"""Do QK attributions tell the story that people tell of a head? Many prompts, predictions, and controls.

    python -m solutions.attention_study                        # fifty lists of names, on atlas
    python -m solutions.attention_study --task names           # fifty sentences with a repeated name, on SmolLM2

For each prompt a head's score for one key, against some others, is split into pairs of nodes, which are added up by position.
The story names a pair of positions. Then each word's embedding is taken away in the real model, and the weight on the key is
compared with its prediction.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from solutions.chapter7_attention import (
    HeadOnPrompt,
    OpenGraph,
    head_on_prompt,
    measured,
    open_graph,
    pair_attributions,
    predicted_pattern,
    sides_for_all_keys,
)
from utils import __version__

PEOPLE = ("Mary", "John", "Tom", "Anna", "Peter", "Laura", "Hans", "David")
SENTENCE = "When {0} and {1} went to the {2}, {1} gave a {3} to"
PLACES, GIFTS = ("store", "park", "school", "beach", "office"), ("drink", "book", "ring", "letter", "ball")
LIST_HEAD, NAME_HEAD = (
    (4, 0),
    (22, 4),
)  # an induction head of atlas (chapter 1); a head of SmolLM2 that avoids the repeated name


class Asked(NamedTuple):
    """A head, where it looks from the last token, and what the story says.

    Attributes:
        head: the head.
        key: the position that is asked about.
        others: the positions that it is compared with.
        asks, answers: the positions that the story names, of the query side and of the key side.
    """

    head: HeadOnPrompt
    key: int
    others: list[int]
    asks: int
    answers: int


class Finding(NamedTuple):
    """What one prompt shows.

    Attributes:
        top: positions of the strongest pair: who asks, who answers.
        named: whether these are the positions that the story names.
        asks_named, answers_named: whether the strongest position of either side is the one that the story names.
        weight: how much the head looks at the key.
        predicted, real: change of that weight without each word's embedding, for every position but the first.
        frozen: the same in the frozen model.
        story: index into these of the word that should answer.
    """

    top: tuple[int, int]
    named: bool
    asks_named: bool
    answers_named: bool
    weight: float
    predicted: Float[Tensor, " word"]
    real: Float[Tensor, " word"]
    frozen: Float[Tensor, " word"]
    story: int


def by_position(x: OpenGraph, pairs: Float[Tensor, "n_nodes_1 n_nodes_1"]) -> Float[Tensor, "seq seq"]:
    """Pairs of nodes, added up by where the nodes stand; constants are left out."""
    at = torch.tensor([node.ctx_idx for node in x.graph.nodes], device=pairs.device)
    pairs = pairs[:-1, :-1]
    table = pairs.new_zeros(x.graph.seq_len, x.graph.seq_len)
    return table.index_put((at[:, None].expand_as(pairs), at[None].expand_as(pairs)), pairs, accumulate=True)


def find(asked: Asked) -> Finding:
    """Split one score, take each word away, and compare."""
    head, query = asked.head, asked.head.x.graph.seq_len - 1
    table = by_position(head.x, pair_attributions(head, query, asked.key, asked.others).pairs)
    top = divmod(int(table.argmax()), len(table))
    words = list(range(1, query + 1))  # the embedding at p is node p
    at_query, at_key = sides_for_all_keys(head, query)
    unchanged, *real = measured(head, query, [[], *([word] for word in words)])
    held = measured(head, query, [[word] for word in words], frozen=True)
    # the scores before a cap, which hide nothing: what cannot be seen has no weight
    scores = torch.where(unchanged.scores > -1e4, head.scores[query, : query + 1], -torch.inf)
    weight = unchanged.pattern[asked.key]
    promised = [predicted_pattern(scores, -(at_query[w] + at_key[w]), head.softcap)[asked.key] - weight for w in words]
    return Finding(
        top=top,
        named=top == (asked.asks, asked.answers),
        asks_named=int(table.sum(1).argmax()) == asked.asks,
        answers_named=int(table.sum(0).argmax()) == asked.answers,
        weight=float(weight),
        predicted=torch.stack(promised),
        real=torch.stack([look.pattern[asked.key] - weight for look in real]),
        frozen=torch.stack([look.pattern[asked.key] - weight for look in held]),
        story=words.index(asked.answers),
    )


def lists_of_names(n: int, seed: int = 0) -> Iterator[Asked]:
    """Lists of three to five names, on atlas; the third name comes next. The name before it should ask, and answer."""
    from solutions.chapter3_attribution_graphs import attribute
    from utils.models import load

    model, transcoders = load("atlas")
    generator = torch.Generator().manual_seed(seed)
    for i in range(n):
        size = 3 + i % 3
        people = [PEOPLE[j] for j in torch.randperm(len(PEOPLE), generator=generator)[:size].tolist()]
        text = ", ".join([*people, *people[:2]]) + ","
        result = attribute(model, transcoders, text, n_output_nodes=1)
        words = [word.strip() for word in result.str_tokens]
        first = {name: words.index(name) for name in people}
        key = first[people[2]]
        head = head_on_prompt(open_graph(model, transcoders, result), *LIST_HEAD)
        others = [first[name] for name in people if name != people[2]]
        yield Asked(head, key, others, asks=len(words) - 2, answers=first[people[1]])


def repeated_names(n: int, seed: int = 0) -> Iterator[Asked]:
    """Sentences with a repeated name, on SmolLM2. The repeated name should ask, and the other name should answer."""
    from solutions.chapter6_real_models import attribute_neurons
    from utils.engine.targets import contrast
    from utils.models import load

    model = load("smollm2-135m").model
    generator = torch.Generator().manual_seed(seed)

    def draw(choices: Sequence[str]) -> str:
        return choices[int(torch.randint(len(choices), (1,), generator=generator))]

    for _ in range(n):
        one, two = (PEOPLE[j] for j in torch.randperm(len(PEOPLE), generator=generator)[:2].tolist())
        text = SENTENCE.format(one, two, draw(PLACES), draw(GIFTS))
        target = contrast(model, f" {one}", [f" {two}"])
        result = attribute_neurons(model, text, target_tokens=target, max_latent_nodes=30)
        words = result.str_tokens
        head = head_on_prompt(open_graph(model, None, result), *NAME_HEAD)
        key, first = words.index(f" {one}"), words.index(f" {two}")
        yield Asked(head, key, [first], asks=words.index(f" {two}", first + 1), answers=key)


TASKS: dict[str, Callable[[int, int], Iterator[Asked]]] = {"lists": lists_of_names, "names": repeated_names}


def summary(found: Sequence[Finding]) -> str:
    """The findings in a few lines.

    Raises:
        ValueError: there are none.
    """
    if not found:
        raise ValueError("There is nothing to sum up: give at least one prompt.")

    def share(name: str) -> str:
        return f"{sum(getattr(finding, name) for finding in found) / len(found):.0%}"

    def together(name: str) -> Float[Tensor, " n"]:
        return torch.cat([getattr(finding, name) for finding in found]).double()

    def correlation(name: str) -> float:
        return float(torch.corrcoef(torch.stack([together("predicted"), together(name)]))[0, 1])

    story = torch.stack([finding.real[finding.story] for finding in found]).mean()
    others = [finding.real[torch.arange(len(finding.real)) != finding.story].mean() for finding in found]
    lines = [
        f"{len(found)} prompts; the head looks at the key with {sum(f.weight for f in found) / len(found):.2f} in the mean",
        f"the strongest pair is the one that the story names: {share('named')}",
        f"the position that asks most is the one of the story: {share('asks_named')}; the one that answers most: {share('answers_named')}",
        f"one word taken away, predicted and measured change: correlation {correlation('frozen'):.2f} frozen, {correlation('real'):.2f} real",
        f"real change without the word that should answer {story:+.2f}; without another word {torch.stack(others).mean():+.2f}",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 after one sentence on stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parser = argparse.ArgumentParser(prog="python -m solutions.attention_study", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--task", choices=TASKS, default="lists", help="which prompts (default: lists)")
    parser.add_argument("--prompts", type=int, default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="decides which names are drawn (default: 0)")
    arguments = parser.parse_args(argv)
    try:
        prompts = TASKS[arguments.task](arguments.prompts, arguments.seed)
        found = [find(asked) for asked in tqdm(prompts, total=arguments.prompts, desc="prompts", disable=None)]
        print(summary(found))
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
