"""Pictures beside the interactive outputs of an executed notebook, for readers who run nothing: GitHub, nbconvert, an untrusted JupyterLab.

A headless Chromium draws them, through Playwright: plotly's figures with plotly's own script, and pages in frames as they open.
Only the build needs it. Students' own cells do not.
"""

import base64
import html
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html.parser import HTMLParser
from pathlib import Path

from nbformat import NotebookNode

from utils.notebooks.errors import CourseError

PLOTLY, PNG, HTML = "application/vnd.plotly.v1+json", "image/png", "text/html"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTH, HEIGHT = 960, 450  # pixels of a figure that does not say its own; notebooks are about as wide
FRAME_WIDTH = 1200
SCALE = 1.5  # dots a pixel: sharp on a good screen, and small enough to commit
COLOURS = 128  # of a picture: a third of the bytes, and no difference to see
DRAW = "([figure, size]) => Plotly.toImage(figure, size)"
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class NoChromium(RuntimeError):
    """There is no Playwright or no Chromium here; the sentence says how to get it."""


@contextmanager
def chromium() -> Iterator:
    """Playwright's handle of a headless Chromium: the one on the path, or else the one that Playwright installed. Raises NoChromium."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise NoChromium(
            "Playwright is not installed; run pip install -r requirements-dev.txt -c constraints.txt"
        ) from None
    with sync_playwright() as driver:
        try:
            path = next(filter(None, map(shutil.which, CHROMIUM)), None)
            browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        except Error:
            raise NoChromium(
                "there is no Chromium on this machine; install one, or run python -m playwright install chromium."
            ) from None
        yield browser
        browser.close()


def add_pictures(notebook: NotebookNode, path: Path) -> None:
    """Put a PNG beside every figure and behind every frame of an executed notebook, in place.

    A figure's HTML copy goes: Jupyter draws the JSON, everybody else shows the picture. Raises CourseError (for the page at
    `path`) where there is no Chromium and something to draw.
    """
    if not any(find_drawn(notebook)):
        return
    with ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium())
        except NoChromium as error:
            raise CourseError(path, 1, f"the pictures of its answer notebook cannot be drawn: {error}") from error
        draw_pictures(notebook, browser)


def find_drawn(notebook: NotebookNode) -> tuple[list[NotebookNode], list[NotebookNode]]:
    """The outputs that are figures, and those that are frames."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    figures = [output for output in outputs if PLOTLY in output.data]
    return figures, [output for output in outputs if frame_in(output.data.get(HTML, ""))]


def draw_pictures(notebook: NotebookNode, browser) -> None:
    """What `add_pictures` does, with a browser that is there."""
    figures, frames = find_drawn(notebook)
    page = browser.new_page()
    if figures:
        from plotly.offline import get_plotlyjs

        page.add_script_tag(content=get_plotlyjs())
    for output in figures:
        draw_figure(page, output)
    page.close()
    for output in frames:
        output.data[HTML] = with_poster(output.data[HTML], browser)


def draw_figure(page, output: NotebookNode) -> None:
    """The picture of a plotly figure, beside its JSON; `page` has plotly's script."""
    figure = output.data[PLOTLY]
    layout = figure["layout"]
    size = {"width": int(layout.get("width", WIDTH)), "height": int(layout.get("height", HEIGHT))}
    address = page.evaluate(DRAW, [figure, {"format": "png", "scale": SCALE, **size}])
    output.data[PNG] = as_text(base64.b64decode(address.partition(",")[2]))
    output.data.pop(HTML, None)
    title = " ".join(re.sub(r"<[^>]*>", " ", layout.get("title", {}).get("text", "")).split())
    output.metadata[PNG] = {**size, "alt": title or "Figure"}


class FrameParser(HTMLParser):
    """Finds the first frame whose page is in its own attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.frame: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        if tag == "iframe" and "srcdoc" in attributes and not self.frame:
            self.frame = attributes


def frame_in(text: str) -> dict[str, str]:
    """The attributes of a frame that an output is, or nothing."""
    if not text.startswith("<iframe"):
        return {}
    parser = FrameParser()
    parser.feed(text)
    return parser.frame


def with_poster(text: str, browser) -> str:
    """A frame that lies on a picture of its page: where frames or scripts are missing, the picture is seen."""
    frame = frame_in(text)
    height = int(frame.get("height", HEIGHT))
    page = browser.new_page(viewport={"width": FRAME_WIDTH, "height": height}, device_scale_factor=SCALE)
    page.set_content(frame["srcdoc"])
    page.evaluate(TWO_FRAMES)
    picture = as_text(page.screenshot())
    page.close()
    title = html.escape(frame.get("title", "Page"))
    return (
        f'<div style="position: relative; min-height: {height}px">'
        f'<img src="data:{PNG};base64,{picture}" alt="{title}" width="{FRAME_WIDTH}" style="max-width: 100%">'
        f'<div style="position: absolute; top: 0; left: 0; width: 100%">{text}</div></div>'
    )


def as_text(png: bytes) -> str:
    """A PNG with few colours, so that it is small, in base64."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    small, file = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE), io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
