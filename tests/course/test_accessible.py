"""Pages for everyone: axe-core finds nothing serious, and what it cannot see (sizes, landmarks) is looked at here."""

from pathlib import Path

import pytest

from tests.course.dashboard_samples import chromium, sample_graph, sample_latents
from utils import ROOT
from utils.cohort.batch import GRADED, NO_NOTEBOOK, UNTOUCHED, Result
from utils.cohort.collect.submissions import Student
from utils.cohort.judge.judge import Verdict
from utils.cohort.report.cohort_html import as_page
from utils.cohort.report.student_files import file_names
from utils.cohort.report.table import StudentRow
from utils.dashboard import write_page
from utils.grading.chapters import chapters

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
RUN = """
async (within) => {
  const rules = { "target-size": { enabled: true }, "label-content-name-mismatch": { enabled: true } };
  const found = await axe.run(within || document, { resultTypes: ["violations"], rules });
  const serious = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
  return serious.map((one) => one.id + ": " + one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | "));
}
"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def findings(page, within=None):
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
    return page.evaluate(RUN, within)


# ---------------------------------------------------------------- the dashboard


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    graph = sample_graph(paths=True)
    return {
        "one": write_page(graph, folder / "one.html", latents=sample_latents(graph)),
        "two": write_page(graph, folder / "two.html", sample_graph(seed=1)),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_the_dashboard_has_no_serious_findings(browser, pages, name, scheme):
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce", viewport={"width": 1280, "height": 720})
    page.goto(pages[name].as_uri())
    assert findings(page) == []
    latent = page.evaluate(
        "() => { const n = graphs[0].nodes.find((n) => n.kind === 'latent'); select(0, n.id); return n.id; }"
    )
    assert page.locator("#panel h2").is_visible() and latent
    assert findings(page, "#panel") == []
    for opener, menu in (
        ("#about-open", "#about"),
        ("#filter", "#filters"),
        ("#files", "#file-menu"),
        ("#help-open", "#help"),
    ):
        page.locator(opener).click()
        assert findings(page, menu) == [], menu
        page.keyboard.press("Escape")
    page.locator("[data-view=table]").click()
    assert findings(page, "#tables") == []
    page.close()


def test_controls_are_large_enough_to_touch(browser, pages):
    """Every control that stands outside a line of text is 24 pixels high and wide; nodes of the picture have rows that are."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(pages["one"].as_uri())
    page.evaluate("() => select(0, graphs[0].nodes.find((n) => n.kind === 'latent').id)")
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, input, summary, a")]
          .filter((e) => e.checkVisibility() && !e.matches(".inline"))
          .map((e) => [e.outerHTML.slice(0, 120), e.getBoundingClientRect()])
          .filter(([, box]) => box.width < 24 || box.height < 24).map(([html, box]) => html + " " + box.width + " x " + box.height)"""
    )
    assert small == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_faded_names_can_be_read(browser, pages, scheme):
    """Names that step back behind what is selected keep a contrast of 4.5 to 1: their colour is changed, not their opacity."""
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce", viewport={"width": 1280, "height": 720})
    page.goto(pages["one"].as_uri())
    page.evaluate("() => select(0, graphs[0].answers[0].id)")
    faded = page.locator(".focused .name:not(.near)").first
    colours = faded.evaluate(
        "(e) => [getComputedStyle(e).fill, getComputedStyle(document.body).backgroundColor, getComputedStyle(e).opacity, getComputedStyle(e.parentElement).opacity]"
    )
    assert colours[2:] == ["1", "1"]
    text, paper = (luminance([int(part) for part in colour[4:-1].split(",")]) for colour in colours[:2])
    light, dark = max(text, paper), min(text, paper)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
    page.close()


def luminance(rgb):
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (part / 255 for part in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# ---------------------------------------------------------------- the cohort's page


def row(name, status=GRADED, *verdicts):
    if status == NO_NOTEBOOK:
        return StudentRow(Student(name))
    return StudentRow(Student(name), {3: (f"{name}.ipynb", Result(status, "", 3, list(verdicts)))})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The page of five students of chapter 3, and its file."""
    (chapter,) = (one for one in chapters(ROOT) if one.number == 3)
    first, second = list(chapter.points)[:2]
    wrong = Verdict(first, chapter.points[first], "failing", 0.0, mistake="planted", sentence="You divide `twice`.")
    done = Verdict(second, chapter.points[second], "done", float(chapter.points[second]), is_copy=True)
    rows = [
        row("Ada <b>", GRADED, wrong, done),
        row("Bob & Co", GRADED, wrong),
        row("Eve Ünal", UNTOUCHED),
        row("Kim", NO_NOTEBOOK),
        row("Zoe", GRADED, done),
    ]
    rows[1].remarks = ["Late, says Canvas: three.ipynb."]
    file = tmp_path_factory.mktemp("cohort") / "cohort.html"
    file.write_text(as_page(rows, [chapter], ["No sandbox here."]), encoding="utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_cohorts_page_has_no_serious_findings(browser, cohort, scheme):
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce", viewport={"width": 1280, "height": 720})
    page.goto(cohort.as_uri())
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert findings(page) == []
    for part in ("header", "nav", "main"):
        assert page.locator(part).count() == 1
    assert page.locator("main section").evaluate_all(
        "(all) => all.every((one) => document.getElementById(one.getAttribute('aria-labelledby')).matches('h2'))"
    )
    tables = "(all) => all.every((one) => one.querySelector('thead th[scope=col]'))"
    assert page.locator("table").count() >= 5 and page.locator("table").evaluate_all(tables)
    page.close()


def test_misconceptions_come_first_and_nobody_is_forgotten(browser, cohort):
    page = browser.new_page()
    page.goto(cohort.as_uri())
    headings = page.locator("h2").all_inner_texts()
    assert headings[0] == "Misconceptions" and headings.index("Students") < headings.index("What happened")
    assert "You divide twice." in page.locator("section").first.inner_text()
    page.locator("details summary").first.click()
    assert "Ada <b>, Bob & Co" in page.locator("section").first.inner_text()
    head = page.locator("header").inner_text()
    assert "1 student did not begin: Eve Ünal." in head and "1 student handed in no notebook: Kim." in head
    links = page.locator("#students ~ .scroll tbody th a")
    assert links.all_inner_texts() == ["Ada <b>", "Bob & Co", "Eve Ünal", "Kim", "Zoe"]
    rows = [row_("Ada <b>"), row_("Bob & Co"), row_("Eve Ünal"), row_("Kim"), row_("Zoe")]
    wanted = [(cohort.parent / "report" / f"{name}.md").as_uri() for name in file_names(rows)]
    assert links.evaluate_all("(all) => all.map((one) => one.href)") == wanted
    page.close()


def row_(name):
    return StudentRow(Student(name))
