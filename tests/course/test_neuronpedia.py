"""What Neuronpedia says of latents: fetched when asked for, once, and never without being asked. A small server plays the site."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from solutions.trace import __main__ as command
from tests.course import test_models as models
from utils.dashboard import check_graph
from utils.latents import neuronpedia
from utils.latents.files import compact_latent

hub_files, hub = models.hub_files, models.hub  # the small hub of test_models.py
SOURCE = "transcoder-hp-lowl0"


class Site(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        latent = int(self.path.rsplit("/", 1)[1])
        if latent % 3 == 0:
            return self.answer(404, {"message": "not found"})
        if latent % 3 == 2:
            return self.answer(200, {"explanations": [], "activations": []})
        self.answer(
            200,
            {
                "explanations": [{"description": f"  words about\n{latent} "}],
                "activations": [{"tokens": ["a", " b"], "values": [0, 2.5], "maxValueTokenIndex": 1}, {"tokens": None}],
                "maxActApprox": 2.5,
                "frac_nonzero": 0.01,
            },
        )

    def answer(self, status, content):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


@pytest.fixture
def site(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(neuronpedia, "SITE", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(neuronpedia, "cache_folder", lambda: tmp_path / "cache-home")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def trace(hub, tmp_path, capsys):
    def call(*options):
        line = ["Dallas", "--model", "qwen3-0.6b", "--top-k", "3", "--node-threshold", "1", "--dtype", "float32"]
        code = command.main([*line, "--out", str(tmp_path / "o"), *options])
        return code, *capsys.readouterr()

    return call


def test_labels_and_examples_are_fetched_once_and_only_when_asked_for(site, trace, tmp_path):
    assert trace()[0] == 0 and site.asked == []
    code, out, err = trace("--examples", "neuronpedia")
    assert code == 0, err
    graph = json.loads((tmp_path / "o" / "graph.json").read_text())
    check_graph(graph)
    latents = {
        (n["layer"], int(n["node_id"].split("_")[1])): n
        for n in graph["nodes"]
        if n["feature_type"].startswith("cross")
    }
    assert set(site.asked) == {f"/api/feature/qwen3-0.6b/{la}-{SOURCE}/{i}" for la, i in latents}
    assert len(site.asked) == len(latents), "a latent is asked for twice"
    for (_, i), node in latents.items():
        assert node["clerp"] == (f"words about {i}" if i % 3 == 1 else "")
    assert {i % 3 for _, i in latents} == {0, 1, 2} and "words about" in out
    page = (tmp_path / "o" / "index.html").read_text()
    assert "Top activations" in page and "From Neuronpedia" in page

    n_asked = len(site.asked)
    code, out, _ = trace("--examples", "neuronpedia")
    assert code == 0 and len(site.asked) == n_asked and "words about" in out, "the cache is not used"


def test_without_the_site_the_graph_is_there_and_a_sentence(site, trace, tmp_path, monkeypatch):
    monkeypatch.setattr(neuronpedia, "SITE", "http://127.0.0.1:9")
    code, out, err = trace("--examples", "neuronpedia")
    assert code == 0 and (tmp_path / "o" / "graph.json").is_file()
    assert "Neuronpedia cannot be reached" in err and "cannot be reached" in (tmp_path / "o" / "index.html").read_text()
    assert site.asked == []


def test_a_dictionary_that_the_site_does_not_show_is_one_sentence(site, tmp_path, capsys):
    assert command.main(["Dallas", "--examples", "neuronpedia", "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert "Neuronpedia shows no transcoders of atlas" in said and said.count("\n") == 1 and site.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"activations": None, "explanations": {}},
        {
            "activations": [{"tokens": ["a"], "values": [1, 2]}],
            "explanations": [{"description": 3}, None],
            "frac_nonzero": 7,
        },
    ],
)
def test_an_odd_answer_harms_nothing(answer):
    found = neuronpedia.describe(answer)
    assert "label" not in found and "examples_quantiles" not in found and "activation_frequency" not in found
    compact_latent(found, {})
