"""The benchmark: what is compared with what, and what it says when circuit-tracer is not to be had."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from solutions.benchmark import side_by_side
from solutions.benchmark.__main__ import main
from solutions.benchmark.random_models import SHAPES, write_random_model
from utils.plots.cost import Cost, plot_cost

NODES = [(0, 0, 0, 7), (2, 0, 0, 0), (1, 0, 1, 5), (2, 0, 1, 0), (3, 0, 1, 9)]


def save(folder, name, nodes, matrix):
    save_file({"nodes": torch.tensor(nodes), "matrix": matrix.contiguous()}, folder / f"{name}.safetensors")


def test_edges_are_compared_whatever_the_order_of_the_nodes(tmp_path):
    matrix = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    matrix[4, 2] = matrix[4].abs().max() * 2
    order = torch.tensor([3, 0, 4, 2, 1])
    theirs = matrix.clone()
    theirs[4, 2] *= 1.01
    theirs[:, 1] = 0  # errors at the first position do not count
    save(tmp_path, "this-course", NODES, matrix)
    save(tmp_path, "circuit-tracer", [NODES[i] for i in order], theirs[order][:, order])
    assert side_by_side.largest_difference(tmp_path) == pytest.approx(0.01, rel=1e-3)


def test_graphs_of_other_nodes_are_refused(tmp_path):
    save(tmp_path, "this-course", NODES, torch.zeros(5, 5))
    save(tmp_path, "circuit-tracer", [*NODES[:4], (3, 0, 1, 8)], torch.zeros(5, 5))
    with pytest.raises(ValueError, match="2 are in one of them only"):
        side_by_side.largest_difference(tmp_path)


def test_without_circuit_tracer_this_course_is_measured_alone(tmp_path, capsys):
    main(["--peer", sys.executable, "--cases", "stand-in", "--rounds", "1", "--folder", str(tmp_path)])
    said = capsys.readouterr().out
    assert "has no circuit-tracer" in said and "this course" in said and "times the matrix of edges" in said
    assert "this course / circuit-tracer" not in said


def test_a_python_that_is_not_there_is_one_sentence(tmp_path):
    assert "cannot be run" in side_by_side.peer_problem(str(tmp_path / "python"))


def test_a_random_model_is_written_once(tmp_path):
    shape = SHAPES["stand-in"]._replace(n_layers=1, n_latents=64, vocabulary=300)
    write_random_model(shape, tmp_path)
    weights = tmp_path / "transcoders" / "layer_0" / "sae_weights.safetensors"
    before = weights.stat().st_mtime_ns
    write_random_model(shape, tmp_path)
    assert weights.stat().st_mtime_ns == before
    write_random_model(shape._replace(n_active=4), tmp_path)
    assert weights.stat().st_mtime_ns > before


def test_the_picture_has_every_cost():
    costs = [Cost("all latents", 8, 100, 0.1, 20), Cost("all latents", 16, 200, 0.3, 60), Cost("top 1", 8, 60, 0.05, 9)]
    figure = plot_cost(costs, "What a graph costs")
    assert len(figure.data) == 8
    assert list(figure.data[0].x) == [100, 200] and list(figure.data[1].x) == [8, 16]
    assert list(figure.data[3].y) == [20, 60]
