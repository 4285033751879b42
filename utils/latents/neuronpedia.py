"""What Neuronpedia says of a hub model's latents: names that people or models gave them, and texts on which they fire.

Nothing is fetched unless it is asked for. What was fetched is kept in the user's cache, one file a latent.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils import cache_folder
from utils.latents.firings import Pair
from utils.models import ModelSpec

SITE = "https://www.neuronpedia.org"
SECONDS = 15  # for one answer
THREADS = 4
N_EXAMPLES = 20
NAME = "Neuronpedia"


def is_on_neuronpedia(spec: ModelSpec) -> bool:
    """Whether that site shows the model's latents."""
    return spec.source_set is not None


def add_from_neuronpedia(found: dict[Pair, dict[str, Any]], spec: ModelSpec) -> None:
    """Add what the site says about latents: a `label`, tokens raised and lowered, texts with activations.

    A latent that the site does not know stays as it is. Where the site cannot be reached, latents' `source` says so, and what is in
    the cache is still used.
    """
    problem = ""
    with ThreadPoolExecutor(THREADS) as pool:
        answers = pool.map(lambda pair: _look_up(spec, pair), found)
        for pair, answer in tqdm(
            zip(list(found), answers), total=len(found), desc="Neuronpedia", leave=False, delay=0.5, disable=None
        ):
            if isinstance(answer, str):
                problem = answer
                found[pair]["source"] = answer
            elif answer:
                found[pair] |= describe(answer)
    if problem:
        tqdm.write(problem, file=sys.stderr)


def describe(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of the site in Anthropic's form (see `utils.latents.files`)."""
    examples = []
    for row in _list(answer.get("activations"))[:N_EXAMPLES]:
        tokens, values = _list(row.get("tokens")), _list(row.get("values"))
        if tokens and len(tokens) == len(values) and all(isinstance(token, str) for token in tokens):
            example = {"tokens": tokens, "tokens_acts_list": [float(value) for value in values]}
            if isinstance(row.get("maxValueTokenIndex"), int):
                example["train_token_ind"] = row["maxValueTokenIndex"]
            examples.append(example)
    found: dict[str, Any] = {"source": f"From {NAME}; fetched once, and kept on this machine."}
    if examples:
        found["examples_quantiles"] = [{"quantile_name": "Top activations", "examples": examples}]
    if isinstance(answer.get("maxActApprox"), int | float):
        found["act_max"] = float(answer["maxActApprox"])
    share = answer.get("frac_nonzero")
    if isinstance(share, int | float) and 0 <= share <= 1:
        found["activation_frequency"] = float(share)
    if label := _label(answer):
        found["label"] = label
    return found


def _label(answer: dict[str, Any]) -> str:
    texts = [row.get("description") for row in _list(answer.get("explanations")) if isinstance(row, dict)]
    return next((" ".join(text.split()) for text in texts if isinstance(text, str) and text.strip()), "")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _look_up(spec: ModelSpec, pair: Pair) -> dict[str, Any] | str | None:
    """The site's answer about one latent, from the cache or the site; a sentence if it cannot be had, None if there is none."""
    path = _cache_file(spec, pair)
    if (known := _read(path)) is not None:
        return known or None
    layer, latent = pair
    address = f"{SITE}/api/feature/{spec.name}/{layer}-{spec.source_set}/{latent}"
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as reply:
            answer = json.load(reply)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            return f"{NAME} does not answer just now (HTTP {error.code}): ask again in some minutes."
        answer = {}
    except (OSError, ValueError) as error:
        return f"{NAME} cannot be reached ({type(error).__name__}): check the network, or leave out --examples neuronpedia."
    if not isinstance(answer, dict):
        return f"{NAME} gave an answer that is not understood."
    _keep(path, answer)
    return answer or None


def _cache_file(spec: ModelSpec, pair: Pair) -> Path:
    return cache_folder() / "neuronpedia" / spec.name / f"{pair[0]}-{spec.source_set}" / f"{pair[1]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        return answer if isinstance(answer, dict) else None
    except (OSError, ValueError):
        return None


def _keep(path: Path, answer: dict[str, Any]) -> None:
    """Write one answer; a whole file or none. A cache that cannot be written is no reason to fail."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(answer), encoding="utf-8")
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
