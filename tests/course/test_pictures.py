"""Pictures in executed notebooks: beside every figure, behind every frame, and small."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.course.dashboard_samples import chromium, sample_graph
from utils import ROOT
from utils.dashboard import Dashboard
from utils.notebooks import build, pictures
from utils.notebooks.pictures import HTML, PLOTLY, PNG, add_pictures, draw_pictures

BUILT = sorted((ROOT / "solutions").glob("chapter*.ipynb"))
DATA_ADDRESS = f'src="data:{PNG};base64,'


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def figure(**layout) -> dict:
    """A plotly figure as a kernel sends it: red on the left, blue on the right."""
    bars = [go.Bar(x=[place], y=[1], marker_color=colour) for place, colour in ((0, "red"), (1, "blue"))]
    bare = {"showlegend": False, "bargap": 0, "margin": dict.fromkeys("lrtb", 0)}
    drawn = go.Figure(bars).update_layout(**bare, **layout).update_xaxes(visible=False).update_yaxes(visible=False)
    return json.loads(drawn.to_json())


def executed(**data) -> nbformat.NotebookNode:
    """A notebook whose one cell shows this."""
    output = new_output("display_data", data)
    return new_notebook(cells=[new_code_cell("show()", outputs=[output])])


def shown(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return notebook.cells[0].outputs[0]


def opened(png: str):
    """A picture in base64 as Pillow opens it."""
    image = pytest.importorskip("PIL.Image")
    return image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")


def test_a_figure_gets_a_picture_of_itself_in_place_of_its_html(browser):
    notebook = executed(**{PLOTLY: figure(width=300, height=200, title="A <b>title</b>"), HTML: "<div>plotly</div>"})
    draw_pictures(notebook, browser)
    assert sorted(shown(notebook).data) == [PLOTLY, PNG]
    assert shown(notebook).metadata[PNG] == {"width": 300, "height": 200, "alt": "A title"}
    picture = opened(shown(notebook).data[PNG])
    assert picture.size == (450, 300)
    assert picture.getpixel((110, 290)) == (255, 0, 0) and picture.getpixel((340, 290)) == (0, 0, 255)
    nbformat.validate(notebook)


def test_a_picture_is_the_same_each_time(browser):
    first, second = (executed(**{PLOTLY: figure()}) for _ in range(2))
    for notebook in (first, second):
        draw_pictures(notebook, browser)
    assert shown(first).data[PNG] == shown(second).data[PNG]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_dashboard_lies_on_its_picture(browser, scripts):
    """With scripts the page covers the picture; without, the picture is seen through the frame."""
    notebook = executed(**{HTML: Dashboard(sample_graph())._repr_html_()})
    draw_pictures(notebook, browser)
    text = shown(notebook).data[HTML]
    assert text.count("<iframe") == text.count(DATA_ADDRESS) == 1
    poster = opened(text.split(DATA_ADDRESS)[1].split('"')[0])
    assert poster.size == (1800, 1080) and len(poster.getcolors(1 << 16)) > 20
    context = browser.new_context(java_script_enabled=scripts, viewport={"width": 1200, "height": 720})
    page = context.new_page()
    page.set_content(f"<body style='margin: 0'>{text}")
    page.wait_for_timeout(500)
    frame = page.frames[1]
    assert frame.locator(".graph .node").count() == (70 if scripts else 0)
    assert frame.locator("noscript").is_visible() is not scripts
    seen = opened(base64.b64encode(page.screenshot()).decode()).crop((0, 0, 1200, 660))
    expected = poster.resize((1200, 720)).crop((0, 0, 1200, 660))
    assert differences(seen, expected) < 0.02
    context.close()


def differences(picture, other) -> float:
    """The share of the dots that clearly differ."""
    chops = pytest.importorskip("PIL.ImageChops")
    counts = chops.difference(picture, other).convert("L").histogram()
    return sum(counts[64:]) / sum(counts)


def test_where_frames_are_taken_out_a_picture_is_left(browser):
    """An untrusted JupyterLab and GitHub take frames out and leave images."""
    notebook = executed(**{HTML: Dashboard(sample_graph())._repr_html_()})
    draw_pictures(notebook, browser)
    page = browser.new_page(viewport={"width": 900, "height": 800})
    page.set_content(shown(notebook).data[HTML])
    page.evaluate("() => document.querySelector('iframe').remove()")
    box = page.locator("img").bounding_box()
    assert box["width"] == pytest.approx(884, abs=1) and box["height"] == pytest.approx(box["width"] * 0.6, abs=1)
    assert page.locator("img").get_attribute("alt") == "Attribution graph"
    page.close()


def test_other_outputs_stay_and_need_no_browser(monkeypatch):
    monkeypatch.setattr(pictures, "chromium", None)
    notebook = executed(**{HTML: "<table></table>", "text/plain": "a table"})
    before = nbformat.writes(notebook)
    add_pictures(notebook, Path("page.md"))
    assert nbformat.writes(notebook) == before


def test_without_a_browser_the_build_says_what_to_install():
    """In a process of its own: Playwright runs once a process."""
    pytest.importorskip("playwright")
    script = "from tests.course.test_pictures import *; add_pictures(executed(**{PLOTLY: figure()}), Path('page.md'))"
    nowhere = {"PATH": "/nowhere", "PLAYWRIGHT_BROWSERS_PATH": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1].endswith(
        "page.md:1: the pictures of its answer notebook cannot be drawn: there is no Chromium on this machine; "
        "install one, or run python -m playwright install chromium."
    )


def test_a_list_of_numbers_stands_in_one_line_and_texts_stay():
    data = {
        "z": [[0.5, -1e-7, None], [True, 2, 3]],
        "words": ["a [\n1,\n2]", "b"],
        "scale": [[0.0, 'a "b\n']],
        "empty": [],
    }
    notebook = executed(**{PLOTLY: data})
    text = build.as_text(notebook)
    assert "[0.5,-1e-07,null]" in text and "[true,2,3]" in text and '[0.0,"a \\"b\\n"]' in text
    assert nbformat.reads(text, as_version=4) == nbformat.from_dict(notebook)


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.stem[:8])
def test_a_built_notebook_has_its_pictures_and_is_small(path):
    """Every figure has a picture and no second copy; every frame lies on a picture; no line is a single number."""
    assert path.stat().st_size <= 2e6
    text = path.read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if line.strip().rstrip(",").lstrip("-").replace(".", "").isdigit()]
    cells = nbformat.reads(text, as_version=4).cells
    outputs = [output.data for cell in cells for output in cell.get("outputs", []) if "data" in output]
    assert any(PLOTLY in data for data in outputs)
    for data in outputs:
        assert PLOTLY not in data or PNG in data and HTML not in data
        assert "<iframe" not in data.get(HTML, "") or DATA_ADDRESS in data[HTML]


def test_all_files_together_are_small():
    """A clone stays quick: the course is at most 40 MB."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this copy of the course is no git repository")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 40e6
