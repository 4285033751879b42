"""What a graph is traced from: the logit of a token, a difference of logits, or any direction at the model's output.

Each of them is a vector that reads the output of the final norm (`ln_final`), so that all of them are traced in the same
way. A model that caps its logits (Gemma 2: `final_logit_softcapping`) is read before the cap. The cap changes no order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.graph import at_least_float32
from utils.engine.token_text import token_text


class OutputToken(NamedTuple):
    """What an output node stands for.

    Attributes:
        str_token: the token's text, or the name of another target.
        prob: the token's probability; of a contrast, that of its first token; 0 for a direction.
        token_id: the token's id; for another target a number that no token has.
    """

    str_token: str
    prob: float
    token_id: int

    @property
    def weight(self) -> float:
        """How much of the influence starts here: the probability, unless a person has chosen the targets."""
        return self.prob


class ChosenOutput(OutputToken):
    """An output that a person has chosen, with a weight of its own. It is the same three things in a row."""

    def __new__(cls, str_token: str, prob: float, token_id: int, weight: float) -> "ChosenOutput":
        output = super().__new__(cls, str_token, prob, token_id)
        output._weight = weight
        return output

    def __getnewargs__(self) -> tuple[str, float, int, float]:
        """What a copy is made from: copying and pickling would leave the weight out."""
        return (*self, self._weight)

    @property
    def weight(self) -> float:
        """How much of the influence starts here; the weights of a graph's targets add up to 1."""
        return self._weight


@dataclass(frozen=True, eq=False)
class Target:
    """What one output node reads. Make one with `token_target`, `contrast` or `direction`.

    Attributes:
        name: what the node is called.
        vector: (d_model,) reads the output of `ln_final`.
        weight: how much of the influence starts here. The weights of a graph's targets are divided by their sum.
        token_id: the token whose probability is stated; None for a direction.
        is_token: this is the logit of one token and nothing else.
    """

    name: str
    vector: Float[Tensor, " d_model"]
    weight: float = 1.0
    token_id: int | None = None
    is_token: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"The weight of target {self.name!r} must be a number of at least 0, not {self.weight}.")


Token: TypeAlias = str | int
GivenTargets: TypeAlias = Token | Target | Sequence[Token | Target] | Mapping[Token, float]


def token_id(model: TransformerBridge, token: Token) -> int:
    """The id of a text that is a single token.

    Raises:
        ValueError: the text is unknown or takes several tokens, or there is no such id.
        TypeError: it is neither a text nor an id.
    """
    d_vocab = model.W_U.shape[1]
    if isinstance(token, Integral) and not isinstance(token, bool):
        if not 0 <= token < d_vocab:
            raise ValueError(f"There is no token {token}; ids go from 0 to {d_vocab - 1}.")
        return int(token)
    if not isinstance(token, str):
        raise TypeError(f"A token is given as a text or as its id, not as a {type(token).__name__}.")
    ids = model.tokenizer.encode(token, add_special_tokens=False)
    if len(ids) == 1 and (ids[0] != model.tokenizer.unk_token_id or token == model.tokenizer.unk_token):
        return ids[0]
    if len(ids) < 2:
        raise ValueError(f"The model does not know the token {token!r}; give one that is in its vocabulary.")
    pieces = " | ".join(token_text(model.tokenizer, i) for i in ids)
    raise ValueError(
        f"{token!r} is not one token but {len(ids)} ({pieces}); give a single token, such as the first one."
    )


def token_target(model: TransformerBridge, token: Token, weight: float = 1.0) -> Target:
    """The demeaned logit of one token: its column of `W_U` less the mean column."""
    W_U, i = at_least_float32(model.W_U.detach()), token_id(model, token)
    return Target(token_text(model.tokenizer, i), W_U[:, i] - W_U.mean(dim=-1), weight, i, is_token=True)


def contrast(
    model: TransformerBridge, token: Token, others: Token | Sequence[Token], weight: float = 1.0, name: str = ""
) -> Target:
    """The logit of one token less that of another, or less the mean of several: why this and not those?

    Args:
        token: a text that is one token, or its id.
        others: one token or several, each counted once.
        weight: see `Target`.
        name: what the node is called; made from the tokens if not given.

    Raises:
        ValueError: there is no other token, or `token` is among them.
    """
    i = token_id(model, token)
    others = [others] if isinstance(others, str | Integral) else list(others)
    ids = list(dict.fromkeys(token_id(model, other) for other in others))
    text = token_text(model.tokenizer, i)
    if not ids:
        raise ValueError(f"A contrast needs at least one other token than {text!r}.")
    if i in ids:
        raise ValueError(f"{text!r} cannot be contrasted with itself; take it out of the other tokens.")
    W_U = at_least_float32(model.W_U.detach())
    rest = model.tokenizer.decode(ids).strip() if len(ids) == 1 else f"mean of {len(ids)} others"
    return Target(name or f"{text.strip()} − {rest}", W_U[:, i] - W_U[:, ids].mean(dim=-1), weight, i)


def direction(
    model: TransformerBridge, vector: Float[Tensor, " d_model"], name: str = "direction", weight: float = 1.0
) -> Target:
    """What the output of `ln_final` has along any vector, for example along a probe's weights.

    Raises:
        ValueError: the vector has another length, is zero or is not finite.
    """
    vector = at_least_float32(torch.as_tensor(vector).detach()).to(model.W_U.device)
    if tuple(vector.shape) != (model.cfg.d_model,):
        raise ValueError(f"A direction has {model.cfg.d_model} numbers for this model, not {tuple(vector.shape)}.")
    if not bool(vector.isfinite().all()) or not bool(vector.any()):
        raise ValueError("A direction must be finite and not zero.")
    return Target(name, vector, weight)


def as_targets(model: TransformerBridge, given: GivenTargets | None) -> list[Target] | None:
    """What a person asks for, as targets. All weigh the same, unless weights are given.

    Args:
        given: a token (a text counts as one), a `Target`, several of them, or a dict token -> weight. None stays None.

    Raises:
        ValueError: nothing is given, a text is not one token, or no weight is above 0.
        TypeError: one of them is no text, id or target.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        targets = [token_target(model, token, float(weight)) for token, weight in given.items()]
    else:
        several = [given] if isinstance(given, str | Integral | Target) else list(given)
        targets = [x if isinstance(x, Target) else token_target(model, x) for x in several]
    # a token that is named twice is one node
    once: dict[int, Target] = {}
    for target in targets:
        once.setdefault(target.token_id if target.is_token else id(target), target)
    targets = list(once.values())
    if not targets:
        raise ValueError("No target is given: at least one is needed.")
    if not any(target.weight > 0 for target in targets):
        raise ValueError("The targets weigh nothing: give at least one of them a weight above 0.")
    return targets


def stack_targets(
    targets: Sequence[Target], logits: Float[Tensor, "batch seq d_vocab"]
) -> tuple[Float[Tensor, "n_output d_model"], list[OutputToken]]:
    """The reading vectors of targets, and what their nodes stand for; weights are made to add up to 1.

    Args:
        targets: from `as_targets`.
        logits: of the model on the prompt; the last position of the first prompt counts.
    """
    probs = logits[0, -1].detach().float().softmax(dim=-1)
    total = sum(target.weight for target in targets)
    outputs = []
    for number, target in enumerate(targets):
        prob = 0.0 if target.token_id is None else float(probs[target.token_id])
        node_id = target.token_id if target.is_token else len(probs) + number
        outputs.append(ChosenOutput(target.name, prob, node_id, target.weight / total))
    return torch.stack([target.vector for target in targets]), outputs


def likelier_form(
    model: TransformerBridge, text: str, logits: Float[Tensor, "batch seq d_vocab"]
) -> tuple[int, int | None]:
    """The token that a person means who writes `text`: the text itself, or the text after a space, whichever is likelier.

    A text that begins with a space is taken as it is.

    Returns:
        The token's id, and the id of the form that was not taken; None where only one form is a token.

    Raises:
        ValueError: neither form is one token.
    """
    forms = []
    for form in (text,) if text[:1].isspace() else (text, " " + text):
        try:
            forms.append(token_id(model, form))
        except ValueError:
            continue
    if not forms:
        token_id(model, text)  # says what is wrong
    forms = sorted(dict.fromkeys(forms), key=lambda i: -float(logits[0, -1, i]))
    return forms[0], forms[1] if len(forms) > 1 else None
