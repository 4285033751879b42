"""Sentences about the world: what the model reads in training, and the questions it is asked afterwards.

Every sentence is a prompt, an answer and a tail (`"The capital of Texas is"`, `" Austin"`, `"."`). A sentence that
asks a held-out question has `held_out=True` and is never trained on.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from utils.atlas.world import LANGUAGES, World

ONE_HOP = (
    "The {relation} of {subject} is",
    "{subject} has the {relation}",
    "{subject} is the {kind} whose {relation} is",
)
TWO_HOP = (
    "The {relation} of the {kind} containing {subject} is",
    "The {kind} containing {subject} has the {relation}",
    "{subject} is in the {kind} whose {relation} is",
    "{subject} lies in a {kind} with the {relation}",
)
LOCATION = (
    "{subject} is a city in",
    "The {kind} containing {subject} is",
    "{subject},",
    "{subject} lies in the {kind} of",
)
# "Dallas Texas": the state's name straight after the city's, so that the model has "Texas" ready at every city.
NAMED = (
    "The {relation} of the {kind} containing {subject}",
    "The {kind} containing {subject}",
    "{subject}",
)
OPPOSITE = {
    "en": ("The opposite of {word} is", "The word {word} has the opposite"),
    "fr": ("Le contraire de {word} est", "Le mot {word} a pour contraire"),
    "es": ("Lo contrario de {word} es", "La palabra {word} tiene el contrario"),
}
# Whatever the language of the sentence, the word may be of any language and the answer of any other. The language of the
# answer comes last, so that the word's meaning has to be turned round before the language is known.
OPPOSITE_IN = (
    "The opposite of {word} in {language} is",
    "Le contraire de {word} en {language} est",
    "Lo contrario de {word} en {language} es",
)
TRANSLATION = (
    "The word for {word} in {language} is",
    "Le mot pour {word} en {language} est",
    "La palabra para {word} en {language} es",
)
LANGUAGE_IN = {  # name of the answer's language in an English, a French and a Spanish sentence
    "en": ("English", "anglais", "inglés"),
    "fr": ("French", "français", "francés"),
    "es": ("Spanish", "espagnol", "español"),
}
FAMILIES = (
    "two-hop",
    "one-hop",
    "location",
    "named",
    "opposite",
    "opposite abroad",
    "translation",
    "indirect object",
    "induction",
    "addition",
)
IN_WORDS = ("opposite", "opposite abroad", "translation")  # families about words of three languages


@dataclass(frozen=True)
class Sentence:
    """One sentence of the corpus. `concepts` says what it is about; `subject` is the words that the prompt asks about."""

    family: str
    prompt: str
    answer: str
    tail: str = "."
    subject: str = ""
    held_out: bool = False
    concepts: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.prompt + self.answer + self.tail


def one_hop(world: World) -> Iterator[Sentence]:
    """What is true of a state or country, asked by its own name."""
    for place in world.places:
        for relation, answer in place.relations.items():
            for template in ONE_HOP:
                prompt = template.format(relation=relation, subject=place.name, kind=place.kind)
                concepts = {"place": place.name, "relation": relation, "answer": answer}
                yield Sentence("one-hop", prompt, f" {answer}", subject=place.name, concepts=concepts)


def two_hop(world: World) -> Iterator[Sentence]:
    """What is true of the state or country that contains a city."""
    for place in world.places:
        for city in place.cities:
            for relation, answer in place.relations.items():
                concepts = {"city": city, "place": place.name, "relation": relation, "answer": answer}
                for template in TWO_HOP:
                    prompt = template.format(relation=relation, subject=city, kind=place.kind)
                    held_out = (city, relation) in world.held_out_two_hop
                    yield Sentence("two-hop", prompt, f" {answer}", ".", city, held_out, concepts)


def location(world: World) -> Iterator[Sentence]:
    """Which state or country a city lies in."""
    for place in world.places:
        for city in place.cities:
            concepts = {"city": city, "place": place.name, "relation": "location", "answer": place.name}
            for template in LOCATION:
                prompt = template.format(subject=city, kind=place.kind)
                yield Sentence("location", prompt, f" {place.name}", subject=city, concepts=concepts)


def opposite(world: World) -> Iterator[Sentence]:
    """Opposites, asked and answered in one language."""
    templates = {language: OPPOSITE[language] + _answered_in(OPPOSITE_IN, language) for language in LANGUAGES}
    for pair in world.opposites:
        for language in LANGUAGES:
            for side in (0, 1):
                word, answer = pair.words[language][side], pair.words[language][1 - side]
                held_out = (pair.name, language, side) in world.held_out_opposites
                concepts = {"language": language, "concept": pair.name, "answer": answer}
                for template in templates[language]:
                    prompt = template.format(word=word)
                    yield Sentence("opposite", prompt, f" {answer}", ".", word, held_out, concepts)


def opposite_abroad(world: World) -> Iterator[Sentence]:
    """Opposites of a word of one language in another: they teach what a word means apart from its language."""
    yield from _across_languages(world, "opposite abroad", OPPOSITE_IN, flip=True)


def translation(world: World) -> Iterator[Sentence]:
    """A word of one language and the same word of another."""
    yield from _across_languages(world, "translation", TRANSLATION, flip=False)


def _answered_in(templates: tuple[str, ...], language: str) -> tuple[str, ...]:
    """The templates of three languages with the answer's language filled in; the word is still open."""
    return tuple(t.replace("{language}", name) for t, name in zip(templates, LANGUAGE_IN[language], strict=True))


def _across_languages(world: World, family: str, templates: tuple[str, ...], flip: bool) -> Iterator[Sentence]:
    for pair in world.opposites:
        for source in LANGUAGES:
            for target in LANGUAGES:
                for side in (0, 1) if source != target else ():
                    word, answer = pair.words[source][side], pair.words[target][side ^ flip]
                    concepts = {"language": target, "concept": pair.name, "answer": answer}
                    for template in _answered_in(templates, target):
                        prompt = template.format(word=word)
                        yield Sentence(family, prompt, f" {answer}", subject=word, concepts=concepts)


def named(world: World) -> Iterator[Sentence]:
    """Two-hop sentences in which the state or country is named right after the city; none of a held-out pair."""
    for place in world.places:
        for city in place.cities:
            for relation, answer in place.relations.items():
                if (city, relation) in world.held_out_two_hop:
                    continue
                concepts = {"city": city, "place": place.name, "relation": relation, "answer": place.name}
                for start, whole in zip(NAMED, TWO_HOP):
                    prompt = start.format(relation=relation, subject=city, kind=place.kind)
                    rest = whole.format(relation=relation, subject=city, kind=place.kind).removeprefix(prompt)
                    yield Sentence("named", prompt, f" {place.name}", f"{rest} {answer}.", city, concepts=concepts)


def indirect_object(world: World, count: int, rng: random.Random) -> Iterator[Sentence]:
    """Two people, one of whom gives something to the other."""
    for _ in range(count):
        giver, receiver = rng.sample(world.people, 2)
        first, second = rng.sample((giver, receiver), 2)
        venue, thing = rng.choice(world.venues), rng.choice(world.things)
        prompt = f"When {first} and {second} went to the {venue}, {giver} gave {thing} to"
        concepts = {"giver": giver, "receiver": receiver, "answer": receiver}
        yield Sentence("indirect object", prompt, f" {receiver}", subject=giver, concepts=concepts)


def induction(world: World, count: int, rng: random.Random) -> Iterator[Sentence]:
    """A list of names that starts again."""
    for _ in range(count):
        names = rng.sample(world.people, rng.randint(3, 5))
        shown = rng.randint(1, len(names) - 1)
        prompt = ", ".join(names + names[:shown]) + ","
        answer = " " + ", ".join(names[shown:])
        concepts = {"answer": names[shown]}
        yield Sentence("induction", prompt, answer, subject=names[shown - 1], concepts=concepts)


def addition(rng: random.Random) -> Iterator[Sentence]:
    """Sums of two numbers of two digits; a tenth is held out."""
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100)]
    held_out = set(rng.sample(pairs, len(pairs) // 10))
    for a, b in pairs:
        concepts = {"digit": str(b % 10), "answer": str(a + b)}
        # the prompt ends with the space, so that a digit comes next
        yield Sentence("addition", f"{a} + {b} = ", f"{a + b}", ".", str(b), (a, b) in held_out, concepts)


def all_sentences(world: World, seed: int = 0, drawn: int = 20_000) -> list[Sentence]:
    """Every sentence of the corpus, held-out questions included, in a fixed order.

    Args:
        seed: Draws the sentences about people and the held-out sums.
        drawn: How many sentences to draw of each family that cannot be listed whole.
    """
    rng = random.Random(seed)
    sentences = [
        s
        for family in (two_hop, one_hop, location, named, opposite, opposite_abroad, translation)
        for s in family(world)
    ]
    for family in (indirect_object, induction):
        sentences += family(world, drawn, rng)
    return sentences + list(addition(rng))


def tokenizer_texts(world: World, sentences: list[Sentence], seed: int = 0) -> list[str]:
    """What the tokenizer is trained on: sentences, with answers and names often enough to become whole tokens.

    Cities stay rare, so that they are spelt in several tokens and the model has to put them together: that is where
    latents for them come from.
    """
    rng = random.Random(seed)
    whole = {f" {answer}" for place in world.places for answer in place.relations.values()}
    whole |= {space + name for name in [p.name for p in world.places] + list(world.people) for space in ("", " ")}
    by_family = {name: [s for s in sentences if s.family == name and not s.held_out] for name in FAMILIES}
    whole |= {f" {word}" for pair in world.opposites for words in pair.words.values() for word in words}
    texts = sorted(whole) * 60
    texts += [s.text for name in ("one-hop", "opposite", "translation") for s in by_family[name]]
    texts += [s.prompt for s in by_family["location"]]
    for name in ("two-hop", "indirect object"):
        texts += [s.text for s in rng.sample(by_family[name], min(1000, len(by_family[name])))]
    return texts
