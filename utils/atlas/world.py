"""The closed world that `atlas` knows: hand-written facts about places, words and names.

The facts live in `facts/*.json`, one place or concept a line. Everything the model is asked can be checked
against them, and what is held out of training is decided here, once, from a seed.
"""

import json
import math
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FACTS = Path(__file__).parent / "facts"
STATE_RELATIONS = ("capital", "abbreviation", "nickname", "region", "time zone", "flower")
COUNTRY_RELATIONS = ("capital", "language", "currency", "continent", "domain", "people")
LANGUAGES = ("en", "fr", "es")
HELD_OUT_SHARE = 0.2
HELD_OUT_SEED = 1
INTERCHANGE_SEED = 16  # chosen so that Dallas, Oakland and Lyon, of which the pages speak, are held out


@dataclass(frozen=True)
class Place:
    """A US state or a country: its name, what is true of it, and cities in it (the capital is not among them)."""

    name: str
    kind: str  # "state" or "country"
    relations: dict[str, str]
    cities: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((self.kind, self.name))


@dataclass(frozen=True)
class Opposite:
    """A pair of opposite words in three languages; `words["fr"]` is aligned with `words["en"]`."""

    words: dict[str, tuple[str, str]]

    @property
    def name(self) -> str:
        return "/".join(self.words["en"])

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class World:
    """All facts, the two sets of questions that training never sees, and what is held out of interchange training only."""

    places: tuple[Place, ...]
    opposites: tuple[Opposite, ...]
    people: tuple[str, ...]
    venues: tuple[str, ...]
    things: tuple[str, ...]
    held_out_two_hop: frozenset[tuple[str, str]]  # (city, relation)
    held_out_opposites: frozenset[tuple[str, str, int]]  # (concept, language, index of the word asked about)
    held_out_cities: frozenset[str]  # of interchange training, see `in_interchange_training`
    held_out_words: frozenset[tuple[str, str]]  # (concept, language of the answer), likewise


def _read(name: str):
    return json.loads((FACTS / name).read_text(encoding="utf-8"))


def _places(name: str, kind: str, relations: tuple[str, ...]) -> list[Place]:
    return [Place(row["name"], kind, {r: row[r] for r in relations}, tuple(row["cities"])) for row in _read(name)]


def _held_out_opposites(opposites: list[Opposite], rng: random.Random) -> set[tuple[str, str, int]]:
    """A fifth of all triples, never both directions of one concept in one language."""
    pairs = [(o.name, language) for o in opposites for language in LANGUAGES]
    rng.shuffle(pairs)
    wanted = round(HELD_OUT_SHARE * 2 * len(pairs))
    return {(name, language, rng.randrange(2)) for name, language in pairs[:wanted]}


def _held_out_cities(places: list[Place], rng: random.Random) -> set[str]:
    """A fifth of every place's cities, rounded up."""
    return {city for p in places for city in rng.sample(p.cities, math.ceil(HELD_OUT_SHARE * len(p.cities)))}


@cache
def load_world() -> World:
    """Read the facts and draw what is held out. The draw depends on the facts and the two seeds only."""
    places = _places("states.json", "state", STATE_RELATIONS) + _places("countries.json", "country", COUNTRY_RELATIONS)
    opposites = [Opposite({k: tuple(v) for k, v in row.items()}) for row in _read("opposites.json")]
    names = _read("names.json")
    rng, of_interchange = random.Random(HELD_OUT_SEED), random.Random(INTERCHANGE_SEED)
    words = [(o.name, language) for o in opposites for language in LANGUAGES]
    pairs = [(city, relation) for place in places for city in place.cities for relation in place.relations]
    return World(
        places=tuple(places),
        opposites=tuple(opposites),
        people=tuple(names["people"]),
        venues=tuple(names["places"]),
        things=tuple(names["things"]),
        held_out_two_hop=frozenset(rng.sample(pairs, round(HELD_OUT_SHARE * len(pairs)))),
        held_out_opposites=frozenset(_held_out_opposites(opposites, rng)),
        held_out_cities=frozenset(_held_out_cities(places, of_interchange)),
        held_out_words=frozenset(of_interchange.sample(words, round(HELD_OUT_SHARE * len(words)))),
    )


def in_interchange_training(city: str) -> bool:
    """Whether interchange training (`utils.atlas.interchange`) put facts of this city into other questions, or others' into its.

    The language model learnt ordinary sentences about every city. A swap of two cities for which this is False is nothing
    that a loss ever asked for.

    This holds for weights that the recipe in this folder has made. `MODEL_CARD.md` says by which recipe the bundled weights were
    made; in the one before, all cities took part.

    Raises:
        ValueError: the world has no such city.
    """
    world = load_world()
    if not any(city in place.cities for place in world.places):
        raise ValueError(f"{city!r} is not a city of this world: see utils/atlas/facts/.")
    return city not in world.held_out_cities
