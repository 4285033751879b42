"""A score by hand, the rotation, and one head's queries and keys."""

import pytest
import torch

from solutions.chapter7_attention import attention_parts
from tests.chapter7.shared import FORMS, model_vectors, random_parts
from utils.grading import expect, expect_close


def test_a_toy_score(split_score):
    """The pairs of a small query and a small key are the products, times the scaling."""
    at_query = torch.tensor([[1.0, 0.0], [2.0, 3.0], [0.0, -1.0]])
    at_key = torch.tensor([[4.0, 1.0], [0.0, 2.0]])
    found = split_score(at_query, at_key, 0.5)
    expect_close(found, torch.tensor([[2.0, 0.0], [5.5, 3.0], [-0.5, -1.0]]), "What each pair adds")


def test_all_pairs_are_the_score(split_score):
    """Rows are parts of the query, columns are parts of the key, and all together they are the score."""
    torch.manual_seed(4)
    at_query, at_key = torch.randn(5, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    found = split_score(at_query, at_key, 3**-0.5)
    expect_close(found.sum(), at_query.sum(0) @ at_key.sum(0) * 3**-0.5, "The sum of all pairs")
    expect_close(found.sum(1), at_query @ at_key.sum(0) * 3**-0.5, "The sum of each row")


def test_a_quarter_turn(rotate):
    """A quarter turn makes (a, b) of a pair (-b, a); dimensions that do not turn stay."""
    vectors = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]])
    cos, sin = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]), torch.zeros(2, 4)
    sin[1] = 1.0
    found = rotate(vectors, cos, sin)
    expect_close(found, torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0], [-8.0, -9.0, 6.0, 7.0, 10.0]]), "The turned vectors")


@pytest.mark.parametrize("width", [6, 4, 0], ids=["all dimensions", "some dimensions", "no rotation"])
def test_a_rotated_product_depends_on_the_distance(rotate, width):
    """Lengths stay, and the product of a turned query and a turned key depends only on how far apart they are."""
    torch.manual_seed(5)
    angles = torch.arange(7.0)[:, None] * torch.tensor([0.9, 0.2, 0.05])[: width // 2]
    cos, sin = torch.cat([angles.cos()] * 2, -1).double(), torch.cat([angles.sin()] * 2, -1).double()
    query, key = torch.randn(2, 1, 6, dtype=torch.float64).expand(2, 7, 6)
    queries, keys = rotate(query, cos, sin), rotate(key, cos, sin)
    expect_close(queries.norm(dim=-1), query.norm(dim=-1), "The lengths")
    scores = queries @ keys.T
    expect_close(scores[4, 2], scores[5, 3], "Scores at the same distance")
    first, second = query[0, : width // 2], query[0, width // 2 : width]
    expected = torch.cat(
        [
            first * cos[3, : width // 2] - second * sin[3, : width // 2],
            second * cos[3, : width // 2] + first * sin[3, : width // 2],
            query[0, width:],
        ]
    )
    expect_close(queries[3], expected, "A turned query")
    expect_close(rotate(torch.stack([query, key]), cos, sin)[1], keys, "A batch of vectors")


def test_heads_share_their_keys(sides_of_head):
    """The query side has the head's own weights; neighbouring heads share a key head."""
    parts = random_parts(n_heads=6, n_key_heads=2)
    for head, key_head in ((0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)):
        query_side, key_side = sides_of_head(parts, head)
        expect_close(query_side.W, parts.W_Q[head], f"W of head {head}'s queries")
        expect_close(query_side.b, parts.b_Q[head], f"b of head {head}'s queries")
        expect_close(query_side.norm_gain, parts.q_gain[head], f"QK-norm of head {head}'s queries")
        expect_close(key_side.W, parts.W_K[key_head], f"W of head {head}'s keys")
        expect_close(key_side.b, parts.b_K[key_head], f"b of head {head}'s keys")
        expect_close(key_side.norm_gain, parts.k_gain[key_head], f"QK-norm of head {head}'s keys")
        for side in (query_side, key_side):
            expect_close(side.gain, parts.gain, "The gain of ln1")
            expect_close(side.cos, parts.cos, "The cosines")


@pytest.mark.parametrize("architecture", FORMS)
def test_vectors_are_the_models_own(make_vectors, opened, architecture):
    """Queries and keys are those that the frozen model computes."""
    from solutions.chapter7_attention import sides_of_head

    x = opened(architecture)
    for layer in (0, 2):
        queries, keys = model_vectors(x, layer)
        parts = attention_parts(x, layer)
        for head in (0, queries.shape[1] - 1):
            query_side, key_side = sides_of_head(parts, head)
            key_head = head // (queries.shape[1] // keys.shape[1])
            stream = x.stream(layer).detach()
            expect_close(
                make_vectors(query_side, stream), queries[:, head], f"Queries of head {layer}.{head}", rtol=1e-6
            )
            expect_close(make_vectors(key_side, stream), keys[:, key_head], f"Keys of head {layer}.{head}", rtol=1e-6)


def test_frozen_vectors_are_linear(make_vectors):
    """With scales frozen, twice the stream makes twice the change; a gradient passes."""
    from solutions.chapter7_attention import sides_of_head

    side = sides_of_head(random_parts(), 1)[0]
    torch.manual_seed(6)
    stream = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    made, none = make_vectors(side, stream), make_vectors(side, torch.zeros_like(stream))
    expect_close(make_vectors(side, 2 * stream) - none, 2 * (made - none), "The change of the vectors")
    expect(made.requires_grad, "The vectors depend on the stream differentiably.", got=made.requires_grad)
    expect_close(make_vectors(side, torch.stack([stream, stream * 0]))[1], none, "The second stream of a batch")


def test_a_centred_norm_takes_the_mean_away(make_vectors):
    """A norm that is centred takes the mean of each position's stream away first."""
    from solutions.chapter7_attention import sides_of_head

    side = sides_of_head(random_parts()._replace(centred=True), 1)[1]
    torch.manual_seed(7)
    stream = torch.randn(5, 7, dtype=torch.float64)
    expect_close(make_vectors(side, stream + 3.0), make_vectors(side, stream), "Keys of a stream that is raised by 3")
