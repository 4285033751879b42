"""Chapter 6: a real language model without a dictionary; the latents are the MLPs' own neurons.

Read `linear`, `attributing`, `removing`, `tracing`, in this order."""

from solutions.chapter6_real_models.attributing import (
    LinearPrompt,
    NeuronAttributions,
    all_attributions,
    linearise,
    neuron_attributions,
)
from solutions.chapter6_real_models.linear import (
    NeuronHooks,
    frozen_gate,
    half_rule,
    plain_gradient,
    reading_vectors,
    secant,
    tangent,
)
from solutions.chapter6_real_models.removing import (
    alike_at_random,
    gradient_attributions,
    removal_curve,
    set_neurons,
    strongest_first,
    written_lengths,
)
from solutions.chapter6_real_models.tracing import (
    attribute_neurons,
    build_neuron_nodes,
    strongest_neurons,
)

__all__ = [
    "LinearPrompt",
    "NeuronAttributions",
    "NeuronHooks",
    "alike_at_random",
    "all_attributions",
    "attribute_neurons",
    "build_neuron_nodes",
    "frozen_gate",
    "gradient_attributions",
    "half_rule",
    "linearise",
    "neuron_attributions",
    "plain_gradient",
    "reading_vectors",
    "removal_curve",
    "secant",
    "set_neurons",
    "strongest_first",
    "strongest_neurons",
    "tangent",
    "written_lengths",
]
