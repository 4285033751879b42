"""Mistakes that students make in chapter 3, each with the sentence that they should read."""

from utils.grading import Mistake

FROZEN_NAMES = 'name.endswith(("hook_pattern", "hook_scale"))'
REPEATED = "frozen.repeat(copies, *[1] * (frozen.ndim - 1))"

FREEZE_HOOKS = [
    Mistake(
        "nothing",
        "You freeze nothing: `frozen_values` stays empty. Fill it with the values that your run has put into the cache.",
        [("self.frozen_values = dict(cache.items())", "self.frozen_values = {}")],
    ),
    Mistake(
        "patterns_only",
        "You freeze the attention patterns but no norm: dividing by a scale that depends on the input is not linear either.",
        [(FROZEN_NAMES, 'name.endswith("hook_pattern")')],
    ),
    Mistake(
        "scales_only",
        "You freeze the norms but not the attention patterns: where the heads look would still depend on the input.",
        [(FROZEN_NAMES, 'name.endswith("hook_scale")')],
    ),
    Mistake(
        "first_block_only",
        "You freeze block 0 and nothing else: patterns and scales must be frozen in every block, and in the final norm.",
        [(FROZEN_NAMES, f'name.startswith("blocks.0.") and {FROZEN_NAMES}')],
    ),
    Mistake(
        "no_final_norm",
        "You freeze the blocks but not the final norm: its hook `ln_final.hook_scale` is not inside a block.",
        [(FROZEN_NAMES, f'name.startswith("blocks.") and {FROZEN_NAMES}')],
    ),
    Mistake(
        "norms_by_name",
        "You freeze ln1, ln2 and ln_final but miss norms that some models have besides: of queries and keys (q_norm, k_norm), "
        "and behind attention and MLP. Choose hooks by how their names end.",
        [
            (
                FROZEN_NAMES,
                'name.endswith(("hook_pattern", "ln1.hook_scale", "ln2.hook_scale", "ln_final.hook_scale"))',
            )
        ],
    ),
    Mistake(
        "scores",
        "You freeze the attention scores, before the softmax. Freeze the pattern, after it: `hook_pattern`.",
        [(FROZEN_NAMES, 'name.endswith(("hook_attn_scores", "hook_scale"))')],
    ),
    Mistake(
        "normalized",
        "You freeze the norms' output, so that nothing that happens before a norm can reach what is behind it. Freeze only "
        "the number that a norm divides by: `hook_scale`.",
        [(FROZEN_NAMES, 'name.endswith(("hook_pattern", "hook_normalized"))')],
    ),
    Mistake(
        "mlps_too",
        "You freeze the MLPs' outputs too. They are left to `TranscoderReplacementHooks`; here only patterns and scales are frozen.",
        [(FROZEN_NAMES, 'name.endswith(("hook_pattern", "hook_scale", "mlp.hook_out"))')],
    ),
    Mistake(
        "the_cache_itself",
        "`frozen_values` must be a dict; you keep the cache itself: `dict(cache.items())`.",
        [("self.frozen_values = dict(cache.items())", "self.frozen_values = cache")],
    ),
    Mistake(
        "no_logits",
        "You throw the logits of the first run away: `self.logits` is needed later, to choose the output tokens.",
        [("self.logits, cache = self.model.run_with_cache(", "_, cache = self.model.run_with_cache(")],
    ),
    Mistake(
        "live_value",
        "Your hook returns the live value, so nothing is frozen: return the value from `self.frozen_values`.",
        [(REPEATED, "value")],
    ),
    Mistake(
        "not_repeated",
        "Your hook returns the frozen value of one prompt even if the batch has several: repeat it along dimension 0.",
        [(REPEATED, "frozen")],
    ),
    Mistake(
        "interleaved",
        "You repeat each frozen prompt on its own (1, 1, 2, 2). The batch holds whole copies one after the other (1, 2, 1, 2): "
        "`repeat`, not `repeat_interleave`.",
        [(REPEATED, "frozen.repeat_interleave(copies, dim=0)")],
    ),
    Mistake(
        "first_prompt",
        "You give every prompt of the batch the values of the first one: repeat all frozen prompts.",
        [(REPEATED, "frozen[:1].expand_as(value)")],
    ),
]

SKIP = "return torch.zeros_like(x) if W_skip is None else x @ W_skip.T"
TRICK = "return skip + (mlp_out - skip).detach()"
REPLACED = 'return replace(layer, live.pop("x"), mlp_out)'

TRANSCODER_REPLACEMENT_HOOKS = [
    Mistake(
        "W_skip_not_transposed",
        "You multiply by `W_skip` the wrong way round: it is stored as (d_out, d_in), so the skip is `x @ W_skip.T`.",
        [(SKIP, "return torch.zeros_like(x) if W_skip is None else x @ W_skip")],
    ),
    Mistake(
        "identity_without_skip",
        "You return the input where a transcoder has no skip: then nothing passes, return zeros.",
        [(SKIP, "return x if W_skip is None else x @ W_skip.T")],
    ),
    Mistake(
        "always_a_skip",
        "You do not provide for a transcoder without a skip: there `W_skip` is None, and the skip is zeros.",
        [(SKIP, "return x @ W_skip.T")],
    ),
    Mistake(
        "cached_input",
        "You take the MLP's input from the cache. Cached tensors are detached, so no gradient reaches the skip: remember the "
        "live tensor of this run.",
        [(REPLACED, "return replace(layer, self.cache[reading_hook(layer)], mlp_out)")],
    ),
    Mistake(
        "detached_input",
        "You detach the MLP's input when you remember it, so no gradient gets back through the skip.",
        [('live["x"] = x', 'live["x"] = x.detach()')],
    ),
    Mistake(
        "halves_swapped",
        "You have the two halves the wrong way round: the value must be the MLP's and the gradient the skip's, so it is "
        "`mlp_out - skip` that is detached.",
        [(TRICK, "return mlp_out + (skip - mlp_out).detach()")],
    ),
    Mistake(
        "skip_alone",
        "You replace the MLP's output by the skip also in the forward pass: the values must stay those of the MLP.",
        [(TRICK, "return skip")],
    ),
    Mistake(
        "both_gradients",
        "You let the gradient pass the MLP itself as well as the skip: detach `mlp_out`.",
        [(TRICK, "return mlp_out + skip - skip.detach()")],
    ),
    Mistake(
        "reconstruction_forward",
        "Your forward values are the transcoder's reconstruction. They must be the original MLP's; what the transcoder misses "
        "is in the error nodes.",
        [(TRICK, "return skip + (self.transcoder_output[layer] - skip).detach()")],
    ),
    Mistake(
        "no_gradient",
        "You cut the gradient off altogether: `mlp_out.detach()` has no way back. Add the skip, which is alive.",
        [(TRICK, "return mlp_out.detach()")],
    ),
    Mistake(
        "untouched",
        "You return `mlp_out` as it is, so the gradient passes the real MLP, which is not linear.",
        [(TRICK, "return mlp_out")],
    ),
    Mistake(
        "before_ln2",
        "You remember what comes into ln2. The transcoder, and so its skip, reads what comes out of it: `reading_hook(layer)`.",
        [("[(reading_hook(layer), remember)", '[(f"blocks.{layer}.ln2.hook_in", remember)')],
    ),
    Mistake(
        "before_the_norm_behind",
        "You substitute right at the MLP. On models with a norm behind it, what reaches the residual stream comes later: "
        "`mlp_out_hook(layer)`.",
        [("(mlp_out_hook(layer), substitute)", '(f"blocks.{layer}.mlp.hook_out", substitute)')],
    ),
]

PROBS = "probs = logits[0, -1].detach().float().softmax(dim=-1)"
DEMEANED = "reading_vecs = W_U[:, ids].T - W_U.mean(dim=-1)"

COMPUTE_SALIENT_LOGITS = [
    Mistake(
        "not_demeaned",
        "You do not subtract the mean column of `W_U`: what raises all logits alike would count as a reason for every token.",
        [(DEMEANED, "reading_vecs = W_U[:, ids].T")],
    ),
    Mistake(
        "mean_of_chosen",
        "You subtract the mean of the chosen columns only: the mean is over the whole vocabulary.",
        [(DEMEANED, "reading_vecs = W_U[:, ids].T - W_U[:, ids].mean(dim=-1)")],
    ),
    Mistake(
        "mean_over_dimensions",
        "You subtract from each column its own mean over d_model: subtract the mean column, over the vocabulary (dim=-1).",
        [(DEMEANED, "reading_vecs = (W_U - W_U.mean(dim=0))[:, ids].T")],
    ),
    Mistake(
        "first_position",
        "You look at the first position: the next token is predicted at the last one.",
        [("logits[0, -1]", "logits[0, 0]")],
    ),
    Mistake(
        "last_prompt",
        "You look at the last prompt of the batch: the first one counts.",
        [("logits[0, -1]", "logits[-1, -1]")],
    ),
    Mistake(
        "no_softmax",
        "You give logits as probabilities: take the softmax over the vocabulary.",
        [(".softmax(dim=-1)", "")],
    ),
    Mistake(
        "half_precision",
        "You take the softmax in the dtype of the logits: in half precision a probability has three digits. Bring the logits to "
        "float32 first.",
        [("logits[0, -1].detach().float()", "logits[0, -1].detach()")],
    ),
    Mistake(
        "one_too_many",
        "You take one token more than needed where the probabilities add up to the mass exactly: count those below it with `<`, "
        "not `<=`.",
        [("top.values.cumsum(0) <", "top.values.cumsum(0) <=")],
    ),
    Mistake(
        "one_too_few",
        "Your set ends one token too early: the token that reaches the probability mass still belongs to it.",
        [("top.indices[: n_below + 1]", "top.indices[: max(n_below, 1)]")],
    ),
    Mistake(
        "no_cap",
        "You ignore `max_output_nodes`: it limits the set also if the probability mass is not reached.",
        [("probs.topk(min(max_output_nodes, len(probs)))", "probs.topk(len(probs))")],
    ),
    Mistake(
        "no_mass",
        "You ignore `probability_mass` and always take `max_output_nodes` tokens.",
        [("top.indices[: n_below + 1]", "top.indices")],
    ),
    Mistake(
        "share_of_chosen",
        "You measure the probability mass against the top tokens' own sum: it is a share of all probability.",
        [("top.values.cumsum(0)", "(top.values / top.values.sum()).cumsum(0)")],
    ),
    Mistake(
        "renormalised",
        "You rescale the probabilities of the chosen tokens so that they add up to 1: give them as the model has them.",
        [(DEMEANED, DEMEANED + "\n    probs = probs / probs[ids].sum()")],
    ),
    Mistake(
        "sorted_ids",
        "You sort `token_ids`: keep the order in which they are given.",
        [("list(dict.fromkeys(token_ids))", "sorted(set(token_ids))")],
    ),
    Mistake(
        "repeated_ids",
        "You keep a token twice if `token_ids` names it twice.",
        [("list(dict.fromkeys(token_ids))", "list(token_ids)")],
    ),
]

EMBEDDINGS = "at_least_float32(cache[EMBEDDING_HOOK][0])"

BUILD_EMBEDDING_NODES = [
    Mistake(
        "rows_of_W_E",
        "You take the rows of `W_E`. What the first block gets can be more: Gemma scales them, GPT-2 adds the position. It is in "
        "`cache[EMBEDDING_HOOK]`.",
        [(EMBEDDINGS, "at_least_float32(model.W_E.detach()[tokens[0]])")],
    ),
    Mistake(
        "after_the_block",
        "You take the residual stream after the first block; embeddings write before it.",
        [(EMBEDDINGS, 'at_least_float32(cache["blocks.0.hook_out"][0])')],
    ),
    Mistake(
        "embeddings_read",
        "You give embeddings a reading vector: they read nothing, so it is zeros.",
        [("torch.zeros_like(writing_vecs)", "writing_vecs")],
    ),
    Mistake(
        "half_precision",
        "You keep the vectors in half precision: bring them to at least float32 (`at_least_float32`).",
        [(EMBEDDINGS, "cache[EMBEDDING_HOOK][0]")],
    ),
    Mistake(
        "position_as_feature",
        "You give the position as `feature`; for an embedding it is the token's id.",
        [("feature=token,", "feature=pos,")],
    ),
    Mistake(
        "layer_zero",
        'You put the embeddings into layer 0: their layer is "E".',
        [('layer="E"', "layer=0")],
    ),
    Mistake(
        "no_first_position",
        "You leave the first position out. Also a beginning-of-sequence token has an embedding, and it is a source.",
        [
            ("enumerate(tokens[0].tolist())", "list(enumerate(tokens[0].tolist()))[1:]"),
            (EMBEDDINGS, "at_least_float32(cache[EMBEDDING_HOOK][0, 1:])"),
        ],
    ),
    Mistake(
        "with_the_batch",
        "You keep the batch dimension: the vectors are (seq, d_model).",
        [(EMBEDDINGS, "at_least_float32(cache[EMBEDDING_HOOK])")],
    ),
]

WRITES = "writes = kept_acts[:, None] * W_dec[latents]"
READS = "reads = W_enc.T[latents]"
ERRORS = "errors = (y - tc_hooks.linear_part(layer, x)).index_add(0, positions, -writes)"

BUILD_INTERMEDIATE_NODES = [
    Mistake(
        "skip_counted_twice",
        "Your error still contains the skip: `decode` leaves it out, and the gradient already passes through it. Subtract skip, "
        "bias and kept latents.",
        [(ERRORS, "errors = (y - transcoder.b_dec.detach().to(x)).index_add(0, positions, -writes)")],
    ),
    Mistake(
        "decoded",
        "You subtract `decode(acts)`: that leaves the skip in the error, and takes away also the latents that `top_k` left out.",
        [(ERRORS, "errors = y - transcoder.decode(acts).detach()")],
    ),
    Mistake(
        "left_out_latents",
        "You subtract all active latents. Those that `top_k` leaves out have no node, so what they write belongs in the error.",
        [(ERRORS, "errors = y - tc_hooks.linear_part(layer, x) - acts @ W_dec")],
    ),
    Mistake(
        "bias_in_the_error",
        "Your error contains `b_dec`. The bias is a constant of its own: subtract it (`linear_part` has skip and bias).",
        [(ERRORS, "errors = (y - tc_hooks.skip(layer, x)).index_add(0, positions, -writes)")],
    ),
    Mistake(
        "skip_and_bias_in_the_error",
        "Your error contains the skip and `b_dec`: subtract `tc_hooks.linear_part(layer, x)`.",
        [(ERRORS, "errors = y.index_add(0, positions, -writes)")],
    ),
    Mistake(
        "latents_in_the_error",
        "You do not subtract what the kept latents write from the error: it would be counted twice.",
        [(ERRORS, "errors = y - tc_hooks.linear_part(layer, x)")],
    ),
    Mistake(
        "no_errors",
        "Your errors are zeros: what latents, skip and bias leave out of the MLP's output must be in them.",
        [(ERRORS, "errors = torch.zeros_like(y)")],
    ),
    Mistake(
        "last_latent_wins",
        "You subtract only one latent a position: `errors[positions] -= writes` does not add up where a position occurs several "
        "times. Use `index_add`.",
        [(ERRORS, "errors = y - tc_hooks.linear_part(layer, x)\n        errors[positions] -= writes")],
    ),
    Mistake(
        "without_activation",
        "Your latents write their row of `W_dec` alone: multiply it by the activation.",
        [(WRITES, "writes = W_dec[latents]")],
    ),
    Mistake(
        "read_with_activation",
        "You multiply reading vectors by the activation: a latent reads with its column of `W_enc` as it is.",
        [(READS, "reads = kept_acts[:, None] * W_enc.T[latents]")],
    ),
    Mistake(
        "read_with_decoder",
        "You read with `W_dec`: a latent reads with its column of `W_enc` and writes with its row of `W_dec`.",
        [(READS, "reads = W_dec[latents]")],
    ),
    Mistake(
        "write_with_encoder",
        "You write with `W_enc`: a latent reads with its column of `W_enc` and writes with its row of `W_dec`.",
        [(WRITES, "writes = kept_acts[:, None] * W_enc.T[latents]")],
    ),
]

BUILD_LOGIT_NODES = [
    Mistake(
        "first_position",
        "You put the logits at position 0: they belong to the last position, where the next token is predicted.",
        [("seq_len - 1", "0")],
    ),
    Mistake(
        "next_position",
        "You put the logits at position `seq_len`, which the prompt does not have: the last one is `seq_len - 1`.",
        [("seq_len - 1", "seq_len")],
    ),
    Mistake(
        "no_probability",
        "You leave `token_prob` out: pruning weighs the logits by it.",
        [("token_prob=token.prob, ", "")],
    ),
    Mistake(
        "rank_as_feature",
        "You give the rank of the token as `feature`: it is the token's id.",
        [
            ("seq_len - 1, token.token_id", "seq_len - 1, rank"),
            ("for token in top_token_info", "for rank, token in enumerate(top_token_info)"),
        ],
    ),
    Mistake(
        "number_as_layer",
        'You give the logits the layer -1: it is "L".',
        [('NodeType.LOGIT, "L"', "NodeType.LOGIT, -1")],
    ),
    Mistake(
        "logits_write",
        "You give the logits a writing vector: they write nothing, so it is zeros.",
        [("reading_vecs_logit.new_zeros(len(nodes), d_model)", "reading_vecs_logit")],
    ),
    Mistake(
        "unit_reading",
        "You scale the reading vectors to length 1: then they no longer read the logit.",
        [
            (
                "d_model), reading_vecs_logit",
                "d_model), reading_vecs_logit / reading_vecs_logit.norm(dim=-1, keepdim=True)",
            )
        ],
    ),
    Mistake(
        "a_vector_a_position",
        "You make as many writing vectors as there are positions: there is one for each output token.",
        [("new_zeros(len(nodes), d_model)", "new_zeros(seq_len, d_model)")],
    ),
]

RUN = "with torch.enable_grad(), hooked(model, hooks):\n        model(tokens)"
START = 'writes["E"] = embedding.detach().requires_grad_()'

SETUP_ATTRIBUTION = [
    Mistake(
        "read_before_ln2",
        "Your edges will ignore ln2: latents read at `reading_hook(layer)`, the MLP's input, after ln2 with its scale and weight.",
        [("{reading_hook(layer): (reads, layer)", '{f"blocks.{layer}.ln2.hook_in": (reads, layer)')],
    ),
    Mistake(
        "read_before_ln_final",
        "Your logits will ignore ln_final: they read at its output, `FINAL_HOOK`, not the residual stream before it.",
        [("{FINAL_HOOK:", '{"ln_final.hook_in":')],
    ),
    Mistake(
        "write_before_the_mlp",
        "You record the residual stream before the MLP; latents and errors write behind it, at `writing_hook(layer)`.",
        [("{writing_hook(layer): (writes, layer)", '{f"blocks.{layer}.ln2.hook_in": (writes, layer)')],
    ),
    Mistake(
        "not_frozen",
        "You leave out the hooks of `freeze`, so gradients also pass through attention patterns and scales.",
        [("        *freeze.fwd_hooks,\n", "")],
    ),
    Mistake(
        "real_mlps",
        "You leave out the hooks of `tc_hooks`, so gradients pass through the real MLPs, which are not linear.",
        [("        *tc_hooks.fwd_hooks,\n", "")],
    ),
    Mistake(
        "grad_mode_as_found",
        "You run the model in whatever gradient mode the caller has: under `torch.no_grad()` nothing is recorded. Use "
        "`with torch.enable_grad():`.",
        [("with torch.enable_grad(), hooked(", "with hooked(")],
    ),
    Mistake(
        "grad_mode_leaks",
        "You switch gradients on and leave them on: use `with torch.enable_grad():`, which puts the mode back.",
        [("with torch.enable_grad(), hooked(", "torch.set_grad_enabled(True)\n    with hooked(")],
    ),
    Mistake(
        "hooks_stay",
        "You leave your hooks on the model, where they change every later run: add them by `with hooked(model, ...):`.",
        [
            (
                RUN,
                "for name, function in hooks:\n"
                "        model.hook_dict[name].add_hook(function)\n"
                "    with torch.enable_grad():\n"
                "        model(tokens)",
            )
        ],
    ),
    Mistake(
        "hooks_stay_after_failure",
        "Your hooks stay on the model if the run fails: remove them in any case, as `with hooked(model, ...):` does.",
        [
            (
                RUN,
                "for name, function in hooks:\n"
                "        model.hook_dict[name].add_hook(function)\n"
                "    with torch.enable_grad():\n"
                "        model(tokens)\n"
                "    for name, _ in hooks:\n"
                "        model.hook_dict[name].remove_hooks()",
            )
        ],
    ),
    Mistake(
        "weights_switched_off",
        "You switch `requires_grad` off for the model's weights and leave it off: the gradient stops at the embedding anyway.",
        [("with torch.enable_grad()", "model.requires_grad_(False)\n    with torch.enable_grad()")],
    ),
    Mistake(
        "recorded_values_only",
        "You detach what you record: without its history no gradient can be walked back.",
        [("kept[key] = value", "kept[key] = value.detach()")],
    ),
    Mistake(
        "copies_recorded",
        "You record a copy: keep the very tensor that the model goes on with.",
        [("kept[key] = value", "kept[key] = value.clone()")],
    ),
    Mistake(
        "not_detached",
        "You do not detach the embedding: if the weights ask for gradients, the walk goes on into them. Go on with a detached "
        "copy that asks for a gradient.",
        [(START, 'writes["E"] = embedding.requires_grad_()')],
    ),
    Mistake(
        "embedding_as_it_is",
        "You keep the embedding as it is: the gradient goes on into the weights, or does not start at all if they ask for "
        "none. Go on with a detached copy that asks for a gradient.",
        [(START, 'writes["E"] = embedding')],
    ),
    Mistake(
        "copy_not_used",
        "You keep a copy of the embedding but the model goes on with the original: return the copy from your hook.",
        [('return writes["E"]', "return None")],
    ),
]

TARGETS = "n_targets = sum(node.node_type in (NodeType.LATENT, NodeType.LOGIT) for node in graph.nodes[start:stop])"

PREPARE_BACKWARD_BATCHES = [
    Mistake(
        "across_layers",
        "Your batches mix layers: the targets of a batch must all read at the same place.",
        source="""
def prepare_backward_batches(graph, batch_size=128):
    targets = [i for i, node in enumerate(graph.nodes) if node.node_type in (NodeType.LATENT, NodeType.LOGIT)]
    batches = []
    for first in range(0, len(targets), batch_size):
        chosen = targets[first : first + batch_size]
        nodes = [graph.nodes[i] for i in chosen]
        positions = torch.tensor([node.ctx_idx for node in nodes])
        layers = [node.layer for node in nodes]
        batches.append(BackwardBatch(chosen[0], nodes, graph.reading_vecs[chosen], positions, layers))
    return batches
""",
    ),
    Mistake(
        "errors_too",
        "You make targets of the errors: they read nothing. In a layer the latents come first; stop before its errors.",
        [
            (
                TARGETS,
                'n_targets = (stop - start) * (layer != "E")',
            )
        ],
    ),
    Mistake(
        "embeddings_too",
        "You make targets of the embeddings: they read nothing.",
        [("(NodeType.LATENT, NodeType.LOGIT)", "(NodeType.EMBEDDING, NodeType.LATENT, NodeType.LOGIT)")],
    ),
    Mistake(
        "no_logits",
        "You leave the logits out: they read too, and all influence begins with them.",
        [("(NodeType.LATENT, NodeType.LOGIT)", "(NodeType.LATENT,)")],
    ),
    Mistake(
        "full_batches_only",
        "You drop the last batch of a layer if it is not full.",
        [
            (
                "range(start, start + n_targets, batch_size)",
                "range(start, start + n_targets - n_targets % batch_size, batch_size)",
            )
        ],
    ),
    Mistake(
        "one_batch_a_layer",
        "You ignore `batch_size`: a layer with many latents needs several batches.",
        [("range(start, start + n_targets, batch_size)", "range(start, start + n_targets, n_targets or 1)")]
        + [("min(first + batch_size, start + n_targets)", "start + n_targets")],
    ),
    Mistake(
        "empty_batches",
        "You make an empty batch for a layer without latents: it gives none.",
        [
            (
                "range(start, start + n_targets, batch_size)",
                'range(start, start + max(n_targets, layer != "E"), batch_size)',
            )
        ],
    ),
    Mistake(
        "local_index",
        "You count `global_start_idx` from the beginning of the layer: count from the beginning of the graph.",
        [("BackwardBatch(first, targets", "BackwardBatch(first - start, targets")],
    ),
    Mistake(
        "index_as_position",
        "You give the nodes' indices as positions: a position is a place in the prompt, `ctx_idx`.",
        [("[target.ctx_idx for target in targets]", "list(range(first, last))")],
    ),
    Mistake(
        "list_of_positions",
        "You give `positions` as a list: it must be a tensor.",
        [
            (
                "torch.tensor([target.ctx_idx for target in targets], device=graph.reading_vecs.device)",
                "[target.ctx_idx for target in targets]",
            )
        ],
    ),
]

ROWS = "rows = adjacency[batch.global_start_idx : batch.global_start_idx + len(batch.nodes)]"
EFFECTS = "effects = grad.to(vectors).transpose(0, 1) @ vectors.mT  # (seq, batch, width)"
FILL = "rows[:, columns.flatten()] = effects.transpose(0, 1).flatten(1)"
TABLE = "vectors, columns = tables[place]"

COMPUTE_ADJACENCY_MATRIX = [
    Mistake(
        "transposed",
        "Your matrix is transposed: rows are targets and columns are sources.",
        [
            (TABLE, "start, end = graph.node_range_dict[place]"),
            (EFFECTS, "positions = [node.ctx_idx for node in graph.nodes[start:end]]"),
            (
                FILL,
                'effects = torch.einsum("bsd,sd->sb", grad[:, positions].to(adjacency), graph.writing_vecs[start:end])\n'
                "            first = batch.global_start_idx\n"
                "            adjacency[start:end, first : first + len(batch.nodes)] = effects",
            ),
        ],
    ),
    Mistake(
        "all_positions",
        "You add up the gradient over all positions: a source writes at its own position, so only the gradient there counts.",
        [(EFFECTS, EFFECTS.replace("grad.", "grad.sum(1, keepdim=True).expand_as(grad)."))],
    ),
    Mistake(
        "position_of_the_target",
        "You use the gradient only at the target's own position. Attention moves information, so sources at earlier positions "
        "have edges too.",
        [
            (
                EFFECTS,
                "own = torch.zeros_like(grad)\n"
                "            own[range(len(grad)), batch.positions] = grad[range(len(grad)), batch.positions]\n"
                "            " + EFFECTS.replace("grad.", "own."),
            )
        ],
    ),
    Mistake(
        "last_position",
        "You use the gradient at the last position for all sources: use it at the position of each source.",
        [(EFFECTS, EFFECTS.replace("grad.", "grad[:, -1:].expand_as(grad)."))],
    ),
    Mistake(
        "unit_writing_vectors",
        "You scale the writing vectors to length 1, so that strong and weak sources look alike: use them as they are.",
        [(TABLE, TABLE + "\n            vectors = torch.nn.functional.normalize(vectors, dim=-1)")],
    ),
    Mistake(
        "absolute_values",
        "You take absolute values: an edge has a sign, and only with it edges add up to the value.",
        [(FILL, FILL + ".abs()")],
    ),
    Mistake(
        "reshaped",
        "You reshape (seq, batch, width) to (batch, …) without moving the batch to the front first: numbers of different "
        "targets get mixed.",
        [(FILL, "rows[:, columns.flatten()] = effects.reshape(len(batch.nodes), -1)")],
    ),
    Mistake(
        "in_order_of_positions",
        "You write the effects in the order of the tables, sorted by position: the column of each source is in `columns`.",
        [
            (
                FILL,
                "start, end = graph.node_range_dict[place]\n"
                "            rows[:, start:end] = effects.transpose(0, 1)[:, columns < len(graph)]",
            )
        ],
    ),
    Mistake(
        "first_rows",
        "You fill the first rows for every batch: a batch begins at row `batch.global_start_idx`.",
        [(ROWS, "rows = adjacency[: len(batch.nodes)]")],
    ),
    Mistake(
        "written_into_a_copy",
        "You write into a copy, so the matrix stays 0: what indexing with a list or a tensor gives is a copy. Take the rows by a "
        "slice, or index rows and columns at once.",
        [(ROWS, ROWS.replace("[", "[range(", 1).replace(" : ", ", ").replace("]", ")]"))],
    ),
    Mistake(
        "rows_in_order_of_batches",
        "You fill the rows one after the other. The row of a target is its index in the graph: a batch begins at "
        "`batch.global_start_idx`.",
        [(ROWS, "rows = adjacency[n_done : n_done + len(batch.nodes)]")],
    ),
    Mistake(
        "no_embeddings",
        "You leave the embeddings out: they are sources like any other.",
        [(TABLE, f'if place == "E":\n                break\n            {TABLE}')],
    ),
    Mistake(
        "only_the_layer_before",
        "You stop after the place directly before the target: through the residual stream all earlier places reach it.",
        [(FILL, FILL + "\n            break")],
    ),
    Mistake(
        "dtypes_mixed",
        "You multiply gradients in the model's dtype with vectors in float32: bring the gradients to the vectors' dtype, "
        "`grad.to(vectors)`.",
        [("grad.to(vectors)", "grad")],
    ),
    Mistake(
        "one_source_at_a_time",
        "Your numbers are right, but you loop over the sources in Python, which takes too long on a real model: contract all "
        "sources of a place at once.",
        [
            (TABLE, "start, end = graph.node_range_dict[place]"),
            (EFFECTS, "for source in range(start, end):"),
            (
                FILL,
                "    at = graph.nodes[source].ctx_idx\n"
                "                rows[:, source] = grad[:, at].to(adjacency) @ graph.writing_vecs[source]",
            ),
        ],
    ),
]

GAP = "gap = (adjacency_matrix.sum(1) + bias - values).abs()"
RELATIVE = "return torch.where(gap == 0, gap, gap / torch.maximum(values.abs(), terms / 1000))"

COMPLETENESS_GAP = [
    Mistake(
        "columns",
        "You add up columns: the edges of a target are its row, so sum over dimension 1.",
        [(GAP, GAP.replace("sum(1)", "sum(0)"))],
    ),
    Mistake(
        "no_bias",
        "You leave the bias out: edges alone do not add up to the value.",
        [(GAP, GAP.replace(" + bias", ""))],
    ),
    Mistake(
        "absolute_error",
        "You return the absolute error: divide it by the value's size.",
        [(RELATIVE, "return gap")],
    ),
    Mistake(
        "divided_by_signed_value",
        "You divide by the value with its sign, so some gaps are negative: divide by its absolute value.",
        [
            (
                "torch.maximum(values.abs(), terms / 1000)",
                "torch.where(values.abs() > terms / 1000, values, terms / 1000)",
            )
        ],
    ),
    Mistake(
        "zero_by_zero",
        "You divide 0 by 0 for nodes that read nothing: where the identity holds exactly the gap is 0, not nan.",
        [(RELATIVE, "return gap / torch.maximum(values.abs(), terms / 1000)")],
    ),
    Mistake(
        "relative_to_value_alone",
        "You divide by the value even where large terms nearly cancel: there, rounding alone would give a huge gap.",
        [(RELATIVE, "return torch.where(gap == 0, gap, gap / values.abs())")],
    ),
    Mistake(
        "relative_to_terms",
        "You divide by the size of the terms. The gap is relative to the value; only where that is below a thousandth of the "
        "terms, this takes its place.",
        [(RELATIVE, "return torch.where(gap == 0, gap, gap / terms)")],
    ),
    Mistake(
        "terms_with_signs",
        "You add up the terms with their signs to find their size: where they cancel, that is small too. Take absolute values "
        "first.",
        [("adjacency_matrix.abs().sum(1) + bias.abs()", "(adjacency_matrix.sum(1) + bias).abs()")],
    ),
    Mistake(
        "absolute_edges",
        "You add up absolute edges: they have signs, and only with them they add up to the value.",
        [(GAP, GAP.replace("adjacency_matrix.sum", "adjacency_matrix.abs().sum"))],
    ),
    Mistake(
        "one_number",
        "You return one number: return the gap of each node.",
        [(RELATIVE, RELATIVE + ".max()")],
    ),
]

TOTAL = "total = strengths.sum(dim=1, keepdim=True)"
DIVIDED = "return strengths.div_(torch.where(total > 0, total, 1))"

NORMALIZE_MATRIX = [
    Mistake(
        "signs_kept",
        "You keep the signs: shares are of absolute values, or positive and negative edges would cancel.",
        [
            ("strengths = adjacency_matrix.abs()", "strengths = adjacency_matrix"),
            (DIVIDED, "return strengths / torch.where(total != 0, total, 1)"),
        ],
    ),
    Mistake(
        "signed_sum",
        "You divide absolute values by the sum with signs: then the shares of a row do not add up to 1.",
        [(TOTAL, "total = adjacency_matrix.sum(dim=1, keepdim=True)"), ("total > 0", "total != 0")],
    ),
    Mistake(
        "signed_shares",
        "You divide by the sum of absolute values but keep the signs of the edges: shares are not negative.",
        [(DIVIDED, "return adjacency_matrix / torch.where(total > 0, total, 1)")],
    ),
    Mistake(
        "columns",
        "You normalise columns: a row holds a target's inputs, so rows must add up to 1.",
        [(TOTAL, TOTAL.replace("dim=1", "dim=0"))],
    ),
    Mistake(
        "whole_matrix",
        "You divide by the sum of the whole matrix: divide each row by its own sum.",
        [(TOTAL, "total = strengths.sum()")],
    ),
    Mistake(
        "zero_by_zero",
        "You divide a row of zeros by its sum, which gives nan: it must stay zero.",
        [(DIVIDED, "return strengths / total")],
    ),
    Mistake(
        "zeros_become_uniform",
        "You turn a row of zeros into equal shares: it must stay zero, a node without inputs passes nothing back.",
        [(DIVIDED, "return torch.where(total > 0, strengths / total, 1 / strengths.shape[1])")],
    ),
    Mistake(
        "epsilon",
        "You add a small number to the sum, or put it in its place, so rows of tiny edges no longer add up to 1: treat only rows "
        "of zeros differently.",
        [(DIVIDED, "return strengths / total.clamp(min=1e-8)")],
    ),
    Mistake(
        "in_place",
        "You change the matrix that you are given (an operation that ends in `_`, or `/=`): make a new one.",
        [("adjacency_matrix.abs()", "adjacency_matrix.abs_()")],
    ),
    Mistake(
        "softmax",
        "You take a softmax: shares are absolute values divided by their sum.",
        [(DIVIDED, "return strengths.softmax(dim=1)")],
    ),
]

SHARES = "shares = normalize_matrix(adjacency_matrix)"
STEP = "passing = passing @ shares"
SUM = "influence = influence + passing"

COMPUTE_INFLUENCE = [
    Mistake(
        "one_product_too_few",
        "You stop one product too early: the longest path, embedding, one latent a layer, logit, has `n_layers + 1` edges.",
        [("range(n_layers + 1)", "range(n_layers)")],
    ),
    Mistake(
        "two_steps",
        "You stop after two steps: paths of up to `n_layers + 1` edges count.",
        [("range(n_layers + 1)", "range(2)")],
    ),
    Mistake(
        "direct_only",
        "You count direct effects alone: influence adds up paths of all lengths.",
        [("range(n_layers + 1)", "range(1)")],
    ),
    Mistake(
        "identity_included",
        "You count the path of no edges, so the logits have influence on themselves: the sum begins with one edge.",
        [("influence = torch.zeros_like(passing)", "influence = passing.clone()")],
    ),
    Mistake(
        "last_power",
        "You return the last product alone: add them all up.",
        [(SUM, "influence = passing")],
    ),
    Mistake(
        "largest_power",
        "You take the largest of the products: influence is their sum.",
        [(SUM, "influence = torch.maximum(influence, passing)")],
    ),
    Mistake(
        "squared",
        "You multiply the matrix by itself in every step, so you skip most path lengths: multiply the vector by the same matrix.",
        [(STEP, "passing = passing @ shares\n        shares = shares @ shares")],
    ),
    Mistake(
        "transposed",
        "You follow the edges the wrong way: from the logits back to their sources it is `w @ A`, with rows as targets.",
        [(STEP, "passing = shares @ passing")],
    ),
    Mistake(
        "not_normalised",
        "You multiply by the edges themselves: normalise the matrix first, so that each target hands on shares.",
        [(SHARES, "shares = adjacency_matrix")],
    ),
    Mistake(
        "absolute_edges",
        "You take absolute values but not shares: divide each row by its sum (`normalize_matrix`).",
        [(SHARES, "shares = adjacency_matrix.abs()")],
    ),
    Mistake(
        "no_weights",
        "You give all logits the same weight: use their probabilities.",
        [
            (
                "weights_of_all_nodes(adjacency_matrix, logit_weights)",
                "weights_of_all_nodes(adjacency_matrix, torch.ones_like(logit_weights))",
            )
        ],
    ),
    Mistake(
        "weights_rescaled",
        "You rescale the logits' weights so that they add up to 1: use them as they are given.",
        [
            (
                "weights_of_all_nodes(adjacency_matrix, logit_weights)",
                "weights_of_all_nodes(adjacency_matrix, logit_weights / logit_weights.sum())",
            )
        ],
    ),
    Mistake(
        "ones",
        "You begin with 1 for every node: the walk begins at the logits, the last nodes, with their probabilities.",
        [("weights_of_all_nodes(adjacency_matrix, logit_weights)", "torch.ones_like(adjacency_matrix[0])")],
    ),
]

CHOICE = "kept = (share_of_larger(influence) < threshold) | always"
INFLUENCE = "influence = compute_influence(adjacency_matrix, logit_weights, n_layers)"
UNCOUNTED = "    if hidden is not None:\n        influence = influence.masked_fill(hidden, 0)\n"
DROPPED = "    if hidden is not None:\n        kept &= ~hidden\n"

PRUNE_NODES = [
    Mistake(
        "lower_keeps_more",
        "Your threshold works the wrong way round: raising it must keep more nodes.",
        [(CHOICE, "kept = (share_of_larger(influence) < 1 - threshold) | always")],
    ),
    Mistake(
        "least_influential",
        "You keep the least influential nodes and drop those that matter.",
        [(CHOICE, "kept = (share_of_larger(influence) >= threshold) | always")],
    ),
    Mistake(
        "influence_above_threshold",
        "You compare each node's influence with the threshold: it is a share of the total, which the kept nodes reach together.",
        [(CHOICE, "kept = (influence >= threshold) | always")],
    ),
    Mistake(
        "share_of_the_largest",
        "You compare each node with the most influential one: the threshold is a share of the total, which the kept nodes reach "
        "together.",
        [(CHOICE, "kept = (influence > (1 - threshold) * influence.max()) | always")],
    ),
    Mistake(
        "share_of_the_count",
        "You keep that share of the number of nodes: it is a share of their influence.",
        [
            (
                CHOICE,
                "kept = torch.zeros_like(always)\n"
                "    kept[influence.topk(round(threshold * len(influence))).indices] = True\n"
                "    kept |= always",
            )
        ],
    ),
    Mistake(
        "one_too_few",
        "You leave out the node with which the threshold is reached: without it the kept nodes hold less.",
        [(CHOICE, "kept = (share_of_larger(influence) + influence / influence.sum() <= threshold) | always")],
    ),
    Mistake(
        "one_too_many",
        "You keep a node also if the larger ones have reached the threshold exactly without it: compare with `<`, not `<=`. At 1, "
        "`<=` keeps even nodes without influence.",
        [(CHOICE, "kept = (share_of_larger(influence) <= threshold) | always")],
    ),
    Mistake(
        "random_half",
        "Your choice has nothing to do with influence: keep the nodes with the largest influence.",
        [(CHOICE, "kept = (torch.rand(len(influence)).to(influence) < threshold) | always")],
    ),
    Mistake(
        "direct_effects",
        "You rank nodes by their direct effect on the logits: rank them by their influence along all paths.",
        [
            (
                INFLUENCE,
                "influence = weights_of_all_nodes(adjacency_matrix, logit_weights) @ normalize_matrix(adjacency_matrix)",
            )
        ],
    ),
    Mistake(
        "strengths",
        "You rank nodes by the strength of their edges: a strong edge can lead nowhere. Rank them by influence.",
        [(INFLUENCE, "influence = adjacency_matrix.abs().sum(0)")],
    ),
    Mistake(
        "logits_can_go",
        "You let logits be pruned: they have no influence themselves, and must always be kept.",
        [(CHOICE, "kept = (share_of_larger(influence) < threshold) | (False if keep is None else keep)")],
    ),
    Mistake(
        "keep_ignored",
        "You ignore `keep`: its nodes are kept whatever their influence.",
        [(CHOICE, "kept = share_of_larger(influence) < threshold\n    kept[-len(logit_weights) :] = True")],
    ),
    Mistake(
        "kept_ones_not_counted",
        "You count the share without the nodes in `keep`: keeping them must not change what else is kept.",
        [(INFLUENCE, INFLUENCE + "\n    influence = influence if keep is None else influence.masked_fill(keep, 0)")],
    ),
    Mistake(
        "hidden_counted",
        "You count the influence of hidden nodes: the share is of what the visible nodes hold.",
        [(UNCOUNTED, "")],
    ),
    Mistake(
        "hidden_stay",
        "You keep hidden nodes that are in `keep`: hidden nodes are dropped in any case.",
        [(DROPPED, "")],
    ),
    Mistake(
        "normalised_matrix",
        "You return normalised edges: the matrix of the kept nodes has the edges as they were.",
        [("restrict(adjacency_matrix, kept)", "restrict(normalize_matrix(adjacency_matrix), kept)")],
    ),
]

THROUGH = "through = influence + weights_of_all_nodes(adjacency_matrix, logit_weights)"
SCORES = "scores = normalize_matrix(adjacency_matrix).mul_(through[:, None])"
KEPT_EDGES = "largest_reaching(scores, threshold)"
WITH_EDGES = "kept = (pruned != 0).any(dim=0) | (pruned != 0).any(dim=1) | always"

PRUNE_EDGES = [
    Mistake(
        "influence_of_the_source",
        "You weigh an edge by the influence of its source: it carries a share of what passes through its target.",
        [(SCORES, "scores = normalize_matrix(adjacency_matrix) * through")],
    ),
    Mistake(
        "no_edges_into_logits",
        "Your edges into logits have score 0: add the logit's own weight, `influence[t] + w[t]`.",
        [(THROUGH, "through = influence")],
    ),
    Mistake(
        "strengths",
        "You weigh by the edges' strengths: use shares of the target's input, from `normalize_matrix`.",
        [(SCORES, "scores = adjacency_matrix.abs() * through[:, None]")],
    ),
    Mistake(
        "shares_alone",
        "You rank edges by their share of the target's input alone: multiply it by what passes through the target.",
        [(SCORES, "scores = normalize_matrix(adjacency_matrix)")],
    ),
    Mistake(
        "lower_keeps_more",
        "Your threshold works the wrong way round: raising it must keep more edges.",
        [(KEPT_EDGES, "largest_reaching(scores, 1 - threshold)")],
    ),
    Mistake(
        "one_too_many",
        "You keep an edge also if the larger ones have reached the threshold exactly without it: compare with `<`, not `<=`.",
        [(KEPT_EDGES, "share_of_larger(scores) <= threshold")],
    ),
    Mistake(
        "score_above_threshold",
        "You compare each edge's score with the threshold: it is a share of the total, which the kept edges reach together.",
        [(KEPT_EDGES, "(scores >= threshold) & (scores > 0)")],
    ),
    Mistake(
        "row_by_row",
        "You apply the threshold to each target on its own: the share is of all scores in the graph.",
        [(KEPT_EDGES, "torch.stack([share_of_larger(row) for row in scores]) < threshold")],
    ),
    Mistake(
        "share_of_the_count",
        "You keep that share of the number of edges: it is a share of their scores.",
        [
            (
                KEPT_EDGES,
                "scores > scores.flatten().sort(descending=True).values[int(threshold * int((scores > 0).sum()))]",
            )
        ],
    ),
    Mistake(
        "normalised_matrix",
        "You return normalised edges: the edges that are kept stay as they were.",
        [("threshold), adjacency_matrix, 0)", "threshold), normalize_matrix(adjacency_matrix), 0)")],
    ),
    Mistake(
        "scores_returned",
        "You return scores: the edges that are kept stay as they were.",
        [("threshold), adjacency_matrix, 0)", "threshold), scores.to(adjacency_matrix), 0)")],
    ),
    Mistake(
        "positive_edges_only",
        "You look for edges above 0 to see which nodes still have one: a negative edge is an edge too (`!= 0`).",
        [(WITH_EDGES, "kept = (pruned > 0).any(dim=0) | (pruned > 0).any(dim=1) | always")],
    ),
    Mistake(
        "all_nodes_stay",
        "You keep nodes that have lost all their edges.",
        [(WITH_EDGES, "kept = torch.ones_like(always)")],
    ),
    Mistake(
        "only_targets_stay",
        "You drop nodes that have an edge out but none in, such as embeddings: one edge is enough.",
        [(WITH_EDGES, "kept = (pruned != 0).any(dim=1) | always")],
    ),
    Mistake(
        "only_sources_stay",
        "You drop nodes that have an edge in but none out: one edge is enough here, dead ends are dropped later.",
        [(WITH_EDGES, "kept = (pruned != 0).any(dim=0) | always")],
    ),
    Mistake(
        "only_connected_stay",
        "You drop nodes that lack an edge in or an edge out: here one edge is enough, dead ends are dropped later.",
        [(WITH_EDGES, "kept = (pruned != 0).any(dim=0) & (pruned != 0).any(dim=1) | always")],
    ),
    Mistake(
        "always_ignored",
        "You drop logits, and nodes in `keep`, that have no edge: they always stay.",
        [(WITH_EDGES, "kept = (pruned != 0).any(dim=0) | (pruned != 0).any(dim=1)")],
    ),
]

NODES = "prune_nodes(adjacency_matrix, logit_weights, n_layers, node_threshold, keep, hidden)"
EDGES = "prune_edges(matrix, logit_weights, n_layers, edge_threshold, always[kept])"
ALIVE = "still = alive & (edges.any(dim=1) | has_input) & (edges.any(dim=0) | has_output)"
ALLOWED = "has_input, has_output = ~reads[kept] | always[kept], always[kept]"

PRUNE_GRAPH = [
    Mistake(
        "no_clean_up",
        "You do not drop dead ends: after pruning edges, some nodes lead nowhere or come from nowhere.",
        [(ALIVE, "still = alive")],
    ),
    Mistake(
        "one_round",
        "You clean up once. Dropping a node can make its neighbours dead ends: repeat until nothing changes.",
        [
            (
                "        if torch.equal(still, alive):\n            break\n        alive = still",
                "        alive = still\n        break",
            )
        ],
    ),
    Mistake(
        "indices_into_the_pruned_matrix",
        "You return indices into the matrix that was pruned already: translate them back to the given one, "
        "`kept = kept[by_edges]`.",
        [("kept = kept[by_edges]", "always, reads = always[kept], reads[kept]\n    kept = by_edges")],
    ),
    Mistake(
        "places_as_indices",
        "You take what `prune_edges` returns for indices into the given matrix. They are places in what `prune_nodes` kept: "
        "`kept = kept[by_edges]`.",
        [("kept = kept[by_edges]", "kept = by_edges")],
    ),
    Mistake(
        "always_of_all_nodes",
        "You give `prune_edges` a `keep` with one entry for each node of the given matrix. It gets the smaller matrix: "
        "`always[kept]`.",
        [(EDGES, EDGES.replace("always[kept]", "always"))],
    ),
    Mistake(
        "clean_up_of_all_nodes",
        "In the clean-up you use `always` or `reads` of all nodes: take those of the nodes that are left, `always[kept]` and "
        "`reads[kept]`.",
        [(ALLOWED, ALLOWED.replace("[kept]", ""))],
    ),
    Mistake(
        "all_need_an_input",
        "You drop embeddings and errors because they have no edge in: they do not read, so they need none. (Row t holds the edges "
        "into t, column s the edges out of s.)",
        [(ALLOWED, "has_input, has_output = always[kept], always[kept]")],
    ),
    Mistake(
        "inputs_not_needed",
        "You keep latents that have no edge in any more.",
        [(ALIVE, "still = alive & (edges.any(dim=0) | has_output)")],
    ),
    Mistake(
        "outputs_not_needed",
        "You keep nodes that have no edge out any more.",
        [(ALIVE, "still = alive & (edges.any(dim=1) | has_input)")],
    ),
    Mistake(
        "keep_forgotten_in_clean_up",
        "You drop nodes in `keep` as dead ends: they are never dropped.",
        [(ALLOWED, ALLOWED.replace("always[kept]", "(kept >= len(always) - len(logit_weights))"))],
    ),
    Mistake(
        "keep_forgotten_for_edges",
        "You forget `keep` when you prune edges: its nodes are kept even without an edge.",
        [(EDGES, "prune_edges(matrix, logit_weights, n_layers, edge_threshold)")],
    ),
    Mistake(
        "keep_forgotten_for_nodes",
        "You forget `keep` when you prune nodes.",
        [(NODES, "prune_nodes(adjacency_matrix, logit_weights, n_layers, node_threshold, hidden=hidden)")],
    ),
    Mistake(
        "hidden_forgotten",
        "You forget `hidden`: hidden nodes must be pruned.",
        [(NODES, "prune_nodes(adjacency_matrix, logit_weights, n_layers, node_threshold, keep)")],
    ),
    Mistake(
        "thresholds_swapped",
        "You have the thresholds the wrong way round: `node_threshold` is for nodes, `edge_threshold` for edges.",
        [
            (NODES, NODES.replace("node_threshold", "edge_threshold")),
            (EDGES, EDGES.replace("edge_threshold", "node_threshold")),
        ],
    ),
    Mistake(
        "one_threshold",
        "You use `node_threshold` for the edges too.",
        [(EDGES, EDGES.replace("edge_threshold", "node_threshold"))],
    ),
    Mistake(
        "nodes_only",
        "You prune nodes but no edges.",
        [(EDGES, "torch.arange(len(kept), device=kept.device), matrix")],
    ),
    Mistake(
        "edges_of_the_whole_graph",
        "You prune the edges of the whole graph and then drop nodes: prune nodes first, and score the edges that are left.",
        [
            (
                "by_edges, matrix = " + EDGES,
                "by_all, pruned = prune_edges(\n"
                "        adjacency_matrix, logit_weights, n_layers, edge_threshold, torch.ones_like(always)\n"
                "    )\n"
                "    matrix = pruned[kept[:, None], kept]\n"
                "    touched = (matrix != 0).any(dim=0) | (matrix != 0).any(dim=1) | always[kept]\n"
                "    by_edges, matrix = restrict(matrix, touched)",
            )
        ],
    ),
    Mistake(
        "one_path",
        "You keep no more than the single most influential node: keep as many as `node_threshold` asks for.",
        [(NODES, NODES.replace("node_threshold", "1e-9"))],
    ),
]

KEEP = "keep = graph.mask(NodeType.EMBEDDING) if keep_embeddings else None"
PRUNED = "adjacency, logit_weights, len(transcoders), node_threshold, edge_threshold, keep, graph.hidden"
WEIGHTS = "logit_weights = graph.logit_weights.to(adjacency)"
SETUP = "recorded = setup_attribution(**linear_model)"

ATTRIBUTE = [
    Mistake(
        "start_posn_ignored",
        "You do not hand `start_posn` to `build_graph_nodes`: positions before it must be hidden and have no latents.",
        [("start_posn=start_posn,", "start_posn=0,")],
    ),
    Mistake(
        "top_k_ignored",
        "You do not hand `top_k` to `build_graph_nodes`.",
        [("            top_k=top_k,\n", "")],
    ),
    Mistake(
        "hidden_not_pruned",
        "You do not prune hidden nodes: hand `graph.hidden` to `prune_graph`.",
        [(PRUNED, PRUNED.replace(", graph.hidden", ""))],
    ),
    Mistake(
        "embeddings_can_go",
        "You ignore `keep_embeddings`: if it is true, embeddings are never pruned.",
        [(KEEP, "keep = None")],
    ),
    Mistake(
        "embeddings_always_stay",
        "You keep the embeddings even if `keep_embeddings` is false.",
        [(KEEP, "keep = graph.mask(NodeType.EMBEDDING)")],
    ),
    Mistake(
        "thresholds_swapped",
        "You hand the two thresholds to `prune_graph` in the wrong order.",
        [(PRUNED, PRUNED.replace("node_threshold, edge_threshold", "edge_threshold, node_threshold"))],
    ),
    Mistake(
        "default_thresholds",
        "You prune with the default thresholds instead of those that are given.",
        [
            (
                PRUNED,
                PRUNED.replace("node_threshold, edge_threshold, keep, graph.hidden", "keep=keep, hidden=graph.hidden"),
            )
        ],
    ),
    Mistake(
        "equal_weights",
        "You give all logits the same weight: unless a person names them, their weights are the tokens' probabilities.",
        [(WEIGHTS, "logit_weights = torch.ones(len(outputs)).to(adjacency)")],
    ),
    Mistake(
        "probabilities_of_chosen_targets",
        "You weigh targets that a person names by their probabilities: they weigh the same, as `graph.logit_weights` says.",
        [(WEIGHTS, "logit_weights = torch.tensor([output.prob for output in outputs]).to(adjacency)")],
    ),
    Mistake(
        "weights_rescaled",
        "You rescale the logits' probabilities so that they add up to 1: hand them on as they are.",
        [(WEIGHTS, WEIGHTS + "\n        logit_weights = logit_weights / logit_weights.sum()")],
    ),
    Mistake(
        "no_choice_of_tokens",
        "You ignore `probability_mass` and `max_output_nodes`: hand them to `compute_salient_logits`.",
        [("            probability_mass=probability_mass,\n            max_output_nodes=max_output_nodes,\n", "")],
    ),
    Mistake(
        "no_named_tokens",
        "You ignore `target_tokens`: hand `token_ids` to `compute_salient_logits`.",
        [("            token_ids=token_ids,\n", "")],
    ),
    Mistake(
        "no_number_of_tokens",
        "You ignore `n_output_nodes`: hand it to `compute_salient_logits`.",
        [("            frozen.logits,\n            n_output_nodes,\n", "            frozen.logits,\n")],
    ),
    Mistake(
        "no_bias",
        "You leave the biases zero: compute them with `compute_bias`, or edges and biases do not add up.",
        [
            (
                "bias = compute_bias(**linear_model, graph=graph)",
                "bias = torch.zeros(len(graph)).to(adjacency)",
            )
        ],
    ),
    Mistake(
        "activations_as_values",
        "You take activations and probabilities for the values: a value is what a target reads, from `compute_values`.",
        [
            (
                "values = compute_values(graph, recorded)",
                "values = torch.tensor([node.activation + node.token_prob for node in graph.nodes]).to(adjacency)",
            )
        ],
    ),
    Mistake(
        "batch_size_ignored",
        "You do not hand `batch_size` to `prepare_backward_batches`.",
        [("(graph=graph, batch_size=batch_size)", "(graph)")],
    ),
    Mistake(
        "no_progress",
        "You do not hand `progress` to `compute_adjacency_matrix`.",
        [(", run=recorded, progress=progress", ", run=recorded")],
    ),
    Mistake(
        "hooks_stay",
        "You install hooks and never remove them, so the model stays changed after tracing.",
        [(SETUP, "replaced.install()\n        " + SETUP)],
    ),
]

MISTAKES = {
    "FreezeHooks": FREEZE_HOOKS,
    "TranscoderReplacementHooks": TRANSCODER_REPLACEMENT_HOOKS,
    "compute_salient_logits": COMPUTE_SALIENT_LOGITS,
    "build_embedding_nodes": BUILD_EMBEDDING_NODES,
    "build_intermediate_nodes": BUILD_INTERMEDIATE_NODES,
    "build_logit_nodes": BUILD_LOGIT_NODES,
    "setup_attribution": SETUP_ATTRIBUTION,
    "prepare_backward_batches": PREPARE_BACKWARD_BATCHES,
    "compute_adjacency_matrix": COMPUTE_ADJACENCY_MATRIX,
    "completeness_gap": COMPLETENESS_GAP,
    "normalize_matrix": NORMALIZE_MATRIX,
    "compute_influence": COMPUTE_INFLUENCE,
    "prune_nodes": PRUNE_NODES,
    "prune_edges": PRUNE_EDGES,
    "prune_graph": PRUNE_GRAPH,
    "attribute": ATTRIBUTE,
}
