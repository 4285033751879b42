"""Measure the finished model and write its model card and the labels of its latents."""

import json
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from sae_lens import JumpReLUSkipTranscoder
from transformer_lens.model_bridge import TransformerBridge

from utils.atlas.corpus import Sentence
from utils.atlas.dictionaries import Activations
from utils.atlas.evaluate import (
    accuracy_by_family,
    answers_kept,
    dictionary_quality,
    encode_prompts,
    latents_of,
    name_groups,
    name_latents,
)
from utils.atlas.interchange import Step
from utils.atlas.naming import CONCEPTS, values_of
from utils.atlas.necessity import measure_steps
from utils.latents.labelling import FAIR_F1, GOOD_F1, NamedLatent

PROMPTS_A_CITY = 8  # two-hop prompts of each city to choose latents by, and others to test them on, at most

# Sentences that are no questions, or are about people: no latents are looked for in them.
LEFT_OUT = ("location", "named", "indirect object", "induction")


def probe_sentences(
    sentences: list[Sentence], seen: set[str], rng: random.Random
) -> tuple[list[Sentence], list[Sentence]]:
    """Prompts to choose latents by, which the dictionaries were trained on, and others to test the latents on.

    Args:
        seen: prompts that the dictionaries were trained on.
    """
    groups = defaultdict(list)
    for sentence in sentences:
        if sentence.family not in LEFT_OUT:
            groups[sentence.prompt in seen, sentence.concepts.get("city")].append(sentence)
    choose, test = [], []
    for (trained_on, city), group in groups.items():
        drawn = group if city is None else rng.sample(group, min(PROMPTS_A_CITY, len(group)))
        (choose if trained_on else test).extend(drawn)
    return choose, test


def name_all(
    choose: tuple[dict, list[Sentence]], test: tuple[dict, list[Sentence]]
) -> tuple[dict[str, dict], list[NamedLatent]]:
    """For every kind of concept: how many values have a latent of their own, and which."""
    summary, named = {}, []
    for kind in CONCEPTS:
        arguments = (choose[0], values_of(kind, choose[1]), test[0], values_of(kind, test[1]))
        found = name_latents(kind, *arguments)
        by_place = {place: [latent for _, latent in scored] for place, scored in found.items()}
        anywhere = [max(scored, key=lambda pair: pair[0])[1] for scored in zip(*found.values(), strict=True)]
        place = max(by_place, key=lambda p: share_good(by_place[p]))
        summary[kind] = {
            "values": len(anywhere),
            "share": share_good(by_place[place]),
            "layer": place[0],
            "position": place[1],
            "share_anywhere": share_good(anywhere),
            "mean_f1_anywhere": sum(n.f1 for n in anywhere) / max(1, len(anywhere)),
        }
        # every latent that says this value, at whichever layer and position
        named += [n for latents in by_place.values() for n in latents if n.f1 >= FAIR_F1]
    kind = "state or country"
    groups = name_groups(kind, choose[0], values_of(kind, choose[1]), test[0], values_of(kind, test[1]))
    named += [n for n in groups if n.f1 >= GOOD_F1]
    return summary, named


def share_good(named: list[NamedLatent]) -> float:
    """Share of the values whose latent has an F1 of at least `GOOD_F1`."""
    return sum(n.f1 >= GOOD_F1 for n in named) / max(1, len(named))


def measure(
    model: TransformerBridge,
    transcoders: dict[int, JumpReLUSkipTranscoder],
    sentences: list[Sentence],
    seen: set[str],
    activations: Activations,
    questions: int,
    steps: Sequence[Step],
) -> tuple[dict, list[NamedLatent]]:
    """Every number of the model card, and the latents that can be named.

    Args:
        seen: prompts that the dictionaries were trained on.
        activations: of sentences that the dictionaries were not trained on.
        questions: how many questions of each family are asked at most.
        steps: of a question, that the language model was taught to take at one place each.
    """
    tokenizer, rng = model.tokenizer, random.Random(0)
    choose, test = probe_sentences(sentences, seen, rng)
    found = tuple((latents_of(model, transcoders, encode_prompts(group, tokenizer)), group) for group in (choose, test))
    summary, named = name_all(*found)
    two_hop = [s for s in sentences if s.family == "two-hop"]
    asked = rng.sample(two_hop, min(questions, len(two_hop))), rng.sample(sentences, questions)
    metrics = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "accuracy": accuracy_by_family(model, tokenizer, sentences, questions),
        "dictionaries": dictionary_quality(model, transcoders, activations),
        "kept_two_hop": answers_kept(model, tokenizer, transcoders, asked[0]),
        "kept_all": answers_kept(model, tokenizer, transcoders, asked[1]),
        "latents": summary,
        "steps": measure_steps(model, transcoders, steps, sentences, found),
        "sentences": dict(Counter(s.family for s in sentences)),
    }
    return metrics, named


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"  # of no answers at all, none can be kept


def write_card(out: Path, metrics: dict, notes: str) -> None:
    """Write `metrics.json` and `MODEL_CARD.md` into `out`.

    Args:
        notes: hand-written part that follows the numbers.
    """
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    (out / "MODEL_CARD.md").write_text(card_text(metrics) + "\n" + notes, encoding="utf-8")


def card_text(metrics: dict) -> str:
    """The part of the model card that is made of numbers."""
    recipe = metrics["recipe"]["model"]
    lines = [
        "# Model card: atlas",
        "",
        "A small language model and its dictionaries, trained by this project so that every chapter runs offline.",
        f"Written by `python -m utils.atlas.train` on {time.strftime('%Y-%m-%d')}; the numbers are also in `metrics.json`.",
        f"The run that wrote it took {metrics['minutes']:.0f} minutes, not counting stages that it found done.",
        "",
        "## Size",
        "",
        f"{metrics['parameters']:,} parameters: {recipe['n_layers']} layers, d_model {recipe['d_model']}, "
        f"MLPs of {recipe['d_mlp']}, {recipe['n_heads']} heads, vocabulary {recipe['vocab_size']}. "
        "A skip transcoder and a residual SAE on every layer, and one cross-layer transcoder.",
        "",
        "## Data",
        "",
        "| family | sentences |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in metrics["sentences"].items()),
        "",
        "## Answers",
        "",
        "Whole answers, greedy, up to the full stop.",
        "",
        "| questions | right |",
        "|---|---|",
        *(f"| {name} | {_percent(share)} |" for name, share in metrics["accuracy"].items()),
        "",
        "## Dictionaries",
        "",
        "On sentences they were not trained on; `<bos>` is left out of the variance.",
        "",
        "| layer | latents | unexplained variance | by a linear map alone | active latents a token | dead |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['layer']} | {row['latents']:,} | {_percent(row['unexplained'])} | {_percent(row['unexplained_linear'])} "
            f"| {row['active']:.1f} | {_percent(row['dead'])} |"
            for row in metrics["dictionaries"]
        ),
        "",
        "Sparse autoencoders on the residual stream after every layer:",
        "",
        "| layer | unexplained variance | active latents a token | dead |",
        "|---|---|---|---|",
        *(
            f"| {row['layer']} | {_percent(row['unexplained'])} | {row['active']:.1f} | {_percent(row['dead'])} |"
            for row in metrics["saes"]
        ),
        *clt_lines(metrics["clt"]),
        "",
        f"With every MLP replaced (no error terms), {_percent(metrics['kept_two_hop'])} of the two-hop answers and "
        f"{_percent(metrics['kept_all'])} of all answers are kept.",
        "",
        "## Latents a person can name",
        "",
        f"Share of the values with a single latent of F1 ≥ {GOOD_F1}, on prompts not used to choose the latent. First with "
        "one layer and position for the whole kind, then with the best layer and position for each value.",
        "",
        "| kind | values | share | at | share anywhere | mean F1 anywhere |",
        "|---|---|---|---|---|---|",
        *(
            f"| {kind} | {row['values']} | {_percent(row['share'])} | layer {row['layer']}, {row['position']} "
            f"| {_percent(row['share_anywhere'])} | {row['mean_f1_anywhere']:.2f} |"
            for kind, row in metrics["latents"].items()
        ),
        *step_lines(metrics["steps"]),
    ]
    return "\n".join(lines) + "\n"


def step_lines(steps: list[dict]) -> list[str]:
    """The model card's part on what each step needs."""
    return [
        "",
        "## Is each step needed?",
        "",
        "Each step is to be taken by one MLP at one position (`utils.atlas.interchange`). The table changes what is written there, "
        "on the real model, and everything after it is computed anew. *Right*: the first token of the answer is the most probable token. "
        "*Contrast*: the logit of the own answer minus the mean logit of the alternatives (for a state and an answer: the other 49 "
        "capitals; for a relation: the same state's answers to the other relations; for a language: the same word in the other two). "
        "*Probability*: of the right answer, on average. It tells more than the share: an answer at 4 % may still be the most probable one.",
        "",
        "| step | MLP, at | questions | unchanged | whole write at 0 | whole write: mean of all questions | one latent at 0 | other latents | random direction |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['step']} | {row['layer']}, {row['place']} | {row['questions']} | {_right(row['unchanged'])} "
            f"| {_right(row['mlp']['zero'])} | {_right(row['mlp']['mean'])} | {_right(row['latent']['zeroed'])} "
            f"| {_right(row['latent']['controls'])} | {_right(row['latent']['random'])} |"
            for row in steps
        ),
        "",
        "Each entry: share right, mean contrast, mean probability. The last two columns are controls. They take away a vector as long as the one "
        "latent's: along all other active latents of the place, scaled together until they are as long; and in a random direction.",
        "",
        "*Swap*: the share of the questions answered as with the partner's fact, when the partner's whole write, or its one latent, is put "
        "into the place. *Held out*: interchange training never used the partner's city (the concept in its language).",
        "",
        "| step | whole write, trained | whole write, held out | one latent, trained | one latent, held out | questions held out |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['step']} | {_percent(row['mlp']['swap']['trained'])} | {_percent(row['mlp']['swap']['held_out'])} "
            f"| {_percent(row['latent']['swap']['trained'])} | {_percent(row['latent']['swap']['held_out'])} "
            f"| {row['held_out']} |"
            for row in steps
        ),
    ]


def _right(found: dict[str, float]) -> str:
    return f"{_percent(found['right'])}, {found['contrast']:.1f}, {_percent(found['probability'])}"


def clt_lines(found: dict) -> list[str]:
    """The model card's part on the cross-layer transcoder."""
    active = sum(row["active"] for row in found["layers"])
    return [
        "",
        f"Cross-layer transcoder of {found['width']} latents on every layer, without a skip:",
        "",
        "| layer | unexplained variance | active latents a token | dead |",
        "|---|---|---|---|",
        *(
            f"| {row['layer']} | {_percent(row['unexplained'])} | {row['active']:.1f} | {_percent(row['dead'])} |"
            for row in found["layers"]
        ),
        "",
        f"It has {active:.1f} active latents a token in all layers together. In the place of all MLPs (no error terms) it gives the "
        f"model's own most probable next token after {_percent(found['same_top_token'])} of all tokens (the per-layer "
        f"transcoders: {_percent(found['same_top_token_per_layer'])}), and keeps {_percent(found['kept_two_hop'])} of the two-hop "
        f"answers and {_percent(found['kept_all'])} of all answers (the per-layer transcoders: "
        f"{_percent(found['kept_all_per_layer'])} of these).",
        "",
        "No latent of it was given a name. In every layer, the latent that tells a value best by F1 is changed at the step's position. "
        "The table has the layer in which a latent at 0 lowers the contrast most (share right, mean contrast, mean probability):",
        "",
        "| step | latents of layer | unchanged | one latent at 0 | other latents | random direction | swap by one latent, trained | held out |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['step']} | {row['latents_of_layer']} | {_right(row['unchanged'])} | {_right(row['latent']['zeroed'])} "
            f"| {_right(row['latent']['controls'])} | {_right(row['latent']['random'])} | {_percent(row['latent']['swap']['trained'])} "
            f"| {_percent(row['latent']['swap']['held_out'])} |"
            for row in found["steps"]
        ),
    ]


def named_in_weights() -> dict[int, dict[str, str]]:
    """Which latents of the bundled transcoders were given names in training: layer -> kind of concept -> position.

    Read from `metrics.json`, which the run that made the weights has written. `utils.atlas.naming` may be newer.
    """
    recipe = json.loads((Path(__file__).parent / "metrics.json").read_text(encoding="utf-8"))["recipe"]
    return {int(layer): kinds for layer, kinds in recipe["named"].items()}
