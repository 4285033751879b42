"""One door to every model of the course: a TransformerBridge and its transcoders, ready to be traced.

    from utils.models import load
    model, transcoders = load("atlas")  # bundled, no network
    model, transcoders = load("gemma-3-270m-it")  # Hugging Face hub, HF_TOKEN from .env
    model, _ = load("smollm2-135m")  # a real language model; it has no dictionary, its own neurons are traced
    saes = load_saes("atlas")  # sparse autoencoders on the residual stream, for chapter 1
    clt = load_clt("atlas")  # a cross-layer transcoder, for chapter 5
    register_model("Qwen/Qwen3-14B", "mwhanna-qwen3-14b-transcoders", "layer_{layer}")  # any other of SAELens' releases
    model = load_model("my-folder")  # a model alone, in Hugging Face form, for graphs of its neurons

Whatever the model, what `load` gives has the same form and conventions (`d` = d_model, `F` = latents a layer; a model without a
dictionary comes with no transcoders):

- `transcoders[l].cfg.metadata.hook_name` is `blocks.l.mlp.hook_in` (`x`, **after** ln2) and `.hook_name_out` is
  `blocks.l.hook_mlp_out` (`y`, what the MLP adds to the residual stream). On models with a norm after the MLP, such as
  Gemma 3, the bridge makes `hook_mlp_out` another name of `ln2_post.hook_out`, so that one name is right for all.
- `W_enc` is (d, F), `W_dec` (F, d), and `W_skip`, where there is one, (d_out, d_in): the skip adds `x @ W_skip.T`.
  GemmaScope's files hold it the other way round, as (d_in, d_out); SAELens turns it while loading.
- `encode(x)` gives the activations, `decode(a)` is `a @ W_dec + b_dec` **without** the skip, calling it adds the skip.
- `cfg.metadata.dictionary` names the dictionary, for results that must say which one was used.
- Nothing is folded into the weights, everything is in eval mode, no parameter requires a gradient.
"""

from utils.models.layers import LoadedModel
from utils.models.loading import load, load_clt, load_model, load_saes, require
from utils.models.registry import MODELS, ModelSpec, default_dictionary, dictionary_name, has_clt, register_model

__all__ = [
    "MODELS",
    "LoadedModel",
    "ModelSpec",
    "default_dictionary",
    "dictionary_name",
    "has_clt",
    "load",
    "load_clt",
    "load_model",
    "load_saes",
    "register_model",
    "require",
]
