"""A token as text for people, also where it is only a part of a letter."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLACEMENT = "\ufffd"  # what decoding puts where bytes make no letter


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """The text of one token. The bytes of a token that holds only a part of a letter are written as `<0xF0><0x9F>`.

    Byte-level tokenizers cut rare letters into several tokens. Decoded alone, each of them is the same replacement sign.
    """
    text = tokenizer.decode([token_id])
    if REPLACEMENT not in text:
        return text
    found = bytes_of_letters()
    piece = tokenizer.convert_ids_to_tokens(token_id)
    if piece is None or any(letter not in found for letter in piece):
        return text
    return "".join(f"<0x{found[letter]:02X}>" for letter in piece)


@cache
def bytes_of_letters() -> dict[str, int]:
    """GPT-2's table, which byte-level tokenizers share: the letter that stands for each byte in a vocabulary -> the byte."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + k): byte for k, byte in enumerate(others)}
