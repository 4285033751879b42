"""Attribution graphs whose latents are MLP neurons: any model, no dictionary. Nodes and edges are those of chapter 3."""

import torch
from jaxtyping import Bool
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import (
    build_embedding_nodes,
    build_logit_nodes,
    compute_adjacency_matrix,
    compute_bias,
    join_nodes,
    prepare_backward_batches,
    prune_and_pack,
    read_targets,
    setup_attribution,
)
from solutions.chapter6_real_models.attributing import LinearPrompt, NeuronAttributions, all_attributions, linearise
from utils.engine.arguments import TracingArguments, evaluating, first_visible_position, text_of, tokenize_prompt
from utils.engine.graph import AttributionResult, GraphNodes, NodeInfo, NodeType
from utils.engine.neurons import check_neurons


def strongest_neurons(
    attributions: NeuronAttributions, n_nodes: int, start_posn: int = 0
) -> Bool[Tensor, "layer seq d_mlp"]:
    """True for the neurons whose attribution is largest: absolute, weighted over the targets, from `start_posn` on.

    Fewer than `n_nodes` where not so many have any attribution.
    """
    ### BEGIN SOLUTION
    weights = [output.weight for output in attributions.outputs]
    weights = torch.tensor(weights, dtype=attributions.neurons.dtype, device=attributions.neurons.device)
    scores = torch.einsum("t,tlpn->lpn", weights, attributions.neurons.abs())
    scores[:, :start_posn] = 0
    best = scores.flatten().topk(min(n_nodes, scores.numel()))
    chosen = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    chosen[best.indices[best.values > 0]] = True
    return chosen.reshape(scores.shape)
    ### END SOLUTION


def build_neuron_nodes(x: LinearPrompt, chosen: Bool[Tensor, "layer seq d_mlp"], start_posn: int) -> GraphNodes:
    """The nodes: embeddings, the chosen neurons by layer, position and number, and logits. There are no errors.

    Args:
        x: the linear prompt.
        chosen: True for the neurons that become nodes.
        start_posn: earlier positions are hidden in the pruned graph.
    """
    d_model, seq_len = x.model.cfg.d_model, x.tokens.shape[1]
    nodes: list[NodeInfo] = []
    writes, reads, constants, ranges = [], [], [], {}
    for layer, mask in enumerate(chosen):
        positions, neurons = mask.nonzero(as_tuple=True)
        acts = x.hooks.acts[layer][positions, neurons].tolist()
        start = len(nodes)
        places = zip(positions.tolist(), neurons.tolist(), acts, strict=True)
        nodes += [NodeInfo(NodeType.LATENT, layer, pos, neuron, activation=act) for pos, neuron, act in places]
        ranges[layer] = (start, len(nodes))
        vectors, biases = x.hooks.reads(layer, positions, neurons)
        writes.append(x.hooks.writes(layer, positions, neurons))
        reads.append(vectors)
        constants.append(biases)
    embedding = build_embedding_nodes(x.model, x.cache, x.tokens)
    logit = build_logit_nodes(x.vectors, x.outputs, seq_len, d_model)
    graph = join_nodes(embedding, (nodes, torch.cat(writes), torch.cat(reads)), logit, ranges, x.outputs, start_posn)
    graph.reading_bias[seq_len : seq_len + len(nodes)] = torch.cat(constants).to(graph.reading_bias)
    return graph


def attribute_neurons(model: TransformerBridge, prompt: str, **arguments) -> AttributionResult:
    """Trace a prompt with the MLPs' neurons as latents. Result and errors are those of chapter 3's `attribute`.

    One backward pass ranks all neurons; the strongest become nodes. The rest stay in the linear map, as a transcoder's
    skip does, so that there are no error nodes and the edges add up whatever is kept. An edge is the effect along all
    paths that pass no other node.

    Args:
        model: any model of `TransformerBridge` whose MLPs have neurons, gated or not.
        prompt: the text.
        arguments: all others of chapter 3's `attribute` but `top_k`. `max_latent_nodes` is 300 if it is not given. Positions
            before `start_posn` are not ranked: in many models huge activations stand at the first ones.
    """
    check_neurons(model)
    given = TracingArguments(**arguments)
    if given.top_k is not None:
        raise ValueError("Neurons are chosen by attribution: give max_latent_nodes instead of top_k.")
    tokens = tokenize_prompt(model, prompt, given.position)
    prompt = prompt if given.position is None else text_of(model, tokens)
    start_posn = first_visible_position(model, tokens, given.start_posn)
    n_nodes = 300 if given.max_latent_nodes is None else given.max_latent_nodes

    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        x = linearise(model, tokens.clone(), given)
        ### BEGIN SOLUTION
        chosen = strongest_neurons(all_attributions(x), n_nodes, start_posn)
        x.hooks.nodes = {layer: mask for layer, mask in enumerate(chosen) if bool(mask.any())}
        graph = build_neuron_nodes(x, chosen, start_posn)
        ### END SOLUTION
        linear = (model, x.tokens, graph, x.freeze, x.hooks)
        run = setup_attribution(model, x.tokens, x.freeze, x.hooks)
        batches = prepare_backward_batches(graph, given.batch_size)
        adjacency = compute_adjacency_matrix(*linear, batches, run, given.progress)
        bias, values = compute_bias(*linear), read_targets(graph, run.reads)
        given.dictionary_name = given.dictionary_name or "neurons"
        return prune_and_pack(model, prompt, graph, adjacency, bias, values, given)
