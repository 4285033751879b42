"""Makes labels of latents: a concept where one latent stands for it, else the tokens that it fires on."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from utils.engine.hooks import Transcoder
from utils.latents.labels import FIRES_ON
from utils.latents.tokens import top_tokens

GOOD_F1 = 0.8
FAIR_F1 = 0.5  # from here on a latent gets the name of the concept with a question mark
LANGUAGE_NAMES = {"en": "English", "fr": "French", "es": "Spanish"}
LABELS = {
    "city": "{} (city)",
    "state or country": "{}",
    "relation": "{} (relation)",
    "answer": "say {}",
    "language": "{} (language)",
    "concept of an opposite": "{} (concept)",
    "digit": "digit {}",
}


@dataclass
class NamedLatent:
    """The latent that stands for one value of a concept, and how well it does on prompts not used to choose it."""

    kind: str
    value: str
    layer: int
    position: str
    latent: int
    f1: float


def label_latents(
    transcoders: dict[int, Transcoder],
    tokens: list[str],
    x: Sequence[Float[Tensor, "token d_model"]],
    named: list[NamedLatent],
) -> dict[str, dict[str, str]]:
    """A label for every latent that fires: its concept where it has one, else the tokens it fires on.

    Args:
        tokens: text of the token at every row of `x`.
        x: what the MLP of each layer reads, after ln2.
        named: the latents that stand for a concept.
    """
    labels: dict[str, dict[str, str]] = {}
    fires_on: dict[tuple[int, int], list[str]] = {}
    for layer, transcoder in transcoders.items():
        top = top_tokens(transcoder, tokens, x[layer])
        fires_on |= {(layer, latent): shown for latent, shown in top.items()}
        labels[str(layer)] = {str(la): FIRES_ON + ", ".join(map(repr, shown)) for la, shown in top.items()}
    best: dict[tuple[int, int], NamedLatent] = {}
    for found in named:
        key = found.layer, found.latent
        if key in fires_on and believable(found, fires_on[key]) and (key not in best or found.f1 > best[key].f1):
            best[key] = found
    for (layer, latent), found in sorted(best.items()):
        value = LANGUAGE_NAMES.get(found.value, found.value)
        doubt = "" if found.f1 >= GOOD_F1 else "?"
        labels[str(layer)][str(latent)] = LABELS[found.kind].format(value) + doubt
    return labels


def believable(found: NamedLatent, fires_on: list[str]) -> bool:
    """Whether a city's latent fires on the city's name most of all: F1 is measured at one position, a label is read at all."""
    return found.kind != "city" or (found.position == "subject" and fires_on[0].strip() in found.value)
