"""The site's own code, the version, and what the README promises. `.ci/run` builds the whole site."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from solutions.trace.__main__ import main
from utils import ROOT, __version__
from utils.notebooks.address import point_links, repository
from utils.notebooks.outputs import difference
from utils.notebooks.page import read_pages

COMMANDS = (
    "solutions.trace",
    "solutions.case_studies",
    "solutions.attention_study",
    "solutions.benchmark",
    "utils.dashboard",
    "utils.notebooks",
    "utils.grading",
    "utils.cohort",
    "utils.atlas.train",
    "utils.atlas.examples",
)


@pytest.fixture
def docs(monkeypatch):
    """The folder of the site's code, where its modules can be imported."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return ROOT / "docs"


# ---------------------------------------------------------------- versions and files about the course


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_its_version(command):
    done = subprocess.run([sys.executable, "-m", command, "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[-1]) == (0, __version__), done.stderr


def test_the_version_stands_in_one_place():
    """The changelog begins with it; no other file repeats it."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (.+)$", changelog, re.MULTILINE)[1] == __version__
    for section in re.split(r"^## .+$", changelog, flags=re.MULTILINE)[1:]:
        assert re.findall(r"^### (.+)$", section, re.MULTILINE) == ["Students' notebooks", "Code"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert "version" not in citation and citation["repository-code"] == repository(ROOT)


def test_the_readme_shows_what_its_first_command_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (prompt,) = set(re.findall(r'requirements\.txt -c constraints\.txt && python -m solutions\.trace "(.+)"', readme))
    assert main([prompt]) == 0
    (shown,) = re.findall(r"```text\n(.+?)```", readme, re.DOTALL)
    assert not difference(shown, capsys.readouterr().out)


def test_links_to_the_site_follow_the_address():
    here = "[site](https://a.github.io/b/) [gallery](https://a.github.io/b/gallery/) [tool](https://a.github.io/tool/x)"
    there = here.replace("a.github.io/b/", "new.github.io/home/")
    assert point_links(here, "https://github.com/New/home") == there


# ---------------------------------------------------------------- the site's pages


def test_links_lead_to_the_site_or_to_the_repository(docs):
    import pages

    text = "[`card`](../utils/atlas/MODEL_CARD.md#size) [code](../utils/models) [same](authors.md) `[x](y.md)` [net](https://a.b)"
    moved = pages.relinked(text, ROOT, "instructions/teachers.md", "pages/teachers", pages.places_of(ROOT, []))
    address = repository(ROOT)
    assert moved == (
        f"[`card`](model_card.md#size) [code]({address}/tree/main/utils/models) [same](authors.md) `[x](y.md)` [net](https://a.b)"
    )


def test_the_map_names_every_exercise(docs):
    import pages

    chapters = read_pages(ROOT)
    page = pages.map_page(chapters)
    for chapter in chapters:
        assert f"| {chapter.number} | [{chapter.title}](../chapters/{chapter.path.stem}.ipynb) |" in page
        assert all(f"| `{name}` |" in page for name in chapter.points)


def test_the_manual_has_subcommands(docs):
    import pages

    assert pages.subcommands(ROOT, "utils.cohort")[:2] == ["release", "grade"]
    assert pages.subcommands(ROOT, "utils.notebooks") == []
    assert "--no-solutions" in pages.help_of(ROOT, "utils.cohort", "release")


def test_docstrings_become_rst(docs):
    from docstrings import as_rst

    lines = ["A `[n, m]` tensor; *args, a | b, like_this, last_.", "", "    file     what"]
    as_rst(None, "module", "", None, None, lines)
    assert lines == [r"A ``[n, m]`` tensor; \*args, a \| b, like_this, last\_.", "", "::", "", "    file     what"]


def test_formulas_need_no_script(docs):
    from docutils import nodes

    pytest.importorskip("latex2mathml")
    import mathml

    class Writer:
        body: list[str] = []

    with pytest.raises(nodes.SkipNode):
        mathml.inline(Writer, nodes.math("", r"\frac{a_m}{2}"))
    assert Writer.body[0].startswith("<math") and "<mfrac>" in Writer.body[0]


def test_the_gallery_says_what_was_tested(docs):
    import gallery

    case = gallery.CASES[0]
    graph = {
        "nodes": [{"node_id": "3_82_9", "clerp": "Texas"}, {"node_id": "1_1_10", "clerp": "a|b"}],
        "qParams": {"supernodes": [["the state", "3_82_9"]]},
        "metadata": {
            "scores": {"replacement": 0.93},
            "ablations": {
                "target": "Austin",
                "baseline": 10.9,
                "draws": 5,
                "boxes": [
                    {"nodes": ["3_82_9"], "removed": -0.2, "control": 4.6},
                    {"nodes": ["1_1_10"], "removed": 10.7, "control": 8.1},
                ],
            },
        },
    }
    page = gallery.case_page(case, graph)
    assert "| the state | -0.20 | 4.60 | +44% |" in page and r"| a\|b | 10.70 | 8.10 | -24% |" in page
    graph["metadata"]["ablations"]["boxes"] = []
    page = gallery.case_page(case, graph)
    assert "nothing to remove" in page and "| box |" not in page
    assert len({case.name for case in gallery.CASES}) == len(gallery.CASES) == 10


def test_every_page_has_its_place_on_the_site(docs):
    import pages

    chapters = read_pages(ROOT)
    places = pages.places_of(ROOT, chapters)
    assert all(Path(ROOT / source).is_file() for source in places)
    assert {f"instructions/{path.name}" for path in (ROOT / "instructions").glob("*.md")} <= set(places)
    assert all(places[f"instructions/{chapter.path.name}"].startswith("chapters/") for chapter in chapters)


def test_a_broken_link_is_found(docs, tmp_path):
    import check_links

    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">b</a> <a href="b.html#gone">b</a> <img src="no.png"> <a href="https://x.y/z">'
    )
    (tmp_path / "b.html").write_text('<p id="there"><a href="#there"></a>')
    assert check_links.broken_links(tmp_path) == ["a.html: b.html#gone", "a.html: no.png"]
