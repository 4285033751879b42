"""Mistakes that students make in chapter 3, each with the sentence that they should read."""

from utils.grading import Mistake

FROZEN_NAMES = 'name.endswith(("hook_pattern", "hook_scale"))'
REPEATED = "frozen.repeat(copies, *[1] * (frozen.ndim - 1))"

FREEZE_HOOKS = [
    Mistake(
        "nothing",
        "You freeze nothing: `frozen` stays empty. Your hook has to put each value in, under the name of its place.",
        [("frozen[hook.name] = value", "return None")],
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
        "a_list",
        "`frozen` must be a dict: the hooks find each value by the name of its place.",
        [
            ("frozen = {}\n\n            def", "frozen = []\n\n            def"),
            ("frozen[hook.name] = value", "frozen.append((hook.name, value))"),
        ],
    ),
    Mistake(
        "last_logits_only",
        "You keep the logits of the last position alone: `logits` is all that the model returns.",
        [("logits = model(tokens)", "logits = model(tokens)[:, -1:]")],
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
    Mistake(
        "all_hooks_removed",
        "You take off every hook on the model, also those of others: `with hooked(...)` takes off its own by itself.",
        [
            (
                "logits = model(tokens)",
                "logits = model(tokens)\n            model.reset_hooks()",
            )
        ],
    ),
]

SKIP = "return x @ W_skip.T + b_dec"
NO_SKIP = "return b_dec.expand_as(x)"
TRICK = "return linear + (mlp_out - linear).detach()"
REPLACED = 'return replace(layer, live.pop("x"), mlp_out)'

ACTS = "acts = transcoder.encode(x).to(x.dtype)"
OUTPUT = "output = acts @ W_dec + self.linear_part(layer, x)"

TRANSCODER_REPLACEMENT_HOOKS = [
    Mistake(
        "decoded",
        "Your `transcoder_output` leaves the skip out, as `decode` does: add all of `linear_part` to what the latents write.",
        [(OUTPUT, "output = transcoder.decode(acts)")],
    ),
    Mistake(
        "pre_activations",
        "You keep pre-activations: the latents' activations are what `encode` gives.",
        [(ACTS, "acts = x @ transcoder.W_enc.to(x) + transcoder.b_enc.to(x)")],
    ),
    Mistake(
        "W_skip_not_transposed",
        "You multiply by `W_skip` the wrong way round: it is stored as (d_out, d_in), so the skip is `x @ W_skip.T`.",
        [(SKIP, "return x @ W_skip + b_dec")],
    ),
    Mistake(
        "identity_without_skip",
        "You let the input pass where a transcoder has no skip: then only `b_dec` is left.",
        [(NO_SKIP, "return x + b_dec")],
    ),
    Mistake(
        "always_a_skip",
        "You do not provide for a transcoder without a skip: there `W_skip` is None, and only `b_dec` is left.",
        [(NO_SKIP, "pass")],
    ),
    Mistake(
        "no_bias",
        "You leave `b_dec` out: the linear part is the skip and `b_dec`.",
        [(SKIP, "return x @ W_skip.T"), (NO_SKIP, "return torch.zeros_like(x)")],
    ),
    Mistake(
        "bias_alone_unshaped",
        "Without a skip you give `b_dec` as it is: it must have the shape of `x`, the same at every position (`expand_as`).",
        [(NO_SKIP, "return b_dec")],
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
        "`mlp_out - linear` that is detached.",
        [(TRICK, "return mlp_out + (linear - mlp_out).detach()")],
    ),
    Mistake(
        "skip_alone",
        "You replace the MLP's output by the linear part also in the forward pass: the values must stay those of the MLP.",
        [(TRICK, "return linear")],
    ),
    Mistake(
        "both_gradients",
        "You let the gradient pass the MLP itself as well as the skip: detach `mlp_out`.",
        [(TRICK, "return mlp_out + linear - linear.detach()")],
    ),
    Mistake(
        "reconstruction_forward",
        "Your forward values are the transcoder's reconstruction. They must be the original MLP's; what the transcoder misses "
        "is in the error nodes.",
        [(TRICK, "return linear + (self.transcoder_output[layer] - linear).detach()")],
    ),
    Mistake(
        "no_gradient",
        "You cut the gradient off altogether: `mlp_out.detach()` has no way back. Add the linear part, which is alive.",
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
        [
            (
                ERRORS,
                "b_dec = transcoder.b_dec.detach().to(x)\n"
                "        errors = (y - tc_hooks.linear_part(layer, x) + b_dec).index_add(0, positions, -writes)",
            )
        ],
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

RUN = "with hooked(model, hooks), torch.enable_grad():\n        model(tokens)"
START = 'writes["E"] = embedding.detach().requires_grad_()'
READ_AT = "reading_hook(layer): (reads, layer)"

SETUP_ATTRIBUTION = [
    Mistake(
        "read_before_ln2",
        "Your edges will ignore ln2: latents read at `reading_hook(layer)`, the MLP's input, after ln2 with its scale and weight.",
        [(READ_AT, 'reading_hook(layer) if layer == "L" else f"blocks.{layer}.ln2.hook_in": (reads, layer)')],
    ),
    Mistake(
        "read_before_ln_final",
        'Your logits will ignore ln_final: they read at its output, `reading_hook("L")`, not the residual stream before it.',
        [(READ_AT, '"ln_final.hook_in" if layer == "L" else reading_hook(layer): (reads, layer)')],
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
        [(", torch.enable_grad():", ":")],
    ),
    Mistake(
        "grad_mode_leaks",
        "You switch gradients on and leave them on: use `with torch.enable_grad():`, which puts the mode back.",
        [
            (
                "with hooked(model, hooks), torch.enable_grad():",
                "torch.set_grad_enabled(True)\n    with hooked(model, hooks):",
            )
        ],
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
                "        model.get_hook_point(name).add_hook(function, level=77)\n"
                "    with torch.enable_grad():\n"
                "        model(tokens)\n"
                "    for name, _ in hooks:\n"
                "        model.get_hook_point(name).remove_hooks(level=77)",
            )
        ],
    ),
    Mistake(
        "weights_switched_off",
        "You switch `requires_grad` off for the model's weights and leave it off: the gradient stops at the embedding anyway.",
        [("with hooked(model, hooks)", "model.requires_grad_(False)\n    with hooked(model, hooks)")],
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
        "slots_first",
        "You flatten in another order than `columns.flatten()`: there the slots of one position stand together, so the width "
        "comes last.",
        [(FILL, "rows[:, columns.flatten()] = effects.permute(1, 2, 0).flatten(1)")],
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
        "columns_throughout",
        "You add up columns, for the sum and for the size of the terms: the edges of a target are its row.",
        [(GAP, GAP.replace("sum(1)", "sum(0)")), ("ord=1, dim=1", "ord=1, dim=0")],
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
        [
            (
                "torch.linalg.vector_norm(adjacency_matrix, ord=1, dim=1) + bias.abs()",
                "(adjacency_matrix.sum(1) + bias).abs()",
            )
        ],
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

PART = "part = amount * share[target, source]"
COUNTED = "influence[source] += part"
ONWARD = "            hand_on(source, part)\n"
BEGINNING = "hand_on(first_logit + number, weight)"

INFLUENCE_BY_PATHS = [
    Mistake(
        "direct_only",
        "You stop after one edge: a source hands on what has arrived at it, so the function calls itself.",
        [(ONWARD, "")],
    ),
    Mistake(
        "whole_amount",
        "You hand the whole amount to each source: each gets its share, `share[target, source]`.",
        [(PART, "part = amount")],
    ),
    Mistake(
        "last_share_alone",
        "You forget on the way how much was handed on: a part is the amount times the share.",
        [(PART, "part = share[target, source]")],
    ),
    Mistake(
        "strongest_path_only",
        "You keep the largest path that arrives at a node: all paths add up.",
        [(COUNTED, "influence[source] = torch.maximum(influence[source], part)")],
    ),
    Mistake(
        "last_path_only",
        "A later path overwrites an earlier one: add what arrives, `+=`.",
        [(COUNTED, "influence[source] = part")],
    ),
    Mistake(
        "ends_only",
        "You count only where a path ends: what arrives counts at every node on the way.",
        [(COUNTED, "influence[source] += part * (share[source].sum() == 0)")],
    ),
    Mistake(
        "logits_counted",
        "You count what a logit begins with: influence is what arrives along at least one edge.",
        [(BEGINNING, "influence[first_logit + number] += weight\n        " + BEGINNING)],
    ),
    Mistake(
        "first_nodes",
        "You begin at the first nodes: the logits are the last ones, from `first_logit` on.",
        [(BEGINNING, "hand_on(number, weight)")],
    ),
    Mistake(
        "one_logit",
        "You begin at one logit alone: each begins with its own weight.",
        [(BEGINNING, BEGINNING + "\n        break")],
    ),
    Mistake(
        "weights_forgotten",
        "You let every logit begin with 1: each begins with its weight.",
        [(BEGINNING, "hand_on(first_logit + number, 1.0)")],
    ),
]

STEP = "passing = pass_shares(adjacency_matrix, passing)"
FLOW = "influence = torch.zeros_like(passing)"
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
        [
            (FLOW, f"{FLOW}\n    shares = normalize_matrix(adjacency_matrix)"),
            (STEP, "passing = passing @ shares\n        shares = shares @ shares"),
        ],
    ),
    Mistake(
        "transposed",
        "You get 0 for every node, as `A @ w` gives: rows are targets, so `w @ A` goes from each target to its sources.",
        [(STEP, "passing = normalize_matrix(adjacency_matrix) @ passing")],
    ),
    Mistake(
        "not_normalised",
        "You multiply by the edges themselves: normalise the matrix first, so that each target hands on shares.",
        [(STEP, "passing = passing @ adjacency_matrix")],
    ),
    Mistake(
        "absolute_edges",
        "You take absolute values but not shares: divide each row by its sum (`normalize_matrix`).",
        [(STEP, "passing = passing @ adjacency_matrix.abs()")],
    ),
]

CHOICE = "kept = chosen | always"
BY_INFLUENCE = "scores = compute_influence(adjacency_matrix, logit_weights, n_layers)"
UNCOUNTED = "    if hidden is not None:\n        scores = scores.masked_fill(hidden, 0)\n"
DROPPED = "    if hidden is not None:\n        kept &= ~hidden\n"

PRUNE_NODES = [
    Mistake(
        "lower_keeps_more",
        "Your threshold works the wrong way round: raising it must keep more nodes.",
        [(CHOICE, "kept = (share_of_larger(scores) < 1 - threshold) | always")],
    ),
    Mistake(
        "least_influential",
        "You keep the least influential nodes and drop those that matter.",
        [(CHOICE, "kept = (share_of_larger(scores) >= threshold) | always")],
    ),
    Mistake(
        "influence_above_threshold",
        "You compare each node's influence with the threshold: it is a share of the total, which the kept nodes reach together.",
        [(CHOICE, "kept = (scores >= threshold) | always")],
    ),
    Mistake(
        "share_of_the_largest",
        "You compare each node with the most influential one: the threshold is a share of the total, which the kept nodes reach "
        "together.",
        [(CHOICE, "kept = (scores > (1 - threshold) * scores.max()) | always")],
    ),
    Mistake(
        "share_of_the_count",
        "You keep that share of the number of nodes: it is a share of their influence.",
        [
            (
                CHOICE,
                "kept = torch.zeros_like(always)\n"
                "    kept[scores.topk(round(threshold * len(scores))).indices] = True\n"
                "    kept |= always",
            )
        ],
    ),
    Mistake(
        "one_too_few",
        "You leave out the node with which the threshold is reached: without it the kept nodes hold less.",
        [(CHOICE, "kept = (share_of_larger(scores) + scores / scores.sum() <= threshold) | always")],
    ),
    Mistake(
        "one_too_many",
        "You keep a node also if the larger ones have reached the threshold exactly without it: compare with `<`, not `<=`. At 1, "
        "`<=` keeps even nodes without influence.",
        [(CHOICE, "kept = (share_of_larger(scores) <= threshold) | always")],
    ),
    Mistake(
        "random_half",
        "Your choice has nothing to do with influence: keep the nodes with the largest influence.",
        [(CHOICE, "kept = (torch.rand(len(scores)).to(scores) < threshold) | always")],
    ),
    Mistake(
        "direct_effects",
        "You rank nodes by their direct effect on the logits: rank them by their influence along all paths.",
        [
            (
                BY_INFLUENCE,
                "scores = weights_of_all_nodes(adjacency_matrix, logit_weights) @ normalize_matrix(adjacency_matrix)",
            )
        ],
    ),
    Mistake(
        "strengths",
        "You rank nodes by the strength of their edges: a strong edge can lead nowhere. Rank them by influence.",
        [(BY_INFLUENCE, "scores = adjacency_matrix.abs().sum(0)")],
    ),
    Mistake(
        "logits_can_go",
        "You let logits be pruned: they have no influence themselves, and must always be kept.",
        [(CHOICE, "kept = (share_of_larger(scores) < threshold) | (False if keep is None else keep)")],
    ),
    Mistake(
        "keep_ignored",
        "You ignore `keep`: its nodes are kept whatever their influence.",
        [(CHOICE, "kept = chosen.clone()\n    kept[-len(logit_weights) :] = True")],
    ),
    Mistake(
        "kept_ones_not_counted",
        "You count the share without the nodes in `keep`: keeping them must not change what else is kept.",
        [(BY_INFLUENCE, BY_INFLUENCE + "\n    scores = scores if keep is None else scores.masked_fill(keep, 0)")],
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

THROUGH = "through = influence + own_weights"
SCORES = "scores = normalize_matrix(adjacency_matrix).mul_(through[:, None])"
KEPT_EDGES = "torch.where(chosen,"
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
        [(KEPT_EDGES, "torch.where(largest_reaching(scores, 1 - threshold),")],
    ),
    Mistake(
        "one_too_many",
        "You keep an edge also if the larger ones have reached the threshold exactly without it: compare with `<`, not `<=`.",
        [(KEPT_EDGES, "torch.where(share_of_larger(scores) <= threshold,")],
    ),
    Mistake(
        "score_above_threshold",
        "You compare each edge's score with the threshold: it is a share of the total, which the kept edges reach together.",
        [(KEPT_EDGES, "torch.where((scores >= threshold) & (scores > 0),")],
    ),
    Mistake(
        "row_by_row",
        "You apply the threshold to each target on its own: the share is of all scores in the graph.",
        [(KEPT_EDGES, "torch.where(torch.stack([share_of_larger(row) for row in scores]) < threshold,")],
    ),
    Mistake(
        "share_of_the_count",
        "You keep that share of the number of edges: it is a share of their scores.",
        [
            (
                KEPT_EDGES,
                "ordered = scores.flatten().sort(descending=True).values\n"
                "    pruned = torch.where(scores > ordered[int(threshold * int((scores > 0).sum()))],",
            )
        ],
    ),
    Mistake(
        "normalised_matrix",
        "You return normalised edges: the edges that are kept stay as they were.",
        [("(chosen, adjacency_matrix, 0)", "(chosen, normalize_matrix(adjacency_matrix), 0)")],
    ),
    Mistake(
        "scores_returned",
        "You return scores: the edges that are kept stay as they were.",
        [("(chosen, adjacency_matrix, 0)", "(chosen, scores.to(adjacency_matrix), 0)")],
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

BLANK_EDGE = [
    Mistake(
        "no_norm",
        "You leave the norm out: what comes to “capital” is divided by 2.5 before it is read.",
        [("0.75 * 5 / 2.5", "0.75 * 5")],
    ),
    Mistake(
        "six",
        "You get 6. Either the attention weight 0.75 is missing, or Texas writes 4: that is what the MLP wrote, and Texas writes 3 "
        "of it.",
        [("0.75 * 5 / 2.5", "5 / 2.5")],
    ),
    Mistake(
        "gradient_alone",
        "You give the gradient alone: multiply it by the 3 that Texas writes.",
        [("gradient * 3", "gradient")],
    ),
    Mistake(
        "the_other_edge",
        "You give the edge from Texas to Austin: there the norm divides by 6.5 and the weight is 6.5. The edge to say Austin has "
        "2.5 and 5.",
        [("0.75 * 5 / 2.5", "0.75 * 6.5 / 6.5")],
    ),
    Mistake(
        "all_the_way",
        "You go on through say Austin: an edge ends where its target reads.",
        [("gradient * 3", "gradient * 3 * 2")],
    ),
]

EDGE = "edges[row, column] = gradient @ sources[column].detach()"

EDGES_BY_AUTOGRAD = [
    Mistake(
        "gradients_alone",
        "You add up the gradient's entries: an edge is the gradient times what the source writes, their dot product.",
        [(EDGE, "edges[row, column] = gradient.sum()")],
    ),
    Mistake(
        "lengths",
        "You multiply lengths: an edge is the dot product, which is 0 where the vectors are at right angles.",
        [(EDGE, "edges[row, column] = gradient.norm() * sources[column].detach().norm()")],
    ),
    Mistake(
        "absolute_values",
        "You take absolute values: an edge has a sign, and only with it edges add up to the value.",
        [(EDGE, EDGE.replace("gradient @", "(gradient @").replace("detach()", "detach()).abs()"))],
    ),
    Mistake(
        "transposed",
        "Your matrix is transposed: a row is a target and a column is a source.",
        [("return edges", "return edges.T")],
    ),
    Mistake(
        "graph_freed",
        "autograd forgets how the values were computed after the first target: ask it to keep that, with `retain_graph=True`.",
        [("retain_graph=True, ", "")],
    ),
    Mistake(
        "unused_refused",
        "autograd stops at a source that has no part in a value: `allow_unused=True` gives None there, and the edge is 0.",
        [(", allow_unused=True", "")],
    ),
    Mistake(
        "with_gradients",
        "Your edges still know how they were computed: multiply by the sources' values, `detach()`.",
        [(EDGE, EDGE.replace(".detach()", ""))],
    ),
    Mistake(
        "value_as_edge",
        "You give every source the whole value of the target: an edge is what this source alone gives.",
        [(EDGE, "edges[row, column] = value.detach()")],
    ),
]

READ = 'seen["reading"] = value[0, -1].to(vector) @ vector'
PASS = "with hooked(model, [*hooks, *mine]), torch.enable_grad():"

GRADIENT_TIMES_STREAM = [
    Mistake(
        "hooks_forgotten",
        "You leave out `hooks`, so nothing is ever frozen: add them to yours.",
        [("[*hooks, *mine]", "mine")],
    ),
    Mistake(
        "grad_mode_as_found",
        "You run the model in whatever gradient mode the caller has: under `torch.no_grad()` nothing is recorded. Use "
        "`torch.enable_grad()`.",
        [(", torch.enable_grad():", ":")],
    ),
    Mistake(
        "first_position",
        "You read at the first position: the next token is predicted at the last one.",
        [(READ, READ.replace("[0, -1]", "[0, 0]"))],
    ),
    Mistake(
        "all_positions",
        "You read at all positions: the next token is predicted at the last one.",
        [(READ, 'seen["reading"] = (value[0].to(vector) @ vector).sum()')],
    ),
    Mistake(
        "gradient_alone",
        "You add up the gradient: multiply it by the stream, entry by entry, before you add.",
        [('(gradient * seen["stream"].detach()).sum()', "gradient.sum()")],
    ),
    Mistake(
        "from_the_embedding",
        "You take the gradient at the embedding: the stream after the last block is asked for, at `last_stream`.",
        [("(last_stream, start_here)", '(writing_hook("E"), start_here)')],
    ),
    Mistake(
        "hooks_stay",
        "You leave hooks on the model, where they change every later run: add them by `with hooked(model, ...):`.",
        [
            (
                PASS + "\n        model(tokens)",
                "for name, function in [*hooks, *mine]:\n"
                "        model.hook_dict[name].add_hook(function)\n"
                "    with torch.enable_grad():\n"
                "        model(tokens)",
            )
        ],
    ),
    Mistake(
        "swapped",
        "You return the two numbers the wrong way round: first gradient times stream, then the reading.",
        [
            (
                'return float((gradient * seen["stream"].detach()).sum()), float(seen["reading"].detach())',
                'return float(seen["reading"].detach()), float((gradient * seen["stream"].detach()).sum())',
            )
        ],
    ),
    Mistake(
        "only_freezing_hooks",
        "You hand on only the hooks that freeze something: hand on all of `hooks`, whatever they do.",
        [(PASS, PASS.replace("*hooks", '*(h for h in hooks if h[0].endswith(("hook_pattern", "hook_scale")))'))],
    ),
]

FOLLOW = "return mlp_before + tc_hooks.linear_part(layer, x) - tc_hooks.linear_part(layer, x_before)"

LINEAR_HOOKS = [
    Mistake(
        "real_mlps",
        "You let the real MLPs answer: a linear model gives their old output plus the change of the linear part.",
        [(FOLLOW, "return mlp_out")],
    ),
    Mistake(
        "whole_input",
        "You add the linear part of the whole input: the old output has its part already, so only the change counts.",
        [(FOLLOW, "return mlp_before + tc_hooks.linear_part(layer, x)")],
    ),
    Mistake(
        "linear_part_alone",
        "You give the linear part alone: begin with the MLP's output on the prompt, and add the change of the linear part.",
        [(FOLLOW, "return tc_hooks.linear_part(layer, x)")],
    ),
    Mistake(
        "old_outputs",
        "You give the old outputs and nothing else, so that no change passes an MLP: add the change of the linear part.",
        [(FOLLOW, "return mlp_before")],
    ),
    Mistake(
        "bias_twice",
        "You add `b_dec` a second time: the linear part of a difference contains it, a difference of two linear parts does not.",
        [(FOLLOW, "return mlp_before + tc_hooks.linear_part(layer, x - x_before)")],
    ),
    Mistake(
        "not_frozen",
        "You freeze neither patterns nor scales: the hooks of `freeze` belong to the linear model.",
        [("list(freeze.fwd_hooks)", "[]")],
    ),
    Mistake(
        "last_layer_only",
        "You keep the hooks of the last layer alone: collect those of all layers.",
        [("hooks += tc_hooks.layer_hooks", "hooks = freeze.fwd_hooks + tc_hooks.layer_hooks")],
    ),
    Mistake(
        "change_subtracted",
        "Your change has the wrong sign: it is the input now less the input on the prompt.",
        [(FOLLOW, "return mlp_before + tc_hooks.linear_part(layer, x_before) - tc_hooks.linear_part(layer, x)")],
    ),
]

SILENT_MLP = "return tc_hooks.linear_part(layer, x)"

SILENT_HOOKS = [
    Mistake(
        "embeddings_stay",
        "You let the embeddings write: they are sources too, so put zeros in their place.",
        [('hooks = [(writing_hook("E"), no_embedding)]', "hooks = []")],
    ),
    Mistake(
        "no_b_dec",
        "You leave `b_dec` out: it is a constant, no source writes it.",
        [(SILENT_MLP, "return tc_hooks.linear_part(layer, x) - tc_hooks.transcoders[layer].b_dec.detach().to(x)")],
    ),
    Mistake(
        "mlps_write_nothing",
        "You silence whole MLPs: skip and `b_dec` are no sources, they stay.",
        [(SILENT_MLP, "return torch.zeros_like(mlp_out)")],
    ),
    Mistake(
        "real_mlps",
        "You leave the MLPs as they are, latents and errors with them: only the linear part may stay.",
        [(SILENT_MLP, "return mlp_out")],
    ),
    Mistake(
        "latents_write",
        "You let the transcoder's latents write: only the linear part may stay.",
        [(SILENT_MLP, "return tc_hooks.transcoders[layer](x)")],
    ),
    Mistake(
        "input_of_the_prompt",
        "You take the MLP's input from the prompt's run, where sources write: take the `x` of this run.",
        [(SILENT_MLP, "return tc_hooks.linear_part(layer, tc_hooks.cache[reading_hook(layer)])")],
    ),
    Mistake(
        "bias_alone",
        "You keep `b_dec` alone: the skip passes on the constants of earlier layers.",
        [(SILENT_MLP, "return tc_hooks.linear_part(layer, torch.zeros_like(x))")],
    ),
]

COMPARED = "compared = columns if others is None else columns[:, others]"
LESS_MEAN = "return columns[:, token] - compared.mean(dim=1)"

CONTRAST_VECTOR = [
    Mistake(
        "not_compared",
        "You subtract nothing: what raises all logits alike would count as a reason for this token.",
        [(LESS_MEAN, "return columns[:, token]")],
    ),
    Mistake(
        "always_all",
        "You always compare with the whole vocabulary: where `others` are given, only they count.",
        [(COMPARED, "compared = columns")],
    ),
    Mistake(
        "mean_over_dimensions",
        "You take the mean over d_model: the mean column is over tokens (dim=1).",
        [(LESS_MEAN, "return columns[:, token] - compared.mean(dim=0).mean()")],
    ),
    Mistake(
        "sum_of_others",
        "You subtract the sum of the others: subtract their mean.",
        [(LESS_MEAN, "return columns[:, token] - compared.sum(dim=1)")],
    ),
    Mistake(
        "first_of_others",
        "You compare with the first of the others alone: take the mean of all of them.",
        [(LESS_MEAN, "return columns[:, token] - compared[:, 0]")],
    ),
    Mistake(
        "itself_among_the_others",
        "You count the token itself among the others: the mean is over those that are given.",
        [(COMPARED, "compared = columns if others is None else columns[:, [token, *others]]")],
    ),
    Mistake(
        "token_left_out",
        "Without `others` you leave the token's own column out: the mean is over the whole vocabulary.",
        [
            (
                COMPARED,
                "compared = columns[:, torch.arange(columns.shape[1]) != token] if others is None else columns[:, others]",
            )
        ],
    ),
    Mistake(
        "sign",
        "You have the difference the wrong way round: the token's column comes first.",
        [(LESS_MEAN, "return compared.mean(dim=1) - columns[:, token]")],
    ),
    Mistake(
        "half_precision",
        "You compute in the dtype of `W_U`: use `columns`, which are in float32 at least.",
        [(COMPARED, "columns = W_U.detach()\n    " + COMPARED)],
    ),
]

SEED = "gradient[0, position] = reading_vec.to(gradient)"
BEFORE = 'layers_before = [place for place in run.writes if place != "E" and (layer == "L" or place < layer)]'
ORDER = '[*sorted(layers_before, reverse=True), "E"]'
ONE_STEP = "(gradient,) = torch.autograd.grad(output, run.writes[place], gradient, retain_graph=True)"
MOVE_ON = "        output = run.writes[place]\n"

WALK_BACK_ONE = [
    Mistake(
        "at_every_position",
        "You put the reading vector in at every position: the target reads at its own alone.",
        [(SEED, "gradient[0] = reading_vec.to(gradient)")],
    ),
    Mistake(
        "at_the_end",
        "You put the reading vector in at the last position: put it in where the target reads, at `position`.",
        [(SEED, "gradient[0, -1] = reading_vec.to(gradient)")],
    ),
    Mistake(
        "ones",
        "You put ones in: the gradient that goes in is the reading vector.",
        [(SEED, "gradient[0, position] = 1")],
    ),
    Mistake(
        "no_embedding",
        'You stop at layer 0: the last place is the embedding, "E".',
        [(ORDER, "sorted(layers_before, reverse=True)")],
    ),
    Mistake(
        "own_layer",
        "You ask for the place of the target's own layer: its latents read before they write, so only earlier layers count.",
        [(BEFORE, BEFORE.replace("place < layer", "place <= layer"))],
    ),
    Mistake(
        "no_layers_for_logits",
        'You give a logit no layers: all of them come before "L".',
        [(BEFORE, BEFORE.replace('(layer == "L" or place < layer)', '(layer != "L" and place < layer)'))],
    ),
    Mistake(
        "output_stays",
        "You walk on from the wrong place: after a step, the gradient belongs to the place where it has arrived, so the next step "
        "starts there.",
        [(MOVE_ON, "")],
    ),
    Mistake(
        "with_the_batch",
        "You keep the batch dimension: a gradient is (seq, d_model).",
        [("found[place] = gradient[0]", "found[place] = gradient")],
    ),
    Mistake(
        "run_freed",
        "autograd forgets the run after the walk: ask it to keep it, with `retain_graph=True`.",
        [(", retain_graph=True", "")],
    ),
    Mistake(
        "own_position_only",
        "You keep the gradient at the target's own position: attention carries it to earlier ones.",
        [
            (
                "found[place] = gradient[0]",
                "found[place] = torch.zeros_like(gradient[0]).index_copy("
                "0, torch.tensor([position]), gradient[0, [position]])",
            )
        ],
    ),
]

AT_SOURCE = "at_source = gradients[writer.layer][writer.ctx_idx]"
ONE_EDGE = "edges[source] = at_source.to(edges) @ graph.writing_vecs[source]"

EDGES_INTO = [
    Mistake(
        "all_positions",
        "You add up the gradient over all positions: a source writes at its own, so only the gradient there counts.",
        [(AT_SOURCE, "at_source = gradients[writer.layer].sum(0)")],
    ),
    Mistake(
        "position_of_the_target",
        "You use the gradient at the target's position: use it where the source writes.",
        [(AT_SOURCE, "at_source = gradients[writer.layer][node.ctx_idx]")],
    ),
    Mistake(
        "reading_vectors",
        "You multiply by what the source reads: an edge is the gradient times what it writes.",
        [(ONE_EDGE, ONE_EDGE.replace("writing_vecs", "reading_vecs"))],
    ),
    Mistake(
        "absolute_values",
        "You take absolute values: an edge has a sign, and only with it edges add up to the value.",
        [(ONE_EDGE, ONE_EDGE + "\n            edges[source] = edges[source].abs()")],
    ),
    Mistake(
        "no_errors",
        "You leave the errors out: they are sources like any other.",
        [
            (
                "if writer.layer in gradients:",
                "if writer.layer in gradients and writer.node_type is not NodeType.MLP_ERROR:",
            )
        ],
    ),
    Mistake(
        "no_embeddings",
        "You leave the embeddings out: they are sources like any other.",
        [("if writer.layer in gradients:", "if writer.layer in gradients and writer.layer != 'E':")],
    ),
    Mistake(
        "last_place_only",
        "You read off one place alone: sources of every place before the target count.",
        [("if writer.layer in gradients:", "if writer.layer in list(gradients)[:1]:")],
    ),
    Mistake(
        "all_nodes",
        "You ask every node: only those that stand at a place of the walk are sources, `gradients` has no other.",
        [("        if writer.layer in gradients:\n            at_source", "        if True:\n            at_source")],
    ),
]

SEEDS_IN = "grad[torch.arange(batch, device=grad.device), 0, positions] = reading_vecs.to(grad)"
TOGETHER = "(grad,) = torch.autograd.grad(output, run.writes[place], grad, retain_graph=True, is_grads_batched=True)"

WALK_BACK = [
    Mistake(
        "one_reading_vector",
        "You give every target the first one's reading vector.",
        [(SEEDS_IN, SEEDS_IN.replace("reading_vecs.to", "reading_vecs[0].to"))],
    ),
    Mistake(
        "one_position",
        "You let every target read at the first one's position.",
        [(SEEDS_IN, SEEDS_IN.replace("0, positions]", "0, positions[0]]"))],
    ),
    Mistake(
        "mixed",
        "You put every target's vector in at the positions of all targets: target by target, `grad[range(batch), 0, positions]`.",
        [(SEEDS_IN, "grad[:, 0, positions] = reading_vecs.to(grad)[:, None]")],
    ),
    Mistake(
        "every_vector_for_each",
        "`grad[:, 0, positions]` puts all reading vectors into every target: target by target, "
        "`grad[range(batch), 0, positions]`.",
        [(SEEDS_IN, "grad[:, 0, positions] = reading_vecs.to(grad)")],
    ),
    Mistake(
        "no_places",
        "You give the gradients alone: yield each place together with its gradients, `yield place, whole(grad)`.",
        [("yield place, whole(grad)", "yield whole(grad)")],
    ),
    Mistake(
        "a_dict",
        "You return a dict, and to go through it gives its keys alone: yield each place together with its gradients, "
        "`yield place, whole(grad)`.",
        [
            (
                "output, batch = run.reads[layer], len(positions)",
                "output, batch, found = run.reads[layer], len(positions), {}",
            ),
            ("yield place, whole(grad)", "found[place] = whole(grad)"),
            (MOVE_ON, MOVE_ON + "    return found\n"),
        ],
    ),
    Mistake(
        "short_gradients",
        "Your gradients end where the shorter run ends: hand them to `whole`, which fills up with zeros.",
        [("yield place, whole(grad)", "yield place, grad[:, 0]")],
    ),
    Mistake(
        "one_by_one",
        "Your numbers are right, but you ask autograd for each target on its own: `is_grads_batched=True` takes them together.",
        [
            (
                TOGETHER,
                "grad = torch.stack(\n"
                "            [torch.autograd.grad(output, run.writes[place], one, retain_graph=True)[0] for one in grad]\n"
                "        )",
            )
        ],
    ),
    Mistake(
        "added_up",
        "You add the targets up before you walk, so that each gets the gradient of all together.",
        [(TOGETHER, "grad = grad.sum(0, keepdim=True).expand_as(grad)\n        " + TOGETHER)],
    ),
    Mistake(
        "no_embedding",
        'You stop at layer 0: the last place is the embedding, "E".',
        [(ORDER, "sorted(layers_before, reverse=True)")],
    ),
    Mistake(
        "forwards",
        "You go from the embedding upwards: begin with the last place before the target.",
        [(ORDER, '["E", *sorted(layers_before)]')],
    ),
    Mistake(
        "output_stays",
        "You walk on from the wrong place: after a step, the gradients belong to the place where they have arrived, so the next "
        "step starts there.",
        [(MOVE_ON, "")],
    ),
]

ADDED = "stream[0, node.ctx_idx] += times * graph.writing_vecs[source].to(stream)"

EFFECT_OF_WRITING = [
    Mistake(
        "at_all_positions",
        "You add the vector at every position: a source writes at its own.",
        [(ADDED, ADDED.replace("[0, node.ctx_idx]", "[0]"))],
    ),
    Mistake(
        "at_the_end",
        "You add the vector at the last position: a source writes at its own, `node.ctx_idx`.",
        [(ADDED, ADDED.replace("node.ctx_idx", "-1"))],
    ),
    Mistake(
        "from_its_position_on",
        "You add the vector at all positions from the source's on: it writes at its own alone, and attention carries it further.",
        [(ADDED, ADDED.replace("node.ctx_idx", "node.ctx_idx :"))],
    ),
    Mistake(
        "times_forgotten",
        "You leave `times` out: the source writes that multiple of its vector in addition.",
        [(ADDED, ADDED.replace("times * ", ""))],
    ),
    Mistake(
        "replaced",
        "You put the vector in the place of the stream: add it to what is there.",
        [(ADDED, ADDED.replace("+=", "="))],
    ),
    Mistake(
        "not_subtracted",
        "You return what the targets read afterwards: the change is that less what they read before.",
        [("return after - before", "return after")],
    ),
    Mistake(
        "hooks_forgotten",
        "You leave `hooks` out, so that the real model answers: they hold in both runs.",
        [("[*hooks, (writing_hook", "[(writing_hook"), ("graph, hooks)", "graph, [])")],
    ),
    Mistake(
        "sign",
        "You have the change the wrong way round: after less before.",
        [("return after - before", "return before - after")],
    ),
    Mistake(
        "hooks_in_one_run",
        "Your run without the source's write has no hooks: hold `hooks` in both runs, else their own effect is counted.",
        [("before = readings_with(model, tokens, graph, hooks)", "before = readings_with(model, tokens, graph, [])")],
    ),
]

READ_OFF = "x = activations[0, where].detach().to(values)"
SUMMED = "values[here] += (x * graph.reading_vecs[here]).sum(-1)"

READ_TARGETS = [
    Mistake(
        "no_reading_bias",
        "You overwrite the reading bias: `b_enc` belongs to what a latent reads, so add to it.",
        [(SUMMED, SUMMED.replace("+=", "="))],
    ),
    Mistake(
        "last_position",
        "You let every target read at the last position: each reads at its own, `ctx_idx`.",
        [(READ_OFF, READ_OFF.replace("[0, where]", "[0, [-1] * len(where)]"))],
    ),
    Mistake(
        "writing_vectors",
        "You read with writing vectors: a target reads along its reading vector.",
        [(SUMMED, SUMMED.replace("reading_vecs", "writing_vecs"))],
    ),
    Mistake(
        "no_logits",
        'You leave the logits out: they read at "L".',
        [
            (
                "for place, activations in reads.items():",
                'for place, activations in reads.items():\n        if place == "L":\n            continue',
            )
        ],
    ),
    Mistake(
        "with_gradients",
        "Your readings still know how they were computed: `detach()` the result.",
        [(READ_OFF, READ_OFF.replace(".detach()", ""))],
    ),
    Mistake(
        "graph_changed",
        "You add to the graph's own `reading_bias`, so that a second reading is another one: add to a copy.",
        [("values = graph.reading_bias.clone()", "values = graph.reading_bias")],
    ),
    Mistake(
        "same_place_for_all",
        "You let all targets read what the logits read: a latent reads at its own layer.",
        [(READ_OFF, READ_OFF.replace("activations", 'reads["L"]'))],
    ),
]

HELD = "held_by_larger = ordered.values.cumsum(0) - ordered.values"
NEEDED = "needed = (held_by_larger < threshold * ordered.values.sum()) & (ordered.values > 0)"

SMALLEST_SET = [
    Mistake(
        "one_too_few",
        "Your set ends one score too early: the one that reaches the share belongs to it.",
        [(HELD, "held_by_larger = ordered.values.cumsum(0)")],
    ),
    Mistake(
        "one_too_many",
        "You take one score more where the larger ones reach the share exactly: compare with `<`, not `<=`.",
        [(NEEDED, NEEDED.replace("<", "<="))],
    ),
    Mistake(
        "zeros_too",
        "You take scores of 0: they hold nothing, so no set needs them.",
        [(NEEDED, "needed = (held_by_larger < threshold * ordered.values.sum()) | (torch.tensor(threshold) == 1)")],
    ),
    Mistake(
        "smallest_first",
        "You begin with the smallest scores: begin with the largest.",
        [("sort(descending=True)", "sort()")],
    ),
    Mistake(
        "threshold_as_it_is",
        "You compare sums of scores with the threshold: it is a share of their total.",
        [("threshold * ordered.values.sum()", "threshold")],
    ),
    Mistake(
        "share_of_the_count",
        "You take that share of the number of scores: it is a share of what they hold.",
        [
            (
                NEEDED,
                "needed = (torch.arange(len(ordered.values)).to(held_by_larger) < threshold * len(ordered.values))",
            )
        ],
    ),
    Mistake(
        "in_order_of_size",
        "Your mask is in the order of size: bring it back into the order of the scores.",
        [("chosen[ordered.indices] = needed", "chosen = needed")],
    ),
    Mistake(
        "flat",
        "Your mask is flat: it has the shape of the scores.",
        [("chosen.reshape(scores.shape)", "chosen")],
    ),
    Mistake(
        "numbers",
        "You return numbers: a mask is True or False.",
        [("chosen.reshape(scores.shape)", "chosen.reshape(scores.shape).float()")],
    ),
]

FROM = "from_embeddings, from_errors = influence[embeddings].sum(), influence[errors].sum()"
OWN_WEIGHT = "weight = influence + own_weights"
OF_ALL = " / torch.where(inputs > 0, inputs, 1)"
FROM_ERRORS = "adjacency_matrix[:, errors].abs().sum(dim=1)"

COMPUTE_GRAPH_SCORES = [
    Mistake(
        "share_of_all_influence",
        "You divide by the influence of all nodes, which is counted at every node on the way: divide by that of embeddings and "
        "errors, where paths begin.",
        [("from_embeddings / (from_embeddings + from_errors) if", "from_embeddings / influence.sum() if")],
    ),
    Mistake(
        "errors_share",
        "You give the errors' share: the score is the embeddings'.",
        [(FROM, FROM.replace("from_embeddings, from_errors =", "from_errors, from_embeddings ="))],
    ),
    Mistake(
        "rows_of_errors",
        "You take the errors' rows: what comes from errors is in their columns.",
        [(FROM_ERRORS, "adjacency_matrix[errors].abs().sum(dim=0)")],
    ),
    Mistake(
        "no_own_weight",
        "You leave the logits' own weights out: they receive too, and nearly all begins there.",
        [(OWN_WEIGHT, "weight = influence")],
    ),
    Mistake(
        "not_weighted",
        "You weigh all nodes the same: a node counts by its influence.",
        [(OWN_WEIGHT, "weight = torch.ones_like(influence)")],
    ),
    Mistake(
        "edges_not_shares",
        "You add up edges: take shares of what a target receives, from `normalize_matrix`.",
        [(OF_ALL, "")],
    ),
    Mistake(
        "zero_by_zero",
        "You divide 0 by 0 where there is no influence: the scores are 0 there.",
        [(" if from_embeddings + from_errors > 0 else 0", ""), (" if weight.sum() > 0 else 0", "")],
    ),
]

GONE = "gone[0, node.ctx_idx, node.feature] = acts[0, node.ctx_idx, node.feature]"
LESS = "return mlp_out - (gone @ transcoders[layer].W_dec).to(mlp_out)"
LIVE = "acts = transcoders[layer].encode(x)"

WITHOUT_LATENTS = [
    Mistake(
        "activations_of_the_prompt",
        "You take away what the latents wrote on the unchanged prompt: a later one writes something else now. Encode the `x` of "
        "this run.",
        [(LIVE, "acts = tc_hooks.transcoder_acts[layer]")],
    ),
    Mistake(
        "whole_position",
        "You silence every latent of the position: only those in `chosen`.",
        [(GONE, "gone[0, node.ctx_idx] = acts[0, node.ctx_idx]")],
    ),
    Mistake(
        "every_position",
        "You silence a latent at every position: only at its own, `ctx_idx`.",
        [(GONE, "gone[0, :, node.feature] = acts[0, :, node.feature]")],
    ),
    Mistake(
        "written_twice",
        "You add what the latents write: take it away.",
        [(LESS, LESS.replace("mlp_out -", "mlp_out +"))],
    ),
    Mistake(
        "last_one_only",
        "You silence the last latent of a layer alone: collect all of them before you take anything away.",
        [(GONE, "gone = torch.zeros_like(acts)\n                " + GONE)],
    ),
    Mistake(
        "first_layer_only",
        "You hook one layer: collect the hooks of all layers.",
        [("hooks += tc_hooks.layer_hooks(layer, silence)", "hooks = hooks or tc_hooks.layer_hooks(layer, silence)")],
    ),
    Mistake(
        "reconstruction",
        "You put the transcoder's own output in the place of the MLP's: the error must stay, so take away only what the latents "
        "write.",
        [(LESS, LESS.replace("mlp_out - ", "transcoders[layer](x) - "))],
    ),
    Mistake(
        "with_gradients",
        "Your logits still know how they were computed: run the model under `torch.no_grad()`.",
        [("with torch.no_grad(), hooked", "with torch.enable_grad(), hooked")],
    ),
    Mistake(
        "hooks_stay",
        "You leave hooks on the model, where they change every later run: add them by `with hooked(model, ...):`.",
        [
            (
                "with torch.no_grad(), hooked(model, hooks):",
                "for name, function in hooks:\n        model.hook_dict[name].add_hook(function)\n    with torch.no_grad():",
            )
        ],
    ),
]

EXCHANGED = 'change = donor["acts"] - transcoder.encode(x[0, position])'
WRITTEN = "mlp_out[0, position] += (change[latents] @ transcoder.W_dec[latents]).to(mlp_out)"

CONTROLS_FOR = [
    Mistake(
        "of_any_layer",
        "You look in all layers: a control is a latent of the same layer.",
        [("graph.nodes[i].layer == layer and ", "")],
    ),
    Mistake(
        "at_the_same_position",
        "You look at the same position only: a control may stand anywhere in the prompt that is not hidden.",
        [
            (
                "graph.nodes[i].layer == layer and ",
                "graph.nodes[i].layer == layer and graph.nodes[i].ctx_idx == graph.nodes[latent].ctx_idx and ",
            )
        ],
    ),
    Mistake(
        "chosen_as_controls",
        "You take latents as controls that are silenced themselves: leave out all that are chosen, not only the one that is matched.",
        [("i not in chosen and", "i != latent and")],
    ),
    Mistake(
        "themselves",
        "You take a chosen latent as its own control: leave out all that are chosen.",
        [("i not in chosen and ", "")],
    ),
    Mistake(
        "twice",
        "You take the same latent as a control twice: then fewer latents are silenced than without the story's latents.",
        [(" and i not in controls]", "]")],
    ),
    Mistake(
        "hidden_too",
        "You take hidden latents as controls: use the `candidates` that the stub gives.",
        [("for i in candidates if", "for i in graph.indices(NodeType.LATENT) if")],
    ),
    Mistake(
        "the_strongest",
        "You take the latent that writes most: take the one whose length is nearest to that of the chosen latent.",
        [("min(left, key=lambda i: abs(length[i] - length[latent]))", "max(left, key=lambda i: length[i])")],
    ),
    Mistake(
        "by_activation",
        "You compare activations: one unit of a latent writes more than one unit of another, so compare lengths of writing vectors.",
        [("abs(length[i] - length[latent])", "abs(graph.nodes[i].activation - graph.nodes[latent].activation)")],
    ),
    Mistake(
        "nearest_from_below",
        "You look for controls that write less only: a latent that writes a little more is as good.",
        [
            (
                "min(left, key=lambda i: abs(length[i] - length[latent]))",
                "min(left, key=lambda i: (length[i] > length[latent], abs(length[i] - length[latent])))",
            )
        ],
    ),
    Mistake(
        "none_left",
        "Your function fails where nothing is left in a layer: such a latent gets no control.",
        [("        if left:\n            controls", "        controls")],
    ),
]

SWAP_LATENTS = [
    Mistake(
        "added_on_top",
        "You add the donor's activations to the prompt's own: take the prompt's own away.",
        [(EXCHANGED, 'change = donor["acts"]')],
    ),
    Mistake(
        "same_position",
        "You look at `position` in the donor too: its latents are read at `donor_position`.",
        [("x[0, donor_position]", "x[0, min(position, x.shape[1] - 1)]")],
    ),
    Mistake(
        "last_of_the_donor",
        "You look at the donor's last position: its latents are read at `donor_position`.",
        [("x[0, donor_position]", "x[0, -1]")],
    ),
    Mistake(
        "own_at_the_donors_position",
        "You take away what the prompt's latents do at `donor_position`: theirs are read at `position`.",
        [(EXCHANGED, EXCHANGED.replace("position", "donor_position"))],
    ),
    Mistake(
        "all_latents",
        "You exchange every latent of the place: only those in `latents`.",
        [(WRITTEN, WRITTEN.replace("change[latents] @ transcoder.W_dec[latents]", "change @ transcoder.W_dec"))],
    ),
    Mistake(
        "every_position",
        "You exchange at every position: only at `position`.",
        [(WRITTEN, WRITTEN.replace("[0, position]", "[0]"))],
    ),
    Mistake(
        "wrong_way",
        "You have the change the wrong way round: the donor's activations less the prompt's own.",
        [(EXCHANGED, 'change = transcoder.encode(x[0, position]) - donor["acts"]')],
    ),
    Mistake(
        "silenced",
        "You silence the latents and give them nothing: add the donor's activations.",
        [(EXCHANGED, "change = -transcoder.encode(x[0, position])")],
    ),
    Mistake(
        "whole_output",
        "You replace all that the MLP writes at the place: only what these latents write changes.",
        [(WRITTEN, WRITTEN.replace("+=", "="))],
    ),
    Mistake(
        "logits_of_the_donor",
        "You return the logits of the donor: the prompt is run with its latents exchanged.",
        [("return model(tokens)[0, -1]", "return model(donor_tokens)[0, -1]")],
    ),
]

POSITIONS = "position, donor_position = seq_len - from_end, donor_len - from_end"
MATCHED = "range(1, min(seq_len, donor_len) + 1)"
ONE_SWAP = "logits = swap_latents(tc_hooks, tokens, layer, position, latents, donor_tokens, donor_position)"
SCORED = "scores[layer, position] = score(logits)"

SWAP_EVERYWHERE = [
    Mistake(
        "matched_from_the_beginning",
        "You match positions from the beginning: names of different length put the ends apart, so count from the end.",
        [(MATCHED, "range(min(seq_len, donor_len))"), (POSITIONS, "position = donor_position = from_end")],
    ),
    Mistake(
        "from_the_beginning_to_the_end",
        "You match positions from the beginning, `donor_position = position`, and the donor may be shorter: count both from the end.",
        [(MATCHED, "range(1, seq_len + 1)"), (POSITIONS, "position = donor_position = from_end - 1")],
    ),
    Mistake(
        "from_the_beginning_without_the_first",
        "You match positions from the beginning, and leave the first one out: count from the end, and take each position that has a "
        "partner.",
        [(MATCHED, "range(1, min(seq_len, donor_len))"), (POSITIONS, "position = donor_position = from_end")],
    ),
    Mistake(
        "moved_the_wrong_way",
        "You move the donor's position the wrong way: where the donor is longer, its position lies further back than the prompt's.",
        [
            (MATCHED, "range(max(0, donor_len - seq_len), min(seq_len, 2 * donor_len - seq_len))"),
            (POSITIONS, "position, donor_position = from_end, from_end + seq_len - donor_len"),
        ],
    ),
    Mistake(
        "last_position_missing",
        "You leave the last position out: it is matched with the donor's last.",
        [(MATCHED, "range(2, min(seq_len, donor_len) + 1)")],
    ),
    Mistake(
        "first_position_missing",
        "You stop one position too early: the first one that has a partner belongs to the map.",
        [(MATCHED, "range(1, min(seq_len, donor_len))")],
    ),
    Mistake(
        "no_partner",
        "You ask the donor for positions that it does not have: match only as many as the shorter prompt has.",
        [(MATCHED, "range(1, seq_len + 1)")],
    ),
    Mistake(
        "reversed_columns",
        "Your columns run from the end: a score stands at the position of the prompt where the swap was made.",
        [(SCORED, "scores[layer, from_end - 1] = score(logits)")],
    ),
    Mistake(
        "donor_columns",
        "You put scores at the donor's positions: the map is of the prompt.",
        [(SCORED, "scores[layer, min(donor_position, seq_len - 1)] = score(logits)")],
    ),
    Mistake(
        "prompts_swapped",
        "You swap into the donor: the prompt takes latents from the donor.",
        [(ONE_SWAP, "logits = swap_latents(tc_hooks, donor_tokens, layer, donor_position, latents, tokens, position)")],
    ),
    Mistake(
        "one_layer",
        "You swap in layer 0 again and again: each row is another layer.",
        [(ONE_SWAP, ONE_SWAP.replace("layer,", "0,"))],
    ),
    Mistake(
        "half_the_latents",
        "You leave out latents: a place takes all of its latents from the donor.",
        [(ONE_SWAP, ONE_SWAP.replace("latents, donor", "latents[: len(latents) // 2], donor"))],
    ),
]

AT_CAPITAL = 'at_capital = writes["capital"] + 0.75 * (at_dallas @ state) * state'
AT_DALLAS = 'at_dallas = writes["Dallas"] + writes["Texas"] + writes["error"]'
AUSTIN_READS = "at_the_end / 6.5 @"

TOY_MODEL = [
    Mistake(
        "no_error",
        "You leave the error out: it writes at “Dallas”, as Texas does.",
        [(AT_DALLAS, 'at_dallas = writes["Dallas"] + writes["Texas"]')],
    ),
    Mistake(
        "no_attention_weight",
        "You copy all of *state*: attention looks with the weight 0.75.",
        [("0.75 * (at_dallas", "(at_dallas")],
    ),
    Mistake(
        "whole_stream_copied",
        "You copy the whole stream: attention copies the direction *state* alone.",
        [(AT_CAPITAL, 'at_capital = writes["capital"] + 0.75 * at_dallas')],
    ),
    Mistake(
        "no_biases",
        "You leave the biases out: Texas has −1, say Austin −4.",
        [("(2 * place) - 1", "(2 * place)"), ("2.5 * question) - 4", "2.5 * question)")],
    ),
    Mistake(
        "live_norms",
        "Your norms answer: they divide by the root mean square of what comes now. Frozen, they divide by 2, 2.5 and 6.5.",
        [
            ('writes["Dallas"] / 2 @', 'writes["Dallas"] / writes["Dallas"].square().mean().sqrt() @'),
            ("at_capital / 2.5 @", "at_capital / at_capital.square().mean().sqrt() @"),
            (AUSTIN_READS, "at_the_end / at_the_end.square().mean().sqrt() @"),
        ],
    ),
    Mistake(
        "no_norms",
        "You leave the norms out: what is read is divided by 2, 2.5 and 6.5.",
        [
            ('writes["Dallas"] / 2 @', 'writes["Dallas"] @'),
            ("at_capital / 2.5 @", "at_capital @"),
            (AUSTIN_READS, "at_the_end @"),
        ],
    ),
    Mistake(
        "say_austin_writes_nothing",
        "You forget what say Austin writes: the output reads the stream after layer 1.",
        [('at_capital + writes["say Austin"]', "at_capital")],
    ),
    Mistake(
        "say_austin_reads_itself",
        "You let say Austin read what it writes: it reads the stream before the MLP of layer 1.",
        [("at_capital / 2.5 @", "at_the_end / 2.5 @")],
    ),
    Mistake(
        "texas_reads_itself",
        "You let Texas read the stream after layer 0: it reads before its MLP writes.",
        [('writes["Dallas"] / 2 @', "at_dallas / 2 @")],
    ),
    Mistake(
        "texas_written_anew",
        "You compute what Texas writes: it is given, in `writes`.",
        [(AT_DALLAS, 'at_dallas = writes["Dallas"] + (writes["Dallas"] @ place - 1) * state + writes["error"]')],
    ),
    Mistake(
        "say_austin_written_anew",
        "You compute what say Austin writes: it is given, in `writes`.",
        [
            (
                'at_capital + writes["say Austin"]',
                "at_capital + 2 * (at_capital @ (2 * state + question) - 4) * answer",
            )
        ],
    ),
    Mistake(
        "floats",
        "You return floats, as `item()` and `float()` make them: keep the tensors, so that autograd can take gradients.",
        [
            (
                'return {"Texas": texas, "say Austin": say_austin, "Austin": austin}',
                'return {"Texas": texas.item(), "say Austin": say_austin.item(), "Austin": austin.item()}',
            )
        ],
    ),
    Mistake(
        "plain_numbers",
        "Your readings are plain numbers: keep the tensors as they are, so that autograd can take gradients.",
        [
            (
                'return {"Texas": texas, "say Austin": say_austin, "Austin": austin}',
                'return {"Texas": texas.detach(), "say Austin": say_austin.detach(), "Austin": austin.detach()}',
            )
        ],
    ),
]

INTO_ROW = "rows[graph.nodes[source].ctx_idx].append(source)"
FILLERS = "torch.full((graph.seq_len, width), len(graph), device=vectors.device)"
VECTORS = "vectors[position, : len(row)] = graph.writing_vecs[row]"
COLUMNS = "columns[position, : len(row)] = torch.tensor(row, device=vectors.device)"

TABULATE_SOURCES = [
    Mistake(
        "latents_only",
        "You leave out embeddings and errors: every node of the place is a source.",
        [
            (
                INTO_ROW,
                f"if graph.nodes[source].node_type is NodeType.LATENT:\n                {INTO_ROW}",
            ),
            ("max(len(row) for row in rows)", "max(1, *(len(row) for row in rows))"),
        ],
    ),
    Mistake(
        "last_source_of_a_position",
        "You keep one source at each position: several write at the same one, so append.",
        [(INTO_ROW, "rows[graph.nodes[source].ctx_idx] = [source]")],
    ),
    Mistake(
        "in_order_of_the_nodes",
        "You deal the sources out in turn: a source belongs in the row of its position, `ctx_idx`.",
        [(INTO_ROW, "rows[(source - start) % graph.seq_len].append(source)")],
    ),
    Mistake(
        "indices_in_the_place",
        "Your columns count from the first source of the place: they are indices into `graph.nodes`.",
        [(COLUMNS, COLUMNS.replace("torch.tensor(row, device=vectors.device)", "torch.tensor(row) - start"))],
    ),
    Mistake(
        "fillers_at_node_0",
        "Your fillers point at node 0, and its edges get overwritten: they point one past the last node, `len(graph)`.",
        [(FILLERS, FILLERS.replace("len(graph)", "0"))],
    ),
    Mistake(
        "fillers_at_minus_1",
        "Your fillers have the column −1: they point one past the last node, `len(graph)`.",
        [(FILLERS, FILLERS.replace("len(graph)", "-1"))],
    ),
    Mistake(
        "transposed",
        "Your tables are transposed: a row holds the sources of one position.",
        [(COLUMNS, f"{COLUMNS}\n        vectors, columns = vectors.transpose(0, 1), columns.T")],
    ),
    Mistake(
        "too_wide",
        "Your tables are too wide: the longest row says how many slots are needed.",
        [("width = max(len(row) for row in rows)", "width = end - start")],
    ),
    Mistake(
        "first_row_says_the_width",
        "You take the first row's length for the width: the longest row does not fit in.",
        [("width = max(len(row) for row in rows)", "width = len(rows[0])")],
    ),
    Mistake(
        "reading_vectors",
        "You fill in reading vectors: a source writes.",
        [(VECTORS, VECTORS.replace("writing_vecs", "reading_vecs"))],
    ),
    Mistake(
        "filled_with_ones",
        "Your fillers write: their vectors are zeros.",
        [("graph.writing_vecs.new_zeros(", "graph.writing_vecs.new_ones(")],
    ),
    Mistake(
        "another_dtype",
        "Your vectors lose precision: make the table in the dtype of `graph.writing_vecs`, as `new_zeros` does.",
        [
            ("graph.writing_vecs.new_zeros(", "torch.zeros("),
            (VECTORS, VECTORS.replace("graph.writing_vecs[row]", "graph.writing_vecs[row].float()")),
        ],
    ),
]

MINE = "((name, keep) for name in places)"

READINGS_WITH = [
    Mistake(
        "hooks_ignored",
        "You run the model without the given hooks: put them on together with your own.",
        [(f"[*hooks, *{MINE}]", f"[*{MINE}]")],
    ),
    Mistake(
        "own_hooks_first",
        "Your hooks come first, so they do not see what the given hooks change: put yours behind them.",
        [(f"[*hooks, *{MINE}]", f"[*{MINE}, *hooks]")],
    ),
    Mistake(
        "no_logits",
        'You keep nothing at "L": the logits read there.',
        [('[*range(model.cfg.n_layers), "L"]', "range(model.cfg.n_layers)")],
    ),
    Mistake(
        "logits_alone",
        "You keep what the logits read and no more: latents read at every layer.",
        [('[*range(model.cfg.n_layers), "L"]', '["L"]')],
    ),
    Mistake(
        "before_the_norm",
        "You keep the stream before `ln2`: latents read after it, at `reading_hook(layer)`.",
        [
            (
                "{reading_hook(layer): layer for",
                '{(f"blocks.{layer}.ln2.hook_in" if layer != "L" else reading_hook("L")): layer for',
            )
        ],
    ),
    Mistake(
        "where_they_write",
        "You keep the stream where latents write: they read at `reading_hook(layer)`.",
        [
            (
                "{reading_hook(layer): layer for",
                '{(writing_hook(layer) if layer != "L" else reading_hook("L")): layer for',
            )
        ],
    ),
    Mistake(
        "names_as_keys",
        'You keep the activations under the names of their places: `read_targets` looks for layers and "L".',
        [("reads[places[hook.name]] = value", "reads[hook.name] = value")],
    ),
    Mistake(
        "bias_twice",
        "You add `reading_bias` a second time: `read_targets` has added it.",
        [("return read_targets(graph, reads)", "return read_targets(graph, reads) + graph.reading_bias")],
    ),
]

LONGER = "found.append(((*path, target), strength * share))"
BEST_OF_NODE = "sorted(found, key=lambda pair: pair[1], reverse=True)[:n_paths]"

BEST_PATHS = [
    Mistake(
        "sums",
        "You add shares up: a path's strength is the product of its shares.",
        [(LONGER, LONGER.replace("strength * share", "strength + share"))],
    ),
    Mistake(
        "weakest_edge",
        "You take the smallest share of a path: its strength is the product of all of them.",
        [(LONGER, LONGER.replace("strength * share", "min(strength, share)"))],
    ),
    Mistake(
        "last_share_alone",
        "You forget how strong the path was that you make longer: multiply its strength by the share.",
        [(LONGER, LONGER.replace("strength * share", "share"))],
    ),
    Mistake(
        "one_at_each_node",
        "You remember one path at each node: the second best path to the end may need a node's second best.",
        [(BEST_OF_NODE, BEST_OF_NODE.replace("n_paths", "1"))],
    ),
    Mistake(
        "weakest_first",
        "You keep the weakest paths: sort with the strongest first.",
        [(", reverse=True", "")],
    ),
    Mistake(
        "strongest_source_alone",
        "You follow each node's largest share alone: a smaller share can lead to a stronger path.",
        [("shares[target].nonzero()[:, 0].tolist()", "[int(shares[target].argmax())] if shares[target].any() else []")],
    ),
    Mistake(
        "beginnings_lost",
        "You lose the path that begins at a node: what `best` holds at first belongs to what is found.",
        [("found = list(best[target])", "found = []")],
    ),
    Mistake(
        "begun_anew",
        "You drop the paths that lead to a beginning: it may be on the way from another one.",
        [("found = list(best[target])", "found = list(best[target])\n        if found:\n            continue")],
    ),
    Mistake(
        "targets_as_sources",
        "You read columns for rows: a row of `shares` is a target.",
        [
            ("shares[target].nonzero()", "shares[:, target].nonzero()"),
            ("float(shares[target, source])", "float(shares[source, target])"),
        ],
    ),
    Mistake(
        "backwards",
        "Your paths run from the end to the beginning: put the target behind the path.",
        [(LONGER, LONGER.replace("(*path, target)", "(target, *path)"))],
    ),
    Mistake(
        "from_last_to_first",
        "You go through the nodes from last to first: a node's best paths are made of those of its sources, which stand before it.",
        [("for target in range(len(shares)):", "for target in reversed(range(len(shares))):")],
    ),
    Mistake(
        "without_an_edge",
        "You keep paths of strength 0: where a share is 0, there is no edge.",
        [("shares[target].nonzero()[:, 0].tolist()", "range(target)")],
    ),
    Mistake(
        "as_many_as_there_are",
        "You return every path that you remember or more than were asked for: at most `n_paths`.",
        [(BEST_OF_NODE, BEST_OF_NODE.replace("n_paths", "n_paths + 1"))],
    ),
]

LARGEST = "largest.scatter_(1, acts.topk(top_k, dim=1).indices, True)"
VISIBLE = "    keep[:start_posn] = False\n"

SELECT_LATENTS = [
    Mistake(
        "silent_latents",
        "You keep latents that are silent: only activations above 0 make a node.",
        [("keep = acts > 0", "keep = acts >= 0")],
    ),
    Mistake(
        "top_k_ignored",
        "You ignore `top_k`: at most so many latents are kept at each position.",
        [("        keep &= largest\n", "")],
    ),
    Mistake(
        "top_k_of_all_positions",
        "You keep `top_k` latents in all: each position has its own.",
        [
            ("top_k < acts.shape[1]", "top_k < acts.numel()"),
            (LARGEST, "largest.view(-1)[acts.flatten().topk(top_k).indices] = True"),
        ],
    ),
    Mistake(
        "top_k_of_each_latent",
        "You keep the `top_k` positions of each latent: it is the latents of a position that are compared.",
        [(LARGEST, "largest.scatter_(0, acts.topk(min(top_k, len(acts)), dim=0).indices, True)")],
    ),
    Mistake(
        "first_ones",
        "You keep the first active latents of a position: keep the most active ones.",
        [(LARGEST, "largest = keep.cumsum(1) <= top_k")],
    ),
    Mistake(
        "least_active",
        "You keep the least active latents: those that write most count.",
        [("acts.topk(top_k, dim=1)", "acts.masked_fill(acts <= 0, torch.inf).topk(top_k, dim=1, largest=False)")],
    ),
    Mistake(
        "hidden_positions",
        "You keep latents before `start_posn`: these positions are hidden.",
        [(VISIBLE, "")],
    ),
    Mistake(
        "counted_from_the_first_visible",
        "You count positions from `start_posn`: they count from the beginning of the prompt.",
        [(VISIBLE, "    keep = keep[start_posn:]\n")],
    ),
    Mistake(
        "one_position_too_many",
        "You hide one position too many: `start_posn` itself is visible.",
        [(VISIBLE, VISIBLE.replace("start_posn", "start_posn + 1"))],
    ),
    Mistake(
        "swapped",
        "You return latents and positions: positions come first.",
        [("return positions, latents", "return latents, positions")],
    ),
    Mistake(
        "too_few_latents",
        "`topk` fails when a layer has fewer latents than `top_k`: then all active ones are kept.",
        [(" and top_k < acts.shape[1]", "")],
    ),
]

MISTAKES = {
    "blank_edge": BLANK_EDGE,
    "toy_model": TOY_MODEL,
    "edges_by_autograd": EDGES_BY_AUTOGRAD,
    "gradient_times_stream": GRADIENT_TIMES_STREAM,
    "FreezeHooks": FREEZE_HOOKS,
    "TranscoderReplacementHooks": TRANSCODER_REPLACEMENT_HOOKS,
    "contrast_vector": CONTRAST_VECTOR,
    "select_latents": SELECT_LATENTS,
    "build_intermediate_nodes": BUILD_INTERMEDIATE_NODES,
    "setup_attribution": SETUP_ATTRIBUTION,
    "walk_back_one": WALK_BACK_ONE,
    "edges_into": EDGES_INTO,
    "walk_back": WALK_BACK,
    "tabulate_sources": TABULATE_SOURCES,
    "compute_adjacency_matrix": COMPUTE_ADJACENCY_MATRIX,
    "read_targets": READ_TARGETS,
    "silent_hooks": SILENT_HOOKS,
    "readings_with": READINGS_WITH,
    "completeness_gap": COMPLETENESS_GAP,
    "linear_hooks": LINEAR_HOOKS,
    "effect_of_writing": EFFECT_OF_WRITING,
    "normalize_matrix": NORMALIZE_MATRIX,
    "influence_by_paths": INFLUENCE_BY_PATHS,
    "compute_influence": COMPUTE_INFLUENCE,
    "smallest_set": SMALLEST_SET,
    "prune_nodes": PRUNE_NODES,
    "prune_edges": PRUNE_EDGES,
    "prune_graph": PRUNE_GRAPH,
    "compute_graph_scores": COMPUTE_GRAPH_SCORES,
    "best_paths": BEST_PATHS,
    "without_latents": WITHOUT_LATENTS,
    "controls_for": CONTROLS_FOR,
    "swap_latents": SWAP_LATENTS,
    "swap_everywhere": SWAP_EVERYWHERE,
}
