"""Prompts for models that were tuned to converse: a message in the form that the model knows from its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from utils.engine.arguments import name_of, tokenize_prompt

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MARK = "\ue000message\ue000"  # stands for the message where only its place is looked for


class ChatPrompt(NamedTuple):
    """A message within the tokenizer's chat template.

    Attributes:
        text: the prompt, up to where the model's answer begins.
        start_posn: position of the message's first token. What stands in front is the template's, and the beginning-of-sequence token.
    """

    text: str
    start_posn: int


def chat_prompt(model: TransformerBridge, message: str) -> ChatPrompt:
    """Put a user's message into the chat template of the model's tokenizer.

    Where a template can switch a model's thinking off (Qwen3), it does, so that the next token belongs to the answer. The prompt has
    one beginning-of-sequence token where the model has such a token, whether the template writes it or not: `tokenize_prompt` sees
    to that. `attribute(model, transcoders, chat.text, start_posn=chat.start_posn)` hides what is in front of the message; behind it
    stand the template's tokens at which the answer is made, and they stay.

    Raises:
        ValueError: the tokenizer has no template, the template refuses the message, or the message is empty.
        TypeError: the message is not a text.
    """
    if not isinstance(message, str):
        raise TypeError(f"The message must be a text, not a {type(message).__name__}.")
    if not message.strip():
        raise ValueError("The message is empty; give at least one word.")
    if not getattr(model.tokenizer, "chat_template", None):
        raise ValueError(
            f"The tokenizer of {name_of(model)} has no chat template: the model was not tuned to converse; trace the text itself."
        )
    text, front = _rendered(model, message), _rendered(model, MARK).split(MARK)[0]
    tokens = tokenize_prompt(model, text)[0].tolist()
    encoded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    n_added = len(tokens) - len(encoded["input_ids"])  # by the model's own rule: a beginning-of-sequence token
    first = next(k for k, (_, end) in enumerate(encoded["offset_mapping"]) if end > len(front))
    return ChatPrompt(text, first + n_added)


def _rendered(model: TransformerBridge, message: str) -> str:
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": message}]
    try:
        return model.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except TemplateError as error:
        raise ValueError(f"The chat template of {name_of(model)} cannot be used: {error}.") from None
