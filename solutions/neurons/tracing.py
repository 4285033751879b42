"""Attribution graphs whose latents are MLP neurons: any model, no dictionary. Nodes and edges are those of chapter 3."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import (
    FreezeHooks,
    build_embedding_nodes,
    build_logit_nodes,
    choose_outputs,
    compute_adjacency_matrix,
    compute_bias,
    compute_values,
    join_nodes,
    prepare_backward_batches,
    prune_and_pack,
    setup_attribution,
)
from solutions.neurons.linear import NeuronHooks, acts_hook, check_neurons, neuron_hook_names
from utils.engine.arguments import TracingArguments, evaluating, first_visible_position, text_of, tokenize_prompt
from utils.engine.graph import AttributionResult, GraphNodes, NodeInfo, NodeType, at_least_float32
from utils.engine.hooks import EMBEDDING_HOOK, FINAL_HOOK, hooked
from utils.engine.targets import OutputToken

MAX_NEURON_NODES = 300


class NeuronAttributions(NamedTuple):
    """The total attribution of every neuron to some targets: along all paths, also through other neurons.

    The embeddings' attributions and the bias add up to the value. The neurons' do not: one lies behind another.

    Attributes:
        neurons: activation times gradient, in the target's own unit (logits).
        embeddings: what each position's embedding contributes.
        bias: what the model's constants contribute, computed on its own.
        values: what each target reads on this prompt.
        outputs: what the targets are, with weights and probabilities.
        str_tokens: the prompt's tokens.
    """

    neurons: Float[Tensor, "target layer seq d_mlp"]
    embeddings: Float[Tensor, "target seq"]
    bias: Float[Tensor, " target"]
    values: Float[Tensor, " target"]
    outputs: list[OutputToken]
    str_tokens: list[str]


class _LinearPrompt(NamedTuple):
    """A prompt on which attention, norms and MLPs are held linear, and what it is traced from."""

    model: TransformerBridge
    tokens: Int[Tensor, "1 seq"]
    freeze: FreezeHooks
    cache: ActivationCache
    hooks: NeuronHooks
    vectors: Float[Tensor, "target d_model"]
    outputs: list[OutputToken]


def neuron_attributions(model: TransformerBridge, prompt: str, **arguments) -> NeuronAttributions:
    """The attribution of every neuron at every position: one backward pass a target, whatever the number of neurons.

    Args:
        model: any model of `TransformerBridge` whose MLPs have neurons, gated or not.
        prompt: the text.
        arguments: which targets: `target_tokens`, `n_output_nodes`, `position`, ... as in chapter 3's `attribute`.

    Raises:
        ValueError, TypeError: an argument is wrong, or the model has no such neurons.
    """
    check_neurons(model)
    given = TracingArguments(**arguments)
    tokens = tokenize_prompt(model, prompt, given.position)
    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        return _all_attributions(_linearise(model, tokens.clone(), given))


def _linearise(model: TransformerBridge, tokens: Int[Tensor, "1 seq"], given: TracingArguments) -> _LinearPrompt:
    """Freeze the model on a prompt, neurons included, and choose the targets."""
    freeze, found = FreezeHooks(model), {}

    def keep(value: Tensor, hook: HookPoint) -> None:
        found[hook.name] = value  # of the last run, which is that of the frozen model

    with hooked(model, [(name, keep) for name in neuron_hook_names(model)]):
        cache = freeze.cache_frozen_values(tokens)
    cache = ActivationCache(cache.cache_dict | found | freeze.frozen_values, model)
    vectors, outputs = choose_outputs(model, freeze.logits, given)
    return _LinearPrompt(model, tokens, freeze, cache, NeuronHooks(model, cache), vectors, outputs)


def _all_attributions(x: _LinearPrompt) -> NeuronAttributions:
    """Gradients at all activations and at the embedding, from one run in which no neuron is a node."""
    live: dict[str, Tensor] = {}

    def start_here(embedding: Tensor, hook: HookPoint) -> Tensor:
        live[hook.name] = embedding.detach().requires_grad_()
        return live[hook.name]

    def capture(value: Tensor, hook: HookPoint) -> None:
        live[hook.name] = value

    layers = range(x.model.cfg.n_layers)
    places = [acts_hook(layer) for layer in layers]
    hooks = [(EMBEDDING_HOOK, start_here), *((name, capture) for name in (*places, FINAL_HOOK))]
    with torch.enable_grad(), hooked(x.model, [*x.freeze.fwd_hooks, *x.hooks.fwd_hooks, *hooks]):
        x.model(x.tokens)

    end, sources = live[FINAL_HOOK], [live[name] for name in (EMBEDDING_HOOK, *places)]
    embeddings, neurons = [], []
    for vector in x.vectors:
        start = torch.zeros_like(end)
        start[0, -1] = vector.to(end)
        at_embedding, *at_acts = torch.autograd.grad(end, sources, start, retain_graph=True)
        embeddings.append(at_least_float32(at_embedding * sources[0].detach())[0].sum(-1))
        neurons.append(torch.stack([at_least_float32(g[0]) * x.hooks.acts[layer] for layer, g in enumerate(at_acts)]))
    return NeuronAttributions(
        torch.stack(neurons),
        torch.stack(embeddings),
        bias=x.vectors @ _silent_output(x).to(x.vectors),
        values=x.vectors @ end[0, -1].detach().to(x.vectors),
        outputs=x.outputs,
        str_tokens=[x.model.tokenizer.decode([i]) for i in x.tokens[0].tolist()],
    )


def _silent_output(x: _LinearPrompt) -> Float[Tensor, " d_model"]:
    """The output of `ln_final` at the last position when no embedding writes."""
    found = []
    with hooked(
        x.model, [*x.freeze.fwd_hooks, *x.hooks.silent_hooks, (FINAL_HOOK, lambda value, hook: found.append(value))]
    ):
        x.model(x.tokens)
    return found[0][0, -1]


def strongest_neurons(
    attributions: NeuronAttributions, n_nodes: int, start_posn: int = 0
) -> Bool[Tensor, "layer seq d_mlp"]:
    """True for the neurons whose attribution is largest: absolute, weighted over the targets, from `start_posn` on.

    Fewer than `n_nodes` where not so many have any attribution.
    """
    weights = [output.weight for output in attributions.outputs]
    weights = torch.tensor(weights, dtype=attributions.neurons.dtype, device=attributions.neurons.device)
    scores = torch.einsum("t,tlpn->lpn", weights, attributions.neurons.abs())
    scores[:, :start_posn] = 0
    best = scores.flatten().topk(min(n_nodes, scores.numel()))
    chosen = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    chosen[best.indices[best.values > 0]] = True
    return chosen.reshape(scores.shape)


def build_neuron_nodes(x: _LinearPrompt, chosen: Bool[Tensor, "layer seq d_mlp"], start_posn: int) -> GraphNodes:
    """The nodes: embeddings, the chosen neurons of each layer by position, and logits. There are no errors."""
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
    n_nodes = MAX_NEURON_NODES if given.max_latent_nodes is None else given.max_latent_nodes

    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        x = _linearise(model, tokens.clone(), given)
        chosen = strongest_neurons(_all_attributions(x), n_nodes, start_posn)
        x.hooks.nodes = {layer: mask for layer, mask in enumerate(chosen) if bool(mask.any())}
        graph = build_neuron_nodes(x, chosen, start_posn)
        linear = (model, x.tokens, graph, x.freeze, x.hooks)
        run = setup_attribution(model, x.tokens, x.freeze, x.hooks)
        batches = prepare_backward_batches(graph, given.batch_size)
        adjacency = compute_adjacency_matrix(*linear, batches, run, given.progress)
        bias, values = compute_bias(*linear), compute_values(graph, run)
        given.dictionary_name = given.dictionary_name or "neurons"
        return prune_and_pack(model, prompt, graph, adjacency, bias, values, given)
