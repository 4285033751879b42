"""Make the files that say what latents fire on, for the bundled model or a folder like it.

    python -m utils.atlas.examples                # utils/atlas/weights: a few minutes on two cores
    python -m utils.atlas.examples --folder DIR   # another folder with model/, transcoders/ and perhaps clt/

Run it whenever weights, tokenizer or corpus have changed. `utils.atlas.train` does so itself.
"""

import argparse
import hashlib
import random
from functools import cache
from pathlib import Path

from utils import __version__
from utils.atlas.corpus import all_sentences
from utils.atlas.world import load_world
from utils.latents.firings import record_firings
from utils.latents.shipped import examples_file, weights_key, write_examples
from utils.models import load, load_clt, registry

SENTENCES_PER_FAMILY = 3000  # a few about each city; the whole corpus says the same, more slowly


@cache
def corpus_sentences() -> list[str]:
    """Sentences of every family that the bundled model was trained on, at most so many of each, in a fixed order."""
    families: dict[str, list[str]] = {}
    for sentence in all_sentences(load_world(), drawn=SENTENCES_PER_FAMILY):
        if not sentence.held_out:
            families.setdefault(sentence.family, []).append(sentence.text)
    rng = random.Random(0)
    chosen = [text for group in families.values() for text in rng.sample(group, min(len(group), SENTENCES_PER_FAMILY))]
    # rows of a batch are about as long as each other; the longest first, so that memory freed by one batch fits the next
    return sorted(dict.fromkeys(chosen), key=len, reverse=True)


def corpus_key() -> str:
    """A hash that changes when these sentences do."""
    return hashlib.sha256("\n".join(corpus_sentences()).encode()).hexdigest()[:16]


def make_examples(folder: Path) -> list[Path]:
    """Read the corpus with a folder's model and write what the latents of its dictionaries fire on, with progress bars.

    Returns:
        The files: one for the transcoders, and one for the cross-layer transcoder if there is one.

    Raises:
        ValueError, OSError: the folder has no model that can be read, or cannot be written.
    """
    model, transcoders = load(folder)
    dictionaries = {"transcoders": transcoders}
    if (folder / "clt").is_dir():
        dictionaries["clt"] = load_clt(folder).transcoders()
    paths = []
    for kind, layers in dictionaries.items():
        paths.append(examples_file(folder, kind))
        firings = record_firings(model, layers, corpus_sentences())
        write_examples(paths[-1], firings, weights_key(folder, kind), corpus_key())
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m utils.atlas.examples", description=__doc__.split("\n\n")[0])
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--folder", type=Path, default=registry.ATLAS_FOLDER, metavar="DIR", help="default: the bundled model"
    )
    try:
        for path in make_examples(parser.parse_args().folder):
            print(f"Wrote {path} ({path.stat().st_size / 1e6:.2f} MB).")
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
