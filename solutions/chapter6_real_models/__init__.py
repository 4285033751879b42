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
    NeuronWeights,
    check_neurons,
    neuron_weights,
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
    "NeuronWeights",
    "all_attributions",
    "attribute_neurons",
    "build_neuron_nodes",
    "check_neurons",
    "linearise",
    "neuron_attributions",
    "neuron_weights",
    "strongest_neurons",
]
