"""Which prompts are traced, and what is asked of them."""

from typing import NamedTuple


class Case(NamedTuple):
    """A prompt and a question: why this answer and not those?

    Attributes:
        name: of the case, and of its folder.
        prompt: the text that is traced.
        answer: what the model says.
        others: the answers that it is compared with.
        question: one sentence about what to look for.
    """

    name: str
    prompt: str
    answer: str
    others: tuple[str, ...]
    question: str


CASES = (
    Case(
        "capital",
        "The capital of France is",
        "Paris",
        ("London", "Berlin", "Rome", "Madrid"),
        "Is the capital read off the country's name, or off the word before it?",
    ),
    Case(
        "two hops",
        "The official language of the country whose capital is Paris is",
        "French",
        ("German", "Spanish", "Italian", "Japanese"),
        "Does anything stand between Paris and French?",
    ),
    Case(
        "indirect object",
        "When Mary and John went to the store, John gave a drink to",
        "Mary",
        ("John",),
        "What keeps the model from saying the name that it has just read?",
    ),
    Case(
        "opposite",
        'The opposite of "small" is "',
        "large",
        ("tiny", "short", "fast", "dark"),
        "Where does the meaning of the word turn round?",
    ),
    Case(
        "failure",
        "The capital of the state containing Dallas is the city of",
        "Dallas",
        ("Austin", "Houston"),
        "What makes the model say the city itself?",
    ),
)
