"""The chapters on other models than the bundled one: the answer notebooks of tiny random models, in layouts that others publish.

The tokenizer is the bundled model's, so that the pages' words are tokens as in a real model.
"""

import shutil
from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.course.test_public_files import (
    LAYERS,
    clt_of,
    save_gemma_scope_2,
    save_gemma_scope_2_clt,
    save_relu_set,
    weights_of,
)
from utils import ROOT
from utils.dashboard import slugify
from utils.models.registry import ATLAS_FOLDER
from utils.notebooks.errors import CourseError
from utils.notebooks.other_model import execute_on, takes_models
from utils.notebooks.page import read_pages

PAGES = {page.number: page for page in read_pages(ROOT)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A folder of Qwen3's form with circuit-tracer's transcoders (ReLU, no skip), and one of Gemma 3's with GemmaScope 2's and a CLT."""
    found = {name: tmp_path_factory.mktemp("models") / name for name in ("qwen3", "gemma3")}
    vocabulary, length = 3000, 64
    for name, folder in found.items():
        (folder / "model").mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
            patch.setattr(tiny, "N_CTX", length)
            torch.manual_seed(0)
            tiny.make_hf_model(name, LAYERS, vocabulary).save_pretrained(folder / "model")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(ATLAS_FOLDER / "model" / file, folder / "model" / file)
        save = save_relu_set if name == "qwen3" else save_gemma_scope_2
        for layer in range(LAYERS):
            save(folder / "transcoders", layer, weights_of(layer))
    save_gemma_scope_2_clt(found["gemma3"] / "clt", clt_of(LAYERS, tiny.D_MODEL))
    return found


@pytest.mark.parametrize(("chapter", "form"), [(2, "qwen3"), (3, "qwen3"), (4, "gemma3"), (5, "gemma3"), (5, "qwen3")])
def test_an_answer_notebook_runs_on_another_model(folders, tmp_path, chapter, form):
    """Every cell runs, and every check says that the answer is right. What a training keeps is below `out`, by the model's name."""
    kept = ROOT / "out" / "chapter5" / slugify(str(folders[form].resolve()))
    try:
        path = execute_on(PAGES[chapter], str(folders[form]), tmp_path)
        assert chapter != 5 or (kept / "activations" / "state.json").exists()
    finally:
        shutil.rmtree(kept, ignore_errors=True)
    text = path.read_text(encoding="utf-8")
    assert str(folders[form]) in text and 'MODEL = \\"atlas\\"' not in text


def test_chapters_say_which_models_they_take():
    """`MODEL` stands on the pages that say so in the table for researchers; the others are refused with a sentence."""
    assert {number for number, page in PAGES.items() if takes_models(page)} == {1, 2, 3, 4, 5}
    with pytest.raises(CourseError, match="chapter6_real_models.md:1: no line `MODEL = "):
        execute_on(PAGES[6], "atlas", Path("nowhere"))
