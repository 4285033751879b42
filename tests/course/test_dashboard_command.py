"""`python -m utils.dashboard`, the little server, sizes, and the notebook's object."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading

import pytest
import torch

from solutions.trace.__main__ import main as trace
from tests.course.dashboard_samples import a_path, sample_graph, sample_latents
from tests.course.samples import HOSTILE, prune_sample, sample_result
from tests.tiny import PROMPT, tiny_model, tiny_transcoders
from utils import ROOT
from utils.dashboard import (
    Dashboard,
    GraphFormatError,
    build_graph,
    latents_of,
    render_page,
    write_graph,
    write_latents,
)
from utils.dashboard.__main__ import known_latents, main
from utils.dashboard.serve import inside, make_server
from utils.latents.examples import dictionary_key
from utils.latents.files import cantor


@pytest.fixture(scope="module")
def graph():
    return sample_graph()


@pytest.fixture
def folder(graph, tmp_path):
    """A folder with graphs and pages, and beside it what must not be given out."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    write_graph(graph, root / "one.json")
    write_graph(graph, root / "sub" / "two & <b>.json")
    (root / "page.html").write_text(render_page(graph))
    (root / "bad.json").write_text('{"prompt_tokens": [], "links": 1}')
    (root / ".hidden.json").write_text("{}")
    (root / "notes.txt").write_text("private")
    (tmp_path / "secret.json").write_text('{"secret": 1}')
    (root / "out.json").symlink_to(tmp_path / "secret.json")
    (root / "away").symlink_to(tmp_path)
    return root


def run(capsys, *arguments):
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def refused(answer, *words):
    code, out, err = answer
    assert code == 2 and out == ""
    assert err.count("\n") == 1 and err.endswith(".\n"), err
    for word in words:
        assert word in err


# ---------------------------------------------------------------- the command


def test_a_graph_file_becomes_a_page(folder, capsys, tmp_path):
    code, out, _ = run(capsys, folder / "one.json", "-o", tmp_path / "new" / "page.html")
    page = tmp_path / "new" / "page.html"
    assert code == 0 and str(page) in out
    assert page.read_text() == (folder / "page.html").read_text()
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_a_console_without_the_letters_of_a_name_is_no_reason_to_fail(folder, tmp_path):
    page = tmp_path / "päge.html"
    command = [sys.executable, "-m", "utils.dashboard", str(folder / "one.json"), "-o", str(page)]
    done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, cwd=ROOT)
    assert done.returncode == 0 and done.stderr == b"" and page.exists()
    assert b"p\\xe4ge.html" in done.stdout


def test_a_latent_that_the_dictionary_lacks_is_shown_without_data(tmp_path):
    """A graph of the bundled model, edited by hand."""
    result = prune_sample(sample_result(n_layers=3), n_nodes=30, edges_per_row=5)
    graph = build_graph(result, dictionary_key=dictionary_key("atlas"))
    node = next(dict(n) for n in graph["nodes"] if n["feature_type"].startswith("cross") and n["layer"] == "2")
    node |= {"node_id": "2_100000_3", "jsNodeId": "2_100000-3", "feature": cantor(2, 100_000), "ctx_idx": 3}
    beyond = dict(node) | {"node_id": "80_1_3", "jsNodeId": "80_1-3", "feature": cantor(80, 1), "layer": "80"}
    graph["nodes"] += [node, beyond]
    file = tmp_path / "odd.json"
    file.write_text(json.dumps(graph))
    assert main([str(file), "-o", str(tmp_path / "odd.html")]) == 0
    known = known_latents(graph, None)
    assert known and not {(2, 100_000), (80, 1)} & known.keys()


def test_two_graph_files_become_one_page(folder, graph, capsys, tmp_path):
    code, _, _ = run(capsys, folder / "one.json", folder / "sub" / "two & <b>.json", "-o", tmp_path / "p.html")
    assert code == 0
    assert data_of((tmp_path / "p.html").read_text())["graphs"][0] == data_of(render_page(graph, graph))["graphs"][1]


def data_of(html):
    return json.loads(re.search(r'id="view">(.*?)</script>', html, re.DOTALL)[1])


def test_latents_are_taken_from_a_folder(folder, graph, capsys, tmp_path):
    latents = sample_latents(graph)
    write_latents(latents, tmp_path / "latents")
    code, _, _ = run(capsys, folder / "one.json", "--latents", tmp_path / "latents", "-o", tmp_path / "p.html")
    assert code == 0
    assert (tmp_path / "p.html").read_text() == render_page(graph, latents=latents)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Give one or two graph files"]),
        (["one.json"], ["-o page.html"]),
        (["nowhere.json", "-o", "p.html"], ["nowhere.json cannot be read"]),
        (["bad.json", "-o", "p.html"], ["bad.json: This is not a graph", "'metadata'"]),
        (["one.json", "-o", "sub"], ["is a folder"]),
        (["one.json", "-o", "notes.txt"], ["is not a page"]),
        (["one.json", "-o", "page.html/x.html"], []),
        (["one.json", "--latents", "nowhere", "-o", "p.html"], ["nowhere is not a folder"]),
        (["--serve", "nowhere"], ["nowhere is not a folder"]),
        (["--serve", ".", "--port", "70000"], ["70000"]),
        (["one.json", "--serve", "."], ["no other files"]),
        (["--wrong"], ["--help"]),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(folder, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused(run(capsys, *arguments), *words)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_damaged_file_leaves_an_earlier_page_alone(folder, capsys):
    before = (folder / "page.html").read_bytes()
    refused(run(capsys, folder / "bad.json", "-o", folder / "page.html"))
    assert (folder / "page.html").read_bytes() == before


# ---------------------------------------------------------------- the server


@pytest.fixture
def ask(folder):
    """`ask("/path")`: (status, text, headers) of the server of `folder`."""
    server = make_server(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    def request(path, method="GET", host=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
        connection.endheaders()
        response = connection.getresponse()
        answer = response.status, response.read().decode("utf-8"), dict(response.getheaders())
        connection.close()
        return answer

    yield request
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_server_listens_on_this_machine_only(folder):
    server = make_server(folder)
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()


def test_the_list_leads_to_graphs_and_pages(ask, graph):
    status, text, headers = ask("/")
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    links = re.findall(r'href="([^"]*)">([^<]*)<', text)
    assert [name for _, name in links] == ["bad.json", "one.json", "page.html", "sub/two &amp; &lt;b&gt;.json"]
    for address, _ in links[1:]:
        status, page, _ = ask(address)
        assert status == 200 and page == render_page(graph)


def test_files_are_given_out_as_they_are(ask, folder):
    status, text, headers = ask("/one.json")
    assert status == 200 and text == (folder / "one.json").read_text()
    assert headers["Content-Type"].startswith("application/json") and headers["X-Content-Type-Options"] == "nosniff"
    assert ask("/one.json", "HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.json",
        "/%2e%2e/secret.json",
        "/..%2fsecret.json",
        "/sub/../../secret.json",
        "//secret.json",
        "/out.json",
        "/away/secret.json",
        "/view/../secret.json",
        "/view/out.json",
        "/.hidden.json",
        "/notes.txt",
        "/sub",
        "/nowhere.json",
        "/%00.json",
        "/" + "x" * 5000 + ".json",
        "/view//etc/passwd",
        "/%5c..%5csecret.json",
    ],
)
def test_nothing_outside_the_folder_is_given_out(ask, path):
    status, text, _ = ask(path)
    assert status == 404 and "secret" not in text and "private" not in text


def test_absolute_names_stay_inside(folder, tmp_path):
    assert inside(folder.resolve(), str(tmp_path / "secret.json")) is None


def test_other_names_of_this_machine_are_refused(ask):
    assert ask("/", host="evil.example")[0] == 403
    assert ask("/", host="localhost:1")[0] == 200
    assert ask("/", method="POST")[0] == 501


def test_a_damaged_graph_is_answered_with_its_sentence(ask):
    status, text, headers = ask("/view/bad.json")
    assert status == 422 and "This is not a graph" in text and headers["Content-Type"].startswith("text/plain")


# ---------------------------------------------------------------- with the command that traces


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A tiny random model in the bundled one's form."""
    place = tmp_path_factory.mktemp("tiny")
    model = tiny_model(place / "model", dtype=torch.float32)
    for layer, transcoder in tiny_transcoders(model).items():
        transcoder.save_model(place / "transcoders" / f"layer_{layer}")
    return place


def test_a_trace_writes_what_is_known_of_its_latents(bundle, tmp_path, capsys):
    out = tmp_path / "o"
    assert trace([PROMPT, "--model", str(bundle), "--out", str(out), "--circuit-tracer"]) == 0
    graph = json.loads((out / "graph.json").read_text())
    latents = data_of((out / "index.html").read_text())["latents"]
    assert set(latents) == {f"{layer}/{latent}" for layer, latent in latents_of(graph)}
    assert all(len(latent["top"]) == 10 and latent["examples"] == [] for latent in latents.values())
    local = out / "circuit-tracer" / f"{graph['metadata']['slug']}.json"
    assert json.loads(local.read_text())["nodes"] == graph["nodes"]
    assert str(out / "circuit-tracer") in capsys.readouterr().out
    assert trace([PROMPT, "--model", str(bundle), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"index.html", "graph.json", "result"}


# ---------------------------------------------------------------- sizes, notebooks


def test_150_latents_with_examples_stay_below_a_megabyte_and_a_half():
    result = prune_sample(sample_result(per_cell=8), n_nodes=223, edges_per_row=14)
    graph = build_graph(
        result, {(layer, k): f"a name of thirty letters, {k:04d}" for layer in range(6) for k in range(99)}
    )
    latents = sample_latents(graph, n_examples=6, length=33)
    n_latents = len({n["feature"] for n in graph["nodes"] if n["feature_type"] == "cross layer transcoder"})
    size = len(render_page(graph, latents=latents).encode())
    print(f"{n_latents} latents, {len(graph['nodes'])} nodes, {len(graph['links'])} links: {size:,} bytes")
    assert n_latents >= 150 and len(graph["links"]) > 1500
    assert size <= 1_500_000


def test_latents_that_are_in_no_graph_are_left_out(graph):
    latents = sample_latents(graph)
    more = latents | {(5, 999): next(iter(latents.values()))}
    assert render_page(graph, latents=more) == render_page(graph, latents=latents)


def test_the_dashboard_object_is_a_page(graph, tmp_path):
    board = Dashboard(graph)
    assert board.html == render_page(graph)
    assert board.save(tmp_path / "page.html").read_text() == board.html
    assert "70 nodes" in repr(board) and len(repr(board)) < 200
    assert Dashboard(graph, graph).html == render_page(graph, graph)
    assert Dashboard(sample_result(), labels={(0, 0): "named"}).graphs[0]["nodes"][10]["clerp"] == "named"
    with pytest.raises(GraphFormatError, match="one graph or compares two"):
        Dashboard()


def test_a_results_page_is_the_same_each_time_and_has_its_paths():
    """It holds no date, so that a notebook with it in can be built twice."""
    result = prune_sample(sample_result(), 70, 9)
    path = (a_path(result), 0.25, "more")
    first, second = (Dashboard(result, paths=[path]) for _ in range(2))
    assert first._repr_html_() == second._repr_html_()
    (view,) = data_of(first.html)["graphs"]
    assert [path["strength"] for path in view["paths"]] == [0.25]
    assert "date" not in [name for name, _, _ in view["facts"]]
    with pytest.raises(GraphFormatError, match="Paths need one result"):
        Dashboard(build_graph(result), paths=[path])


def test_the_frame_cannot_be_left_by_hostile_text():
    hostile = build_graph(sample_result(HOSTILE, n_layers=2, per_cell=1))
    frame = Dashboard(hostile)._repr_html_()
    inside_quotes = frame.split('srcdoc="')[1].split('"')[0]
    assert "<" not in inside_quotes and frame.count("<iframe") == 1
    assert frame.endswith("</iframe>") and frame.isprintable() or "\n" in frame
    frame.encode("utf-8")
