"""circuit-tracer's side of the benchmark. It runs in an environment of its own, so it imports nothing of this course.

    PYTHON solutions/benchmark/peer.py FOLDER PROMPT OUT REPEATS BATCH_SIZE

FOLDER has `model/` in Hugging Face form (Gemma or Gemma 3) and `transcoders/layer_{l}/` in SAELens' form, as `utils.models` reads
them. The weights are put into circuit-tracer's own classes. What was measured goes to OUT as JSON, the edges beside it.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from circuit_tracer.attribution.attribute import attribute
from circuit_tracer.graph import Graph, prune_graph
from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
from circuit_tracer.transcoder.activation_functions import JumpReLU
from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, TranscoderSet
from safetensors.torch import load_file, save_file
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions.gemma import convert_gemma_weights
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parent))
from peak import peak_mib, reset_peak  # noqa: E402

# behind the norm that Gemma 3 has after its MLPs
FEATURE_OUTPUT = "hook_mlp_out"


def peer_config(hf: dict) -> HookedTransformerConfig:
    """A TransformerLens configuration for a model given by its `config.json`."""
    is_gemma3 = hf["model_type"].startswith("gemma3")
    activation = hf.get("hidden_activation") or hf.get("hidden_act")
    n_layers, head_dim = hf["num_hidden_layers"], hf["head_dim"]
    fields = dict(
        d_model=hf["hidden_size"],
        d_head=head_dim,
        n_heads=hf["num_attention_heads"],
        d_mlp=hf["intermediate_size"],
        n_layers=n_layers,
        n_ctx=hf["max_position_embeddings"],
        eps=hf["rms_norm_eps"],
        d_vocab=hf["vocab_size"],
        act_fn=activation,
        normalization_type="RMS",
        rotary_base=1_000_000 if is_gemma3 else 10_000,
        rotary_dim=head_dim,
        positional_embedding_type="rotary",
        use_attn_scale=True,
        n_key_value_heads=hf["num_key_value_heads"],
        gated_mlp=True,
        final_rms=True,
        original_architecture=hf["architectures"][0],
        model_name="random",
        device="cpu",
        dtype=torch.float32,
    )
    if is_gemma3:
        kinds = {"sliding_attention": "local", "full_attention": "global"}
        fields |= dict(
            rotary_base_local=10_000,
            use_normalization_before_and_after=True,
            use_qk_norm=True,
            window_size=hf["sliding_window"],
            use_local_attn=True,
            attn_types=[kinds[kind] for kind in hf["layer_types"]],
        )
    return HookedTransformerConfig(**fields)


def read_transcoder(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of one of SAELens' transcoders."""
    return {name: tensor.float() for name, tensor in load_file(folder / "sae_weights.safetensors").items()}


def peer_transcoder(weights: dict[str, torch.Tensor], layer: int, width: int) -> SingleLayerTranscoder:
    """A transcoder in circuit-tracer's class: `W_enc` stands the other way round, and all layers have one width.

    Layers of fewer latents are filled up with latents that are never active.
    """
    d_model, n_latents = weights["W_enc"].shape
    dead = width - n_latents
    threshold = torch.nn.functional.pad(weights["threshold"], (0, dead), value=float("inf"))
    found = {
        "W_enc": torch.nn.functional.pad(weights["W_enc"].T, (0, 0, 0, dead)).contiguous(),
        "W_dec": torch.nn.functional.pad(weights["W_dec"], (0, 0, 0, dead)),
        "b_enc": torch.nn.functional.pad(weights["b_enc"], (0, dead)),
        "b_dec": weights["b_dec"],
        "activation_function.threshold": threshold,
    }
    has_skip = "W_skip" in weights
    if has_skip:
        found["W_skip"] = weights["W_skip"]
    with torch.device("meta"):
        transcoder = SingleLayerTranscoder(d_model, width, JumpReLU(threshold), layer, skip_connection=has_skip)
    transcoder.load_state_dict(found, assign=True)
    return transcoder


def load(folder: Path) -> TransformerLensReplacementModel:
    """The model and its transcoders in circuit-tracer's form."""
    config = json.loads((folder / "model" / "config.json").read_text())
    # the tokenizer's file alone: newer versions of transformers name classes that circuit-tracer's does not know
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "model" / "tokenizer.json"), bos_token="<bos>")
    hf_model = AutoModelForCausalLM.from_pretrained(folder / "model", torch_dtype=torch.float32)
    cfg = peer_config(config)
    model = TransformerLensReplacementModel(cfg)
    model.tokenizer = tokenizer
    keep = dict.fromkeys(
        ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices"),
        False,
    )
    with torch.no_grad():
        model.load_and_process_state_dict(convert_gemma_weights(hf_model, cfg), **keep)
    del hf_model
    layers = [read_transcoder(folder / "transcoders" / f"layer_{layer}") for layer in range(cfg.n_layers)]
    width = max(len(weights["b_enc"]) for weights in layers)
    transcoders = {layer: peer_transcoder(weights, layer, width) for layer, weights in enumerate(layers)}
    rotations = [(block.attn.rotary_sin, block.attn.rotary_cos) for block in model.blocks]
    model._configure_replacement_model(TranscoderSet(transcoders, "mlp.hook_in", FEATURE_OUTPUT))
    # 0.5.0 gives all layers the last one's rotary embedding; Gemma 3's local layers have another
    for block, (sin, cos) in zip(model.blocks, rotations):
        block.attn.rotary_sin, block.attn.rotary_cos = sin, cos
    return model


def edges(graph: Graph) -> dict[str, torch.Tensor]:
    """The matrix, and for each node (kind, layer, position, number): 0 embedding, 1 latent, 2 error, 3 logit."""
    n_pos, n_layers = len(graph.input_tokens), graph.cfg.n_layers
    rows = [(1, *place) for place in graph.active_features[graph.selected_features].tolist()]
    rows += [(2, layer, position, 0) for layer in range(n_layers) for position in range(n_pos)]
    rows += [(0, 0, position, token) for position, token in enumerate(graph.input_tokens.flatten().tolist())]
    rows += [(3, 0, n_pos - 1, token) for token in graph.logit_token_ids.tolist()]
    return {"matrix": graph.adjacency_matrix, "nodes": torch.tensor(rows)}


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(version("circuit-tracer"))
        return
    folder, prompt, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    repeats, batch_size = int(sys.argv[4]), int(sys.argv[5])
    model = load(folder)
    tokens = model.tokenizer(prompt, return_tensors="pt").input_ids[0]
    if tokens[0] != model.tokenizer.bos_token_id:
        tokens = torch.cat([torch.tensor([model.tokenizer.bos_token_id]), tokens])
    attribute(tokens[:3], model, batch_size=batch_size)  # whatever is loaded late is loaded now
    reset_peak()
    wall, cpu = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        graph = attribute(tokens, model, batch_size=batch_size)
        prune_graph(graph, 0.8, 0.85)
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    measured = {"wall": wall, "cpu": cpu, "peak_mib": peak_mib(), "nodes": len(graph.adjacency_matrix)}
    save_file({name: tensor.contiguous() for name, tensor in edges(graph).items()}, out.with_suffix(".safetensors"))
    out.write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
