"""Answers of several tokens: each token is traced behind the ones before it."""

from collections.abc import Callable

from transformer_lens.model_bridge import TransformerBridge

from utils.engine.arguments import tokenize_prompt
from utils.engine.graph import AttributionResult


def trace_answer(
    trace: Callable[..., AttributionResult], model: TransformerBridge, prompt: str, answer: str, **arguments
) -> list[AttributionResult]:
    """One graph for each token of an answer, with the tokens before it given (teacher-forced).

    Why not one graph of the whole answer's log-probability? A log-probability is not linear in the residual stream, even
    with everything frozen, so its edges would not add up; and one sum would hide which token a path supports.

    Args:
        trace: traces a text, for example `partial(attribute, model, transcoders)`, `partial(attribute_neurons, model)`.
        model: the model.
        prompt, answer: the texts. Most answers begin with a space.
        arguments: further arguments of `trace`, but neither `target_tokens` nor `position`.

    Returns:
        A result for each token of the answer. The logit of this token is its only target.

    Raises:
        ValueError: the answer is empty, or its tokens are not those behind the prompt's.
    """
    before, whole = tokenize_prompt(model, prompt)[0].tolist(), tokenize_prompt(model, prompt + answer)[0].tolist()
    if whole[: len(before)] != before:
        raise ValueError(
            f"The prompt's last token is another one when {answer!r} follows; put spaces at the beginning of the answer, not at "
            "the end of the prompt."
        )
    if len(whole) == len(before):
        raise ValueError("The answer is empty; give at least one token.")
    places = range(len(before), len(whole))
    return [trace(prompt + answer, target_tokens=whole[i], position=i - 1, **arguments) for i in places]
