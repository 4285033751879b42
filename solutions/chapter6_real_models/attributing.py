"""The attribution of all neurons at once: one run of the linear model and one backward pass a target."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import FreezeHooks, choose_outputs
from solutions.chapter6_real_models.linear import NeuronHooks, half_rule
from utils.engine.arguments import TracingArguments, evaluating, tokenize_prompt
from utils.engine.graph import at_least_float32
from utils.engine.hooks import EMBEDDING_HOOK, FINAL_HOOK, LAST_LOGITS, NO_LOGITS, hooked
from utils.engine.neurons import acts_hook, check_neurons, neuron_hook_names
from utils.engine.targets import OutputToken


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


class LinearPrompt(NamedTuple):
    """A prompt on which attention, norms and MLPs are held linear, and what it is traced from."""

    model: TransformerBridge
    tokens: Int[Tensor, "1 seq"]
    freeze: FreezeHooks
    cache: ActivationCache
    hooks: NeuronHooks
    vectors: Float[Tensor, "target d_model"]
    outputs: list[OutputToken]


def neuron_attributions(
    model: TransformerBridge, prompt: str, rule: Callable[..., tuple[Tensor, ...]] = half_rule, **arguments
) -> NeuronAttributions:
    """The attribution of every neuron at every position: one backward pass a target, whatever the number of neurons.

    Args:
        model: any model of `TransformerBridge` whose MLPs have neurons, gated or not.
        prompt: the text.
        rule: how MLPs are made linear.
        arguments: which targets: `target_tokens`, `n_output_nodes`, `position`, ... as in chapter 3's `attribute`.

    Raises:
        ValueError, TypeError: an argument is wrong, or the model has no such neurons.
    """
    check_neurons(model)
    given = TracingArguments(**arguments)
    tokens = tokenize_prompt(model, prompt, given.position)
    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        x = linearise(model, tokens.clone(), given, rule)
        with hooked(model, [NO_LOGITS]):
            return all_attributions(x)


def linearise(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    given: TracingArguments,
    rule: Callable[..., tuple[Tensor, ...]] = half_rule,
) -> LinearPrompt:
    """Freeze the model on a prompt, neurons included, and choose the targets."""
    freeze, found = FreezeHooks(model), {}

    def keep(value: Tensor, hook: HookPoint) -> None:
        found[hook.name] = value  # of the last run, which is that of the frozen model

    with hooked(model, [LAST_LOGITS, *((name, keep) for name in neuron_hook_names(model))]):
        cache = freeze.cache_frozen_values(tokens)
    cache = ActivationCache(cache.cache_dict | found | freeze.frozen_values, model)
    vectors, outputs = choose_outputs(model, freeze.logits, given)
    return LinearPrompt(model, tokens, freeze, cache, NeuronHooks(model, cache, rule), vectors, outputs)


def all_attributions(x: LinearPrompt) -> NeuronAttributions:
    """Activation times gradient of every neuron, from one run in which no neuron is a node.

    The run starts a gradient at the embedding and notes the live activations of all layers and the output of `ln_final`. Then
    one backward pass for each target begins there with the target's vector, at the last position, and ends at all of them.
    """
    live: dict[str, Tensor] = {}
    places = [acts_hook(layer) for layer in range(x.model.cfg.n_layers)]

    ### BEGIN SOLUTION
    def begin(residual, hook):
        live[hook.name] = residual.detach().requires_grad_()
        return live[hook.name]

    def note(found, hook):
        live[hook.name] = found

    hooks = [(EMBEDDING_HOOK, begin), *((name, note) for name in (*places, FINAL_HOOK))]
    with hooked(x.model, [*x.freeze.fwd_hooks, *x.hooks.fwd_hooks, *hooks]), torch.enable_grad():
        x.model(x.tokens)

    end, sources = live[FINAL_HOOK], [live[name] for name in (EMBEDDING_HOOK, *places)]
    embeddings, neurons = [], []
    for vector in x.vectors:
        start = torch.zeros_like(end)
        start[0, -1] = vector.to(end)
        at_embedding, *at_acts = torch.autograd.grad(end, sources, start, retain_graph=True)
        embeddings.append(at_least_float32(at_embedding * sources[0].detach())[0].sum(-1))
        neurons.append(torch.stack([at_least_float32(g[0]) * x.hooks.acts[layer] for layer, g in enumerate(at_acts)]))
    ### END SOLUTION
    return NeuronAttributions(
        torch.stack(neurons),
        torch.stack(embeddings),
        bias=x.vectors @ silent_output(x).to(x.vectors),
        values=x.vectors @ live[FINAL_HOOK][0, -1].detach().to(x.vectors),
        outputs=x.outputs,
        str_tokens=[x.model.tokenizer.decode([i]) for i in x.tokens[0].tolist()],
    )


def silent_output(x: LinearPrompt) -> Float[Tensor, " d_model"]:
    """The output of `ln_final` at the last position when no embedding writes."""
    found = []
    end = (FINAL_HOOK, lambda value, hook: found.append(value))
    with hooked(x.model, [*x.hooks.silent_hooks, *x.freeze.fwd_hooks, end, NO_LOGITS]):
        x.model(x.tokens)
    return found[0][0, -1]
