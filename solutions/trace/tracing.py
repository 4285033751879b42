"""A model and its dictionary, loaded once, that trace prompts as the command line asks."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from solutions.trace.asking import Question, ask
from utils.engine.chat import chat_prompt
from utils.engine.graph import AttributionResult
from utils.latents.examples import check_examples, describe_latents, dictionary_key, kept_latents, why_left_out
from utils.latents.labels import labels
from utils.models import dictionary_name, load, load_clt, load_model, register_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Arguments of `attribute` that the command line gives under the same name. What is None there keeps its default.
SETTINGS = (
    "top_k",
    "max_latent_nodes",
    "node_threshold",
    "edge_threshold",
    "keep_embeddings",
    "n_output_nodes",
    "probability_mass",
    "max_output_nodes",
    "start_posn",
    "position",
    "batch_size",
    "model_name",
    "dictionary_name",
)


class Tracer:
    """What the command's options about the model name, in memory.

    Attributes:
        arguments: the command line. `model` and `dictionary` are set.
        model: the model.
        dictionary: what it is traced with: transcoders, a cross-layer transcoder's weights, or None for neurons.
        transcoders: layer -> what has the latents' writing vectors as `W_dec`.
    """

    def __init__(self, arguments: Namespace):
        """Load.

        Raises:
            ValueError, OSError, MemoryError, ImportError: as `load` does, with one sentence.
        """
        self.arguments = arguments
        register(arguments)  # again, on a worker
        if self.kind != "neurons":
            check_examples(arguments.model, self.kind, arguments.examples)
        self.model, self.dictionary, self.transcoders = _load(arguments)

    @property
    def kind(self) -> str:
        """ "transcoders", "clt" or "neurons"."""
        return self.arguments.dictionary

    def trace(
        self, prompt: str, progress: Callable[[int, int], None] | None = None
    ) -> tuple[AttributionResult, Question]:
        """The graph of a prompt, by chapter 3's pipeline, by chapter 5's for a cross-layer transcoder, or that of neurons.

        Raises:
            ValueError, MemoryError: the prompt or an argument is wrong, or there is too little memory.
        """
        settings = {name: getattr(self.arguments, name) for name in SETTINGS}
        if self.arguments.chat:
            prompt, start_posn = chat_prompt(self.model, prompt)
            settings["start_posn"] = start_posn if settings["start_posn"] is None else settings["start_posn"]
        question = ask(self.model, self.arguments, prompt)
        settings = {name: value for name, value in settings.items() if value is not None}
        settings |= {"target_tokens": question.targets, "progress": progress}
        settings.setdefault("dictionary_name", dictionary_name(self.arguments.model, self.kind))
        if self.kind == "neurons":
            from solutions.chapter6_real_models import attribute_neurons

            return attribute_neurons(self.model, prompt, **settings), question
        if self.kind == "clt":
            from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder, attribute_cross_layer

            clt = CrossLayerTranscoder.from_weights(self.dictionary)
            return attribute_cross_layer(self.model, clt, prompt, **settings), question
        from solutions.chapter3_attribution_graphs import attribute

        return attribute(self.model, self.dictionary, prompt, **settings), question

    def describe(self, result: AttributionResult) -> dict[tuple[int, int], dict[str, Any]]:
        """What is known of the latents that pruning kept."""
        examples = "none" if self.kind == "neurons" else self.arguments.examples
        return describe_latents(
            self.arguments.model,
            self.model,
            self.transcoders,
            kept_latents(result),
            kind=self.kind,
            examples=examples,
        )


def names_of(arguments: Namespace) -> dict[tuple[int, int], str]:
    """Labels of latents, where there are any."""
    return {} if arguments.dictionary in (None, "neurons") else labels(arguments.model, arguments.dictionary)


def key_of(arguments: Namespace) -> str:
    """Which state of a dictionary that may change the latents are of."""
    return "" if arguments.dictionary in (None, "neurons") else dictionary_key(arguments.model, arguments.dictionary)


def left_out(arguments: Namespace) -> str:
    """One sentence if what latents fire on had to be left out."""
    if arguments.dictionary == "neurons" or arguments.examples == "none":
        return ""
    return why_left_out(arguments.model, arguments.dictionary)


def register(arguments: Namespace) -> None:
    """Make the model of ``--release`` known; its name stands in the place of the hub's from then on.

    Raises:
        ValueError: see `register_model`.
    """
    if arguments.release is not None:
        arguments.hub_id = getattr(arguments, "hub_id", None) or arguments.model
        arguments.model = register_model(arguments.hub_id, arguments.release, arguments.sae_id).name


def _load(arguments: Namespace) -> tuple[TransformerBridge, Any, Mapping[int, Any]]:
    name, place = arguments.model, {"device": arguments.device, "dtype": arguments.dtype}
    if arguments.dictionary == "neurons":
        from utils.engine.neurons import check_neurons, neuron_weights

        model = load_model(name, **place)
        check_neurons(model)
        return model, None, {layer: neuron_weights(model, layer) for layer in range(model.cfg.n_layers)}
    if arguments.dictionary == "clt":
        clt = load_clt(name, **place)
        model = load_model(
            name, **(place | {"dtype": clt.W_enc.dtype})
        )  # a large one is in bfloat16, and so must be its model
        return model, clt, clt.transcoders()
    model, transcoders = load(name, offload=arguments.offload, **place)
    if not transcoders:
        raise ValueError(f"There are no transcoders of {name}: leave out --dictionary, and its own neurons are traced.")
    return model, transcoders, transcoders
