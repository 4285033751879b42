"""Rebuild the bundled model, its dictionaries and its model card from a seed.

    python -m utils.atlas.train                # everything, under 90 minutes on 2 cores; run again to resume
    python -m utils.atlas.train --miniature    # the same steps on a toy size, in under a minute, into a temporary folder

Stages: tokenizer, language model, activations, transcoders, SAEs, cross-layer transcoder, measurements. Each writes its result
into the work folder and is skipped when that is already there.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from utils import __version__
from utils.atlas.card import measure, write_card
from utils.atlas.clt import CltConfig, label_clt, measure_clt, train_clt
from utils.atlas.corpus import FAMILIES, Sentence, all_sentences, tokenizer_texts
from utils.atlas.dictionaries import Activations, DictionaryConfig, collect, train_all
from utils.atlas.evaluate import accuracy_by_family
from utils.atlas.examples import make_examples
from utils.atlas.interchange import Partners, Step
from utils.atlas.language_model import ModelConfig, Rows, batches, encode_rows, train_model
from utils.atlas.naming import NAMED, names_for
from utils.atlas.saes import SaeConfig, build_saes
from utils.atlas.tokenizer import train_tokenizer
from utils.atlas.world import load_world
from utils.latents.labelling import label_latents

ATLAS = Path(__file__).parent
WORK = Path("out/atlas")
NOTES = ATLAS / "card_notes.md"  # the hand-written part of the model card


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is built."""

    model: ModelConfig = field(default_factory=ModelConfig)
    dictionaries: DictionaryConfig = field(default_factory=DictionaryConfig)
    named: dict[int, dict[str, str]] = field(default_factory=lambda: NAMED)
    sentences_for_dictionaries: int = 48_000
    saes: SaeConfig = field(default_factory=SaeConfig)
    sentences_for_saes: int = 12_000
    clt: CltConfig = field(default_factory=CltConfig)
    sentences_for_clt: int = 12_000
    questions: int = 1000  # asked per family for the model card
    seed: int = 0


FULL = Recipe()
MINIATURE = Recipe(
    model=ModelConfig(
        vocab_size=600,
        n_layers=2,
        d_model=32,
        d_mlp=64,
        steps=30,
        taught_steps=10,
        taught=(Step("state", 0, "subject"), Step("answer", 1, "last"), Step("language", 0, "last")),
        batch_size=32,
        sequence_length=32,
        compile=False,
    ),
    dictionaries=DictionaryConfig(width=64, first=16, active=2, steps=40, sharpen_steps=10, batch_size=256),
    named={0: {"digit": "subject"}},
    sentences_for_dictionaries=400,
    saes=SaeConfig(width=48, active=4, steps=20, batch_size=128),
    sentences_for_saes=200,
    clt=CltConfig(width=40, steps=20, batch_size=128, save_every=8),
    sentences_for_clt=400,
    questions=50,
)


def training_rows(
    sentences: list[Sentence], tokenizer: PreTrainedTokenizerFast, config: ModelConfig
) -> dict[str, Rows]:
    """Token rows of every family, held-out questions left out."""
    return {
        name: encode_rows(
            [s for s in sentences if s.family == name and not s.held_out],
            tokenizer,
            config.sequence_length,
            config.prompt_weight,
        )
        for name in FAMILIES
    }


def claim(work: Path, recipe: Recipe) -> None:
    """Note in the work folder which recipe it belongs to; refuse to mix the stages of two.

    Raises:
        ValueError: the folder holds stages of another recipe.
    """
    work.mkdir(parents=True, exist_ok=True)
    note, wanted = work / "recipe.json", json.dumps(asdict(recipe), indent=1)
    if note.exists() and note.read_text(encoding="utf-8") != wanted:
        raise ValueError(f"{work} holds stages of another recipe: delete the folder or choose another with --work.")
    note.write_text(wanted, encoding="utf-8")


def build_language_model(recipe: Recipe, sentences: list[Sentence], work: Path) -> Path:
    """Train tokenizer and model, or find them in `work`. Returns the folder in Hugging Face form."""
    folder = work / "model"
    if (folder / "config.json").exists():
        return folder
    tokenizer = train_tokenizer(tokenizer_texts(load_world(), sentences), recipe.model.vocab_size)
    rows = training_rows(sentences, tokenizer, recipe.model)
    partners = Partners(sentences, load_world(), tokenizer, recipe.model.sequence_length)
    model = train_model(recipe.model, rows, partners, work / "checkpoint.pt", recipe.seed)
    part = work / "model.part"
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    part.replace(folder)
    return folder


def bridge(folder: Path) -> TransformerBridge:
    """The trained model as a TransformerBridge, in evaluation mode and without gradients."""
    model = TransformerBridge.boot_transformers(str(folder), device="cpu")
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def collect_for_dictionaries(
    model: TransformerBridge, rows: dict[str, Rows], count: int, seed: int
) -> tuple[Rows, Activations, Activations]:
    """`count` sentences to train on with their activations, and activations on a quarter as many to measure on."""
    stream = batches(rows, count, seed + 1, 0)
    training, testing = next(stream), next(stream).tokens[: max(100, count // 4)]
    return training, collect(model, training.tokens), collect(model, testing)


def build_clt(
    model: TransformerBridge,
    transcoders: dict,
    sentences: list[Sentence],
    rows: dict[str, Rows],
    recipe: Recipe,
    folder: Path,
) -> dict:
    """The whole stage: train (or read what is there), put the labels into the folder, and measure on other sentences."""
    stream = batches(rows, recipe.sentences_for_clt, recipe.seed + 3, 0)
    read, others = next(stream), next(stream).tokens[: max(100, recipe.sentences_for_clt // 10)]
    weights = train_clt(collect(model, read.tokens), recipe.clt, folder, recipe.seed)
    testing = collect(model, others)
    seen = {sentence.prompt for sentence in read.sentences}
    labels, steps = label_clt(model, weights, sentences, seen, testing, recipe.model.taught, recipe.seed)
    write_json(folder / "labels.json", labels)
    found = measure_clt(model, weights, transcoders, sentences, testing, others, recipe.questions, recipe.seed)
    return found | {"steps": steps}


def needs(metrics: dict) -> dict[str, float]:
    """What is compared before weights are replaced: shares right, the first of which ought to be high, the other low."""
    state = next((row for row in metrics.get("steps", []) if row["step"] == "state"), None)
    return {
        "held-out two-hop questions": metrics["accuracy"]["two-hop (held out)"],
        "without the state's latent": state["latent"]["zeroed"]["right"] if state else 1.0,
    }


def keep_better(out: Path, metrics: dict) -> None:
    """Refuse to replace a model that is better by more than a hundredth.

    Raises:
        ValueError: says in what it is better.
    """
    path = out / "metrics.json"
    if not path.exists():
        return
    old, new = needs(json.loads(path.read_text(encoding="utf-8"))), needs(metrics)
    (answers, need) = old
    if old[answers] > new[answers] + 0.01 or old[need] < new[need] - 0.01:
        said = "; ".join(f"{name}: {old[name]:.1%} right there, {new[name]:.1%} now" for name in old)
        raise ValueError(f"{out} holds a better model ({said}). Give --force to replace it, or --out another folder.")


def build(recipe: Recipe, work: Path, out: Path, force: bool = False) -> None:
    """Run all stages and put model, dictionaries, labels and model card into `out`.

    Raises:
        ValueError: the work folder belongs to another recipe; or `out` holds a better model, and not `force`.
    """
    started = time.time()
    claim(work, recipe)
    torch.manual_seed(recipe.seed)
    sentences = all_sentences(load_world(), recipe.seed)
    folder = build_language_model(recipe, sentences, work)
    model = bridge(folder)
    answers = accuracy_by_family(model, model.tokenizer, sentences, recipe.questions // 5)
    print("language model:", ", ".join(f"{name} {share:.0%}" for name, share in answers.items()), flush=True)
    rows = training_rows(sentences, model.tokenizer, recipe.model)
    read, training, testing = collect_for_dictionaries(model, rows, recipe.sentences_for_dictionaries, recipe.seed)
    names = names_for(read, model.tokenizer, recipe.named)
    transcoders = train_all(training, names, recipe.dictionaries, work / "transcoders", recipe.seed)
    _, sae_rows = build_saes(model, rows, recipe.sentences_for_saes, recipe.saes, work / "saes", recipe.seed)
    metrics, named = measure(
        model,
        transcoders,
        sentences,
        {s.prompt for s in read.sentences},
        testing,
        recipe.questions,
        recipe.model.taught,
    )
    metrics["saes"] = sae_rows
    metrics["clt"] = build_clt(model, transcoders, sentences, rows, recipe, work / "clt")
    metrics["minutes"] = (time.time() - started) / 60
    metrics["recipe"] = asdict(recipe)
    tokens = [model.tokenizer.decode([token]) for token in testing.tokens.tolist()]
    if not force:
        keep_better(out, metrics)
    install(work, out, label_latents(transcoders, tokens, testing.x, named))
    write_card(out, metrics, NOTES.read_text(encoding="utf-8"))


def install(work: Path, out: Path, labels: dict) -> None:
    """Copy the finished parts to their final place, one complete folder replacing the other."""
    part = out / "weights.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(work / "model", part / "model")
    shutil.copytree(work / "transcoders", part / "transcoders")
    shutil.copytree(work / "saes", part / "saes")
    shutil.copytree(work / "clt", part / "clt")
    write_json(part / "labels.json", labels)
    make_examples(part)
    shutil.rmtree(out / "weights", ignore_errors=True)
    part.replace(out / "weights")


def write_json(path: Path, content: dict) -> None:
    """As a text that a person can read, and git compare."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def fresh_folder(name: str) -> Path:
    """A new temporary folder, for what is not to stay."""
    folder = Path(tempfile.mkdtemp(prefix=f"atlas-{name}-"))
    print(f"{name}: {folder}")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m utils.atlas.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--work", type=Path, help=f"checkpoints and finished stages (default: {WORK})")
    parser.add_argument("--out", type=Path, help="where weights/ and MODEL_CARD.md are put (default: utils/atlas)")
    parser.add_argument("--force", action="store_true", help="replace a model in --out even if it is better")
    parser.add_argument(
        "--miniature", action="store_true", help="a toy size that shows that every stage runs, in temporary folders"
    )
    arguments = parser.parse_args()
    work, out = arguments.work, arguments.out
    if arguments.miniature:
        work, out = work or fresh_folder("work"), out or fresh_folder("out")
    try:
        build(MINIATURE if arguments.miniature else FULL, work or WORK, out or ATLAS, arguments.force)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
