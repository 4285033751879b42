"""The pictures: each shows the numbers it was given, names what it shows, and can be written into a notebook."""

import json
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import plotly.graph_objects as go
import pytest
import torch

import utils.dashboard
from utils.engine.cross_layer import CrossLayerWeights
from utils.engine.graph import GraphNodes, NodeInfo, NodeType
from utils.plots import cross_layer, gradients, interventions, style, transcoders
from utils.plots import graphs as plots

LATENT, ERROR = NodeType.LATENT, NodeType.MLP_ERROR


@pytest.fixture
def graph() -> GraphNodes:
    """Two positions, two layers: 2 embeddings, in each layer 1 latent and 2 errors, 1 logit."""
    nodes = [
        NodeInfo(NodeType.EMBEDDING, "E", pos, 7 + pos, str_token=text) for pos, text in enumerate(("<bos>", " a"))
    ]
    for layer in range(2):
        nodes += [NodeInfo(LATENT, layer, 1, 40 + layer, activation=1.5)]
        nodes += [NodeInfo(ERROR, layer, pos, 0) for pos in range(2)]
    nodes += [NodeInfo(NodeType.LOGIT, "L", 1, 5, token_prob=0.9, str_token=" b")]
    ranges = {"E": (0, 2), 0: (2, 5), 1: (5, 8), "L": (8, 9)}
    return GraphNodes(nodes=nodes, node_range_dict=ranges, seq_len=2, n_layers=2)


def every_figure(graph: GraphNodes) -> dict[str, go.Figure]:
    """All figures, of small numbers."""
    n = len(graph)
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0)).tril(-1)
    kinds = [node.node_type for node in graph.nodes]
    return {
        "frozen block": plots.plot_frozen_block(),
        "linearity": plots.plot_linearity(torch.arange(3.0), {"x": torch.arange(3.0)}, "a word", "the logit"),
        "reconstruction": plots.plot_reconstruction(
            {"skip": torch.tensor([0.5, 0.4]), "all": torch.tensor([0.1, 0.2])}
        ),
        "node counts": plots.plot_node_counts(graph, ["<bos>", " a"]),
        "swaps": plots.plot_swaps(torch.tensor([[1.0, -2.0]] * 3), ["<bos>", " a"], "B − A"),
        "gradient": plots.plot_gradient(torch.tensor([[1.0, 2.0]] * 3), ["E", 0, 1], ["<bos>", " a"], "the logit"),
        "adjacency": plots.plot_adjacency(matrix, graph),
        "completeness": plots.plot_completeness(torch.arange(float(n)), torch.arange(float(n)), kinds),
        "path lengths": plots.plot_path_lengths(torch.tensor([1.0, 0.5, 0.0])),
        "influence": plots.plot_influence_curve(torch.arange(float(n)), graph),
        "interventions": plots.plot_interventions(torch.arange(3.0), {"live": torch.arange(3.0)}, "Taken away"),
        "graph": plots.plot_graph([f"n{i}" for i in range(n)], kinds, list(range(n)), list(range(n)), matrix),
    }


@cache
def figures_of_other_chapters() -> dict[tuple[ModuleType, str], go.Figure]:
    """Every drawing function of chapters 1, 2, 4 and 5, on small numbers: by module and name."""
    three, two = torch.tensor([3.0, -1.0, 2.0]), torch.arange(6.0).view(2, 3)
    boxes = [interventions.Box("word", 0, 0), interventions.Box("state", 1, 1, 0.5, "0×")]
    history = [{"step": i, "reconstruction": 0.5, "dead": 0.1, "active": 4} for i in range(3)]
    weights = CrossLayerWeights(
        torch.ones(2, 4, 3),
        torch.zeros(2, 3),
        torch.zeros(2, 3),
        [torch.ones(n, 3, 4) for n in (2, 1)],
        torch.zeros(2, 4),
    )
    samples = {
        gradients: {
            "plot_route": (1, 3),
            "plot_matrix": (two, ["a", "<b>"], ["x", "y", "z"], "a matrix"),
            "plot_jacobian": (two, torch.tensor([0, 1]), torch.tensor([0, 0, 1]), ["<bos>", " a"], "slopes"),
            "plot_predictions": ({"1%": three}, {"1%": three}, "predictions"),
            "plot_tangents": (three, {"a": three}, {"a": 2.0}, "tangents"),
            "plot_bars": (["a", "b"], [1.0, 2.0], "bars", "size"),
        },
        transcoders: {
            "plot_two_dictionaries": (),
            "plot_gradient_agreement": (two + 1, two + 1),
            "plot_parts": ({"skip": two, "error": two}, two, [" a", " b"]),
            "plot_replacements": ({"original": (1.0, 0.0, 1.0), "mean ablation": (2.0, 1.0, 0.1)},),
            "plot_unexplained": ({"transcoder": [0.1, 0.2]},),
            "plot_deembedding": (three, three, ["a", "b", "c"], 1.5, 2),
            "plot_pullback": ({0: three, 1: three}, {(0, 1): "a name"}),
            "plot_frequencies": ({"with": torch.tensor([0.0, 0.1])}, 100),
        },
        interventions: {
            "plot_switches": ({"latents": [True, False]}, ["latents", "errors"]),
            "plot_freeze_levels": ({"edge": 1.0, "all": 0.5}, "the logit"),
            "plot_predictions": ({"edge": three}, three, ["a", "b", "c"]),
            "plot_dose_response": ([0.0, 1.0, 2.0], {"latents": two}),
            "plot_faithfulness": ([0, 1, 5], {"without latents": two, "with only matched controls": two}),
            "plot_pairs": (torch.tensor([-0.1, -2.0]), torch.tensor([-3.0, -2.0]), ["a and b", "a and c"]),
            "draw_supernodes": (boxes, [("word", "state", 1.0)], "a prompt", [(" Austin", 0.9)]),
            "plot_rates": ({"swap": 0.9, "control": 0.0}, 20, "rates"),
            "plot_overlaps": ({"same word": three},),
            "plot_scores_by_size": ({"Dallas": [{"latents": 1, "replacement": 0.5, "completeness": 0.6}]},),
        },
        cross_layer: {
            "plot_architecture": (),
            "plot_jump": (1.0, 0.5),
            "plot_training": (history,),
            "plot_decoder_use": (weights,),
            "plot_tradeoff": ({"CLT": [(1.0, 0.5, 0.3), (2.0, 0.6, 0.2)]},),
            "plot_writes": (),
            "plot_path_lengths": ({"CLT": torch.tensor([0.5, 0.5])},),
            "draw_mlp": (torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, -1, 0]]), three, [1, 1, 1]),
        },
    }
    return {
        (module, name): getattr(module, name)(*arguments)
        for module, functions in samples.items()
        for name, arguments in functions.items()
    }


def numbers_in(value) -> list:
    """All numbers of nested lists and dictionaries."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_in(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, int | float) else []


def test_every_figure_is_plain_json_on_white_paper(graph):
    """Figures hold lists, not binary arrays (which some viewers do not read), no NaN, and set their own colours."""
    for name, figure in (every_figure(graph) | figures_of_other_chapters()).items():
        text = figure.to_json()
        assert "bdata" not in text, name
        assert "NaN" not in text, name
        assert all(number == number for number in numbers_in(json.loads(text))), name
        assert figure.layout.paper_bgcolor == plots.PAPER and figure.layout.font.color == plots.INK, name


def test_no_picture_is_left_out():
    """The figures above are those of all functions that draw."""
    for module in (gradients, transcoders, interventions, cross_layer):
        there = {name for name in vars(module) if name.startswith(("plot_", "draw_"))}
        assert there == {name for of, name in figures_of_other_chapters() if of is module}


def test_kinds_of_nodes_have_the_dashboards_colours():
    css = (Path(utils.dashboard.__file__).parent / "web" / "page.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(\w+): (#\w+);", css.split("}")[0]))
    of_kinds = {kind: light[name] for kind, name in zip(NodeType, ("embedding", "latent", "mlp_error", "logit"))}
    assert style.NODE_COLOURS == of_kinds
    assert (style.RAISES, style.LOWERS) == (light["plus"], light["minus"])


def test_figures_say_what_they_show(graph):
    for name, figure in every_figure(graph).items():
        if name != "graph":  # its title is an argument
            assert figure.layout.title.text, name
    assert all(figure.layout.title.text for figure in figures_of_other_chapters().values())
    titled = every_figure(graph)
    for name in ("linearity", "completeness", "path lengths", "influence", "interventions", "adjacency"):
        assert titled[name].layout.xaxis.title.text, name


def test_adjacency_has_targets_as_rows_from_the_top(graph):
    """Row t, column s of the heatmap is the edge from s to t, and the first target is at the top."""
    matrix = torch.zeros(len(graph), len(graph))
    matrix[8, 2], matrix[5, 0] = 3.0, -2.0
    figure = plots.plot_adjacency(matrix, graph)
    z = figure.data[0].z
    assert z[8][2] == 3.0 and z[5][0] == -2.0
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    # lines after the embeddings, layer 0 and layer 1, in both directions
    assert sorted({shape.y0 for shape in figure.layout.shapes if shape.y0 == shape.y1}) == [1.5, 4.5, 7.5]
    assert list(figure.layout.xaxis.ticktext) == ["E", "0", "1", "L"]


def test_a_large_matrix_is_thinned_to_its_strongest_edges():
    """Each cell of a thinned matrix is the strongest edge of its square, with its sign."""
    n = 2 * plots.MAX_CELLS + 5
    matrix = torch.zeros(n, n)
    matrix[n - 1, 0], matrix[n - 2, 1], matrix[10, 3] = 1.0, -4.0, 0.25
    thinned, step = plots._thin(matrix)
    assert step == 3 and len(thinned) == -(-n // 3)
    assert thinned[(n - 1) // 3, 0] == 1.0 or thinned[(n - 2) // 3, 0] == -4.0
    assert thinned[3, 1] == 0.25
    assert thinned.abs().max() == 4.0 and thinned.min() == -4.0


def test_the_influence_curve_counts_what_a_threshold_keeps(graph):
    """Logits are left out; the curve ends at 1; a threshold's label says how many nodes reach it."""
    influence = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 100.0])
    figure = plots.plot_influence_curve(influence, graph, thresholds=(0.7, 0.71))
    assert list(figure.data[0].y) == pytest.approx([0.4, 0.7, 0.9, 1, 1, 1, 1, 1])
    assert [annotation.text for annotation in figure.layout.annotations] == ["0.7: 2 nodes", "0.71: 3 nodes"]


def test_the_influence_curve_of_no_influence_is_flat(graph):
    figure = plots.plot_influence_curve(torch.zeros(len(graph)), graph)
    assert set(figure.data[0].y) == {0.0}


def test_counts_stand_at_their_layer_and_position(graph):
    figure = plots.plot_node_counts(graph, ["<bos>", " a"])
    assert [list(row) for row in figure.data[0].z] == [[0, 1], [0, 1]]


def test_tokens_that_look_like_markup_are_shown(graph):
    """plotly would read `<bos>` as a tag and drop it; equal tokens keep columns of their own."""
    figure = plots.plot_gradient(torch.ones(1, 3), ["E"], ["<bos>", " a", " a"], "x")
    assert list(figure.data[0].x) == ["‹bos›<br>0", "·a<br>1", "·a<br>2"]


def test_a_missing_gradient_is_a_gap():
    figure = plots.plot_gradient(torch.tensor([[1.0, float("nan")]]), ["E"], ["a", "b"], "x")
    assert list(figure.data[0].z[0]) == [1.0, None]


def test_a_drawn_graph_has_one_arrow_for_every_edge():
    """From source to target, blue for an edge that raises, orange for one that lowers."""
    matrix = torch.zeros(3, 3)
    matrix[2, 0], matrix[2, 1] = 4.0, -1.0
    figure = plots.plot_graph(["a", "b", "c"], [LATENT] * 3, [0, 1, 2], [0, 0, 1], matrix, numbers=False)
    arrows = [arrow for arrow in figure.layout.annotations if arrow.showarrow]
    assert [(a.ax, a.ay, a.x, a.y) for a in arrows] == [(0, 0, 2, 1), (1, 0, 2, 1)]
    assert [a.arrowcolor for a in arrows] == [plots.RAISES, plots.LOWERS]
    assert arrows[0].arrowwidth > arrows[1].arrowwidth


def test_wrong_shapes_are_refused_in_one_sentence(graph):
    n = len(graph)
    for call in (
        lambda: plots.plot_adjacency(torch.zeros(n, n + 1), graph),
        lambda: plots.plot_influence_curve(torch.zeros(n + 1), graph),
        lambda: plots.plot_swaps(torch.zeros(3, 2), ["a", "b", "c"], "x"),
        lambda: plots.plot_gradient(torch.zeros(2, 3), ["E"], ["a", "b", "c"], "x"),
        lambda: plots.plot_completeness(torch.zeros(2), torch.zeros(3), [LATENT] * 2),
        lambda: plots.plot_interventions(torch.zeros(2), {"live": torch.zeros(3)}, "x"),
        lambda: plots.plot_graph(["a"], [LATENT], [0], [0], torch.zeros(2, 2)),
    ):
        with pytest.raises(ValueError, match="need"):
            call()


def test_no_model_is_left_out_of_a_picture():
    models = {f"model {i}": torch.arange(2.0) for i in range(6)}
    five = dict(list(models.items())[:5])
    assert len(plots.plot_interventions(torch.arange(2.0), five, "x").data) == 6  # and the line
    with pytest.raises(ValueError, match="styles for 5 models, not for 6"):
        plots.plot_interventions(torch.arange(2.0), models, "x")
