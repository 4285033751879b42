"""Chapter 6: a real language model without a dictionary; the latents are the MLPs' own neurons.

Read `linear`, `attributing`, `removing`, `tracing`, `reading`, `exchanging`, `patching`, `massive`, `comparing`, in this order."""

from solutions.chapter6_real_models.attributing import (
    LinearPrompt,
    NeuronAttributions,
    all_attributions,
    linearise,
    neuron_attributions,
)
from solutions.chapter6_real_models.comparing import (
    Agreement,
    agreement,
)
from solutions.chapter6_real_models.exchanging import (
    PromptRuns,
    alike_in_change,
    choose_by_change,
    exchange_neurons,
    run_prompts,
)
from solutions.chapter6_real_models.linear import (
    NeuronHooks,
    a_lin,
    frozen_gate,
    half_rule,
    plain_gradient,
    reading_vectors,
    secant,
    tangent,
)
from solutions.chapter6_real_models.massive import (
    massive_positions,
)
from solutions.chapter6_real_models.patching import (
    patch_states,
    state_hook,
    states_at,
)
from solutions.chapter6_real_models.reading import (
    Firing,
    Sentences,
    centred_logit_lens,
    detection_score,
    encode_sentences,
    neuron_on_sentences,
    top_firings,
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
    "Agreement",
    "Firing",
    "LinearPrompt",
    "NeuronAttributions",
    "NeuronHooks",
    "PromptRuns",
    "Sentences",
    "agreement",
    "a_lin",
    "alike_at_random",
    "alike_in_change",
    "all_attributions",
    "attribute_neurons",
    "build_neuron_nodes",
    "centred_logit_lens",
    "choose_by_change",
    "detection_score",
    "encode_sentences",
    "exchange_neurons",
    "frozen_gate",
    "gradient_attributions",
    "half_rule",
    "linearise",
    "massive_positions",
    "neuron_attributions",
    "neuron_on_sentences",
    "patch_states",
    "plain_gradient",
    "reading_vectors",
    "removal_curve",
    "run_prompts",
    "secant",
    "set_neurons",
    "state_hook",
    "states_at",
    "strongest_first",
    "strongest_neurons",
    "tangent",
    "top_firings",
    "written_lengths",
]
