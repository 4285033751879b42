"""Attribution graphs without a dictionary: the latents are the MLPs' own neurons. Read `linear`, then `tracing`."""

from solutions.neurons.linear import NeuronHooks, check_neurons, neuron_weights
from solutions.neurons.tracing import NeuronAttributions, attribute_neurons, neuron_attributions

__all__ = [
    "NeuronAttributions",
    "NeuronHooks",
    "attribute_neurons",
    "check_neurons",
    "neuron_attributions",
    "neuron_weights",
]
