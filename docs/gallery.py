"""Ten traced prompts of the bundled model, each with its page and with what was tested about it.

`python -m solutions.trace PROMPT --ablate` makes a page and removes each of its boxes in the real model. A trace that is there is kept:
delete docs/gallery and docs/extra to make all of them anew.
"""

import json
from pathlib import Path

from tqdm import tqdm

from solutions.case_studies.cases import Case
from solutions.trace.__main__ import run
from solutions.trace.arguments import parse_arguments
from utils.notebooks.pictures import TWO_FRAMES, chromium

SIZE = {"width": 1200, "height": 720}
CASES = (
    Case(
        "two-hops",
        "The capital of the state containing Dallas is",
        "Austin",
        ("Raleigh", "Boise", "Salem", "Juneau", "Augusta"),
        "Does the model think of Texas on its way from Dallas to Austin?",
    ),
    Case(
        "two-hops-turned",
        "Oakland is in the state whose capital is",
        "Sacramento",
        ("Austin", "Boise", "Salem", "Juneau", "Augusta"),
        "Here the city comes first. Is the way the same?",
    ),
    Case(
        "language",
        "The language of the country containing Lyon is",
        "French",
        ("Japanese", "Portuguese"),
        "The same two steps with a country. Does the relation decide what is read off it?",
    ),
    Case(
        "one-hop",
        "The capital of Japan is",
        "Tokyo",
        ("Paris", "Brasilia"),
        "One step only: what is left to do when the country is named?",
    ),
    Case(
        "opposite",
        "The opposite of small is",
        "large",
        ("cold", "slow", "low", "young"),
        "Where is the meaning turned round?",
    ),
    Case(
        "opposite-french",
        "Le contraire de petit est",
        "grand",
        ("froid", "lent", "bas", "jeune"),
        "Do French and English share a latent for the meaning?",
    ),
    Case(
        "opposite-abroad",
        "The opposite of small in French is",
        "grand",
        ("large", "grande"),
        "What chooses the language of the answer?",
    ),
    Case(
        "translation",
        "The word for small in Spanish is",
        "pequeño",
        ("small", "petit"),
        "The meaning stays and the language changes.",
    ),
    Case(
        "indirect-object",
        "When Mary and John went to the store, John gave a drink to",
        "Mary",
        ("John",),
        "Much of this is attention, which the graph holds fixed. How much is left for latents?",
    ),
    Case(
        "induction",
        "Anna, Tom, Emma, David, Anna, Tom,",
        "Emma",
        ("Anna", "Tom", "David"),
        "A list that starts again: attention copies the next name. What do the MLPs add?",
    ),
)


def write_gallery(docs: Path) -> None:
    """Trace what is missing, and write the gallery's pages: one for all, and one for each prompt."""
    folder = docs / "gallery"
    folder.mkdir(exist_ok=True)
    places = {case: docs / "extra" / "traces" / case.name for case in CASES}
    for case, place in tqdm(places.items(), desc="gallery", disable=None):
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            others = ["--contrast", *case.others]
            run(parse_arguments([case.prompt, "--target", case.answer, *others, "--out", str(place), "--ablate"]))
    missing = {case: place for case, place in places.items() if not (folder / f"{case.name}.png").exists()}
    if missing:
        with chromium() as browser:
            for case, place in missing.items():
                page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
                page.goto((place / "index.html").as_uri())
                page.evaluate(TWO_FRAMES)
                page.screenshot(path=folder / f"{case.name}.png")
                page.close()
    for case, place in places.items():
        graph = json.loads((place / "graph.json").read_text(encoding="utf-8"))
        (folder / f"{case.name}.md").write_text(case_page(case, graph), encoding="utf-8")
    (folder / "index.md").write_text(index_page(), encoding="utf-8")


def index_page() -> str:
    """All prompts, each with its picture."""
    lines = [
        "# Gallery: ten traced prompts",
        "",
        "Each prompt was traced in `atlas`, the course's own model. Then each box of the graph was removed in the real model, with "
        "nothing held fixed, and as many other latents that write as much were removed for comparison. Click a picture for the live graph "
        "and for what the tests say.",
        "",
    ]
    for case in CASES:
        lines += [f"## [{case.prompt} … **{case.answer}**]({case.name}.md)", "", case.question, ""]
        lines += [f"[![The graph of this prompt]({case.name}.png)]({case.name}.md)", ""]
    names = [f"{case.name}" for case in CASES]
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *names, "```", ""])


def case_page(case: Case, graph: dict) -> str:
    """A prompt's live page, and a table of what its boxes are needed for."""
    tested, scores = graph["metadata"]["ablations"], graph["metadata"]["scores"]
    live = f"../traces/{case.name}/index.html"
    lines = [f"# {case.prompt} … {case.answer}", "", case.question, "", *frame(case, live), "## What was tested", ""]
    lines += [
        f"The lead of *{case.answer}* is **{tested['baseline']:.2f}**: its logit less the mean logit of {', '.join(case.others)}.",
        "",
    ]
    rows = [
        f"| {plain(name)} | {box['removed']:.2f} | {box['control']:.2f} | {(box['control'] - box['removed']) / tested['baseline']:+.0%} |"
        for name, box in zip(names_of_boxes(graph), tested["boxes"], strict=True)
    ]
    if rows:
        lines += [
            "The table says what the lead is when a box of the page is removed in the real model, and what it is when other latents "
            f"that write as much are removed instead (the mean of {tested['draws']} draws). A box that costs no more than its control "
            "is no step towards the answer.",
            "",
            "| box | lead without it | lead without others | costs more than its control by (of the lead) |",
            "|---|---|---|---|",
            *rows,
        ]
    else:
        lines.append(
            "The page opens without a box of latents, so that there was nothing to remove: the paths go past the MLPs."
        )
    others = " ".join(case.others)
    lines += [
        "",
        f"Of the graph's input {scores_in_words(scores)}. The graph does not explain why a head attends where it does.",
        "",
    ]
    command = f'python -m solutions.trace "{case.prompt}" --target {case.answer} --contrast {others} --ablate'
    return "\n".join([*lines, "The same on your machine:", "", "```bash", command, "```", ""])


def frame(case: Case, live: str) -> list[str]:
    """The live page in a frame, and a link for narrow screens."""
    return [
        "```{raw} html",
        f'<p><a href="{live}">Open the graph on a page of its own</a></p>',
        f'<iframe class="trace" src="{live}" title="The graph of this prompt" loading="lazy"></iframe>',
        "```",
        "",
    ]


def scores_in_words(scores: dict) -> str:
    """The replacement score as a sentence's end."""
    share = scores["replacement"]
    return f"{share:.0%} of the influence comes from tokens and not from errors (replacement score, before pruning)"


def names_of_boxes(graph: dict) -> list[str]:
    """The names of the tested boxes: their own where they have one, else that of their one node."""
    named = {frozenset(members): name for name, *members in graph["qParams"]["supernodes"]}
    single = {node["node_id"]: node["clerp"] or node["node_id"] for node in graph["nodes"]}
    boxes = [box["nodes"] for box in graph["metadata"]["ablations"]["boxes"]]
    return [named.get(frozenset(nodes)) or single[nodes[0]] for nodes in boxes]


def plain(text: str) -> str:
    """Text that is no markup in a Markdown table."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>|$#" else sign for sign in text)
