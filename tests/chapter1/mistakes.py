"""Planted mistakes of chapter 1: wrong answers, and the sentence that a student who made one should read."""

from utils.grading import Mistake

MISTAKES = {
    "to_sparse": [
        Mistake(
            "one_column_an_index",
            "Your indices lie on their side: give one row for each active latent, not one column.",
            [(", indices, tuple", ", indices.T, tuple")],
        ),
        Mistake(
            "squeezed",
            "You squeeze the indices, so that with a single active latent they lose a dimension: keep one row for each value.",
            [("dense.nonzero()", "dense.nonzero().squeeze()")],
        ),
        Mistake(
            "positive_only",
            "You keep only what is above zero: a negative value is not zero and has to stay.",
            [("dense.nonzero()", "(dense > 0).nonzero()")],
        ),
        Mistake(
            "flat_indices",
            "Your indices count through the flattened tensor: give a position and a latent, one index for each dimension.",
            [
                ("    return SparseLatents", "    flat = dense.flatten().nonzero()\n    return SparseLatents"),
                (", indices, tuple", ", flat, tuple"),
            ],
        ),
        Mistake(
            "sorted_by_size",
            "You sort the latents by their activation: leave them in reading order, row by row.",
            [
                (
                    "indices = dense.nonzero()",
                    "indices = dense.nonzero()\n    indices = indices[dense[indices.unbind(-1)].argsort(descending=True)]",
                )
            ],
        ),
        Mistake(
            "ones_for_values",
            "Your values say that a latent is active but not how much: take the activations themselves.",
            [("(dense[indices.unbind(-1)],", "((dense != 0).to(dense)[indices.unbind(-1)],")],
        ),
        Mistake(
            "plain_tuple",
            "You return a plain tuple: return a `SparseLatents`, whose parts have names.",
            [
                (
                    "return SparseLatents(dense[indices.unbind(-1)], indices, tuple(dense.shape))",
                    "return dense[indices.unbind(-1)], indices, tuple(dense.shape)",
                )
            ],
        ),
        Mistake(
            "shape_is_a_list",
            "Your shape is a list: give a tuple, `tuple(dense.shape)`.",
            [("tuple(dense.shape)", "list(dense.shape)")],
        ),
        Mistake(
            "detached",
            "No gradient passes through your values: do not detach them or take them out with .data or .tolist().",
            [("(dense[indices.unbind(-1)],", "(dense.detach()[indices.unbind(-1)],")],
        ),
        Mistake(
            "float32",
            "Your values are always in float32: leave them in the type of `dense`.",
            [("(dense[indices.unbind(-1)],", "(dense[indices.unbind(-1)].float(),")],
        ),
    ],
    "to_dense": [
        Mistake(
            "detached",
            "Your dense tensor does not depend on `values` differentiably: do not detach them or take them out with .data or .item().",
            [(", values)", ", values.detach())")],
        ),
        Mistake(
            "indices_turned_round",
            "You use the indices in the wrong order: the first number of a row is the position, the last one the latent.",
            [("indices.unbind(-1)", "indices.flip(-1).unbind(-1)")],
        ),
        Mistake(
            "first_position",
            "You put all latents at the first position: use every index of a row, not only the last one.",
            [
                (
                    "indices.unbind(-1)",
                    "(*[0 * column for column in indices.unbind(-1)[:-1]], indices[:, -1])",
                )
            ],
        ),
        Mistake(
            "float32",
            "Your dense tensor is always in float32: make the zeros with the dtype of `values`.",
            [("values.new_zeros(shape)", "torch.zeros(shape)"), (", values)", ", values.float())")],
        ),
        Mistake(
            "none_active",
            "Without any active latent you return something that has not the shape of the whole: then all of it is zeros.",
            [("    return values", "    if len(values) == 0:\n        return values\n    return values")],
        ),
        Mistake(
            "ones",
            "You write ones in the places of the active latents: write their values.",
            [(", values)", ", 0 * values + 1)")],
        ),
    ],
    "latents_to_later_latents": [
        Mistake(
            "error_forgotten",
            "You leave the error out although it is given: add it to what the SAE decodes.",
            [("if error is not None:", "if False:")],
        ),
        Mistake(
            "error_subtracted",
            "You subtract the error: the residual stream is the reconstruction plus the error.",
            [("residual + error", "residual - error")],
        ),
        Mistake(
            "values_ignored",
            "Your later latents do not depend on `values`: decode the latents that are given, not those of a fresh run.",
            [
                (
                    "sae_from.decode(to_dense(values, indices, shape))",
                    "sae_from.decode(sae_from.encode(activations_at(model, tokens, place_of(sae_from))) + 0 * values.sum())",
                )
            ],
        ),
        Mistake(
            "hooks_forgotten",
            "You do not hand `fwd_hooks` on to `resume`, so that a frozen model is run as if nothing were frozen.",
            [(", place_of(sae_to), fwd_hooks)", ", place_of(sae_to))")],
        ),
        Mistake(
            "detached",
            "No gradient comes through your function: do not run the model under torch.no_grad() and do not detach.",
            [("acts = sae_to.encode(later)", "acts = sae_to.encode(later.detach())")],
        ),
        Mistake(
            "decoder_bias_forgotten",
            "Your reconstruction has no b_dec: use sae_from.decode, which adds it, not the product with W_dec alone.",
            [
                (
                    "sae_from.decode(to_dense(values, indices, shape))",
                    "to_dense(values, indices, shape) @ sae_from.W_dec",
                )
            ],
        ),
        Mistake(
            "read_too_early",
            "You read the residual stream where you put it, so that no layer lies in between: read it at the place of sae_to.",
            [("residual, place_of(sae_to)", "residual, place_of(sae_from)")],
        ),
        Mistake(
            "dense_first",
            "Your first result has all later latents: give the active ones only, and the dense tensor second.",
            [("return to_sparse(acts).values, acts", "return acts.flatten(), acts")],
        ),
        Mistake(
            "put_too_late",
            "You put the residual stream one layer too late: put it where `sae_from` stands.",
            [
                (
                    "resume(model, tokens, place_of(sae_from), residual",
                    'resume(model, tokens, "blocks.%d.hook_out" % (int(place_of(sae_from).split(".")[1]) + 1), residual',
                )
            ],
        ),
        Mistake(
            "relu",
            "You take a ReLU, where the SAE has a threshold of its own for each latent: use sae_to.encode.",
            [("sae_to.encode(later)", "torch.relu(later @ sae_to.W_enc + sae_to.b_enc)")],
        ),
        Mistake(
            "active_ones_detached",
            "Your first result is detached: both results must depend on `values` differentiably.",
            [("return to_sparse(acts).values, acts", "return to_sparse(acts.detach()).values, acts")],
        ),
        Mistake(
            "only_freezing_hooks",
            "You hand on only the hooks that freeze something: hand on all of `fwd_hooks`, whatever they do.",
            [
                (
                    "place_of(sae_to), fwd_hooks)",
                    'place_of(sae_to), [h for h in fwd_hooks if h[0].endswith(("hook_pattern", "hook_scale"))])',
                )
            ],
        ),
    ],
    "latent_to_latent_gradients": [
        Mistake(
            "transposed",
            "Your Jacobian lies on its side: rows are the later latents, columns the earlier ones.",
            [("LatentGradients(jacobian,", "LatentGradients(jacobian.T,")],
        ),
        Mistake(
            "error_forgotten",
            "You always leave the error out: with with_error=True the slopes are those at the model's own residual stream.",
            [("if with_error else None", "if False else None")],
        ),
        Mistake(
            "error_always",
            "You always add the error: with with_error=False the model must run on the reconstruction alone.",
            [("if with_error else None", "if True else None")],
        ),
        Mistake(
            "hooks_forgotten",
            "You do not hand `fwd_hooks` on, so that a frozen model is differentiated as if nothing were frozen.",
            [("tokens, error, fwd_hooks", "tokens, error")],
        ),
        Mistake(
            "times_activation",
            "You multiply the slopes by the activations: the Jacobian is the slope alone.",
            [("LatentGradients(jacobian,", "LatentGradients(jacobian * acts_from.values,")],
        ),
        Mistake(
            "sources_as_targets",
            "You return the earlier latents as acts_to: the rows stand for later latents, which come back from jacrev as its second result.",
            [("to_sparse(acts_to))", "acts_from)")],
        ),
        Mistake(
            "clean_targets",
            "Without the error you list the later latents of the unchanged model: list those that are active in the run on the reconstruction.",
            [
                (
                    "to_sparse(acts_to))",
                    "to_sparse(sae_to.encode(activations_at(model, tokens, place_of(sae_to)))))",
                )
            ],
        ),
        Mistake(
            "error_turned_round",
            "Your error has the wrong sign: it is the residual stream minus what the SAE decodes.",
            [("residual - sae_from.decode(acts) if", "sae_from.decode(acts) - residual if")],
        ),
        Mistake(
            "without_aux",
            "You differentiate the second result as well: with has_aux=True, jacrev hands it back as it is.",
            [(", has_aux=True)", ")")],
        ),
        Mistake(
            "plain_tuple",
            "You return a plain tuple: return a `LatentGradients`, whose parts have names.",
            [
                (
                    "return LatentGradients(jacobian, acts_from, to_sparse(acts_to))",
                    "return jacobian, acts_from, to_sparse(acts_to)",
                )
            ],
        ),
    ],
    "token_to_latent_gradients": [
        Mistake(
            "transposed",
            "Your gradients lie on their side: rows are latents, columns are the positions of the prompt.",
            [("return gradients,", "return gradients.T,")],
        ),
        Mistake(
            "added",
            "You add the scales to the embeddings: multiply every embedding with its scale.",
            [("scales[:, None] * embedding", "scales[:, None] - 1 + embedding")],
        ),
        Mistake(
            "scaled_after_the_first_block",
            "You scale the residual stream after the first block: scale the embeddings, before any block has read them.",
            [
                ("activations_at(model, tokens, EMBEDDING_HOOK)", 'activations_at(model, tokens, "blocks.0.hook_out")'),
                ("resume(model, tokens, EMBEDDING_HOOK,", 'resume(model, tokens, "blocks.0.hook_out",'),
            ],
        ),
        Mistake(
            "at_other_scales",
            "You take the gradients at scales of 2: at scales of 1 the model is the real one.",
            [("embedding.new_ones(len(embedding))", "2 * embedding.new_ones(len(embedding))")],
        ),
        Mistake(
            "hooks_forgotten",
            "You do not hand `fwd_hooks` on to `resume`.",
            [(", place_of(sae), fwd_hooks)", ", place_of(sae))")],
        ),
        Mistake(
            "unit_embeddings",
            "You make the embeddings one long before you scale them: multiply them as they are.",
            [
                (
                    "embedding = activations_at(model, tokens, EMBEDDING_HOOK)",
                    "embedding = torch.nn.functional.normalize(activations_at(model, tokens, EMBEDDING_HOOK), dim=-1)",
                )
            ],
        ),
        Mistake(
            "gradient_norm",
            "You give the length of the gradient in the embedding: what is asked for is the slope along the embedding itself, as its scale grows, and that has a sign.",
            [
                ("def latents(scales:", "def latents(embedding:"),
                ("scales[:, None] * embedding", "embedding"),
                (
                    "(embedding.new_ones(len(embedding)))",
                    "(embedding)\n    gradients = gradients.norm(dim=-1)",
                ),
            ],
        ),
        Mistake(
            "at_scales_of_zero",
            "You take the gradients at scales of 0, where there are no words: at scales of 1 the model is the real one.",
            [("embedding.new_ones(len(embedding))", "embedding.new_zeros(len(embedding))")],
        ),
    ],
    "latent_to_logit_gradients": [
        Mistake(
            "not_demeaned",
            "You differentiate the plain logits: subtract the mean over the vocabulary first.",
            [("logits = logits - logits.mean()", "logits = logits + 0")],
        ),
        Mistake(
            "demeaned_after_choosing",
            "You subtract the mean of the chosen logits: subtract the mean over the whole vocabulary, before you choose.",
            [
                ("logits = logits - logits.mean()", "mean = logits.topk(k).values.mean()"),
                (
                    "token_ids = logits.topk(k).indices",
                    "token_ids = logits.topk(k).indices\n        logits = logits - mean",
                ),
            ],
        ),
        Mistake(
            "first_position",
            "You read the logits at the first position: the next token is predicted at the last one.",
            [("fwd_hooks)[-1]", "fwd_hooks)[0]")],
        ),
        Mistake(
            "error_forgotten",
            "You always leave the error out: with with_error=True the run is the model's own.",
            [("if with_error else 0.0", "if False else 0.0")],
        ),
        Mistake(
            "error_always",
            "You always add the error: with with_error=False the model must run on the reconstruction alone.",
            [("if with_error else 0.0", "if True else 0.0")],
        ),
        Mistake(
            "log_probabilities",
            "You differentiate log-probabilities: the question is about demeaned logits.",
            [("logits = logits - logits.mean()", "logits = logits.log_softmax(-1)")],
        ),
        Mistake(
            "lowest",
            "You choose the lowest logits: take the highest.",
            [("logits.topk(k)", "logits.topk(k, largest=False)")],
        ),
        Mistake(
            "hooks_forgotten",
            "You do not hand `fwd_hooks` on to `resume`.",
            [("LOGITS_HOOK, fwd_hooks)", "LOGITS_HOOK)")],
        ),
        Mistake(
            "times_activation",
            "You multiply the slopes by the activations: the Jacobian is the slope alone.",
            [("LogitGradients(jacobian,", "LogitGradients(jacobian * acts_from.values,")],
        ),
        Mistake(
            "slopes_of_log_probabilities",
            "You differentiate log-probabilities and return demeaned logits: differentiate the demeaned logits.",
            [("return logits[token_ids], (token_ids", "return logits.log_softmax(-1)[token_ids], (token_ids")],
        ),
        Mistake(
            "order_of_ids",
            "Your tokens come in the order of their numbers: the most probable comes first.",
            [("logits.topk(k).indices", "logits.topk(k).indices.sort().values")],
        ),
        Mistake(
            "tokens_of_another_run",
            "You choose the tokens by a run of the unchanged model: choose them by the logits of the run that you differentiate.",
            [("logits.topk(k).indices", "model(tokens)[0, -1].topk(k).indices")],
        ),
        Mistake(
            "plain_tuple",
            "You return a plain tuple: return a `LogitGradients`, whose parts have names.",
            [
                (
                    "return LogitGradients(jacobian, token_ids, logits, acts_from)",
                    "return jacobian, token_ids, logits, acts_from",
                )
            ],
        ),
        Mistake(
            "three_tokens",
            "You choose another number of tokens where `k` is not given: it is 5 then.",
            [("k: int = 5", "k: int = 3")],
        ),
    ],
    "ablation_effects": [
        Mistake(
            "not_demeaned",
            "You compare plain logits: demean them, before and after the change.",
            [("(logits - logits.mean(-1, keepdim=True))", "logits")],
        ),
        Mistake(
            "sign",
            "Your effects have the wrong sign: give the logit after the change minus the logit before.",
            [("demeaned[:-1] - demeaned[-1]", "demeaned[-1] - demeaned[:-1]")],
        ),
        Mistake(
            "step_ignored",
            "You always take the whole latent away: take away the share `step` of its activation.",
            [("-= step * values", "-= values")],
        ),
        Mistake(
            "from_the_reconstruction",
            "You start from the SAE's reconstruction: take the latent away from the model's own residual stream, error included.",
            [("changed = residual.repeat", "changed = sae.decode(sae.encode(residual)).repeat")],
        ),
        Mistake(
            "all_positions",
            "You take the latent away at every position: only its own position changes.",
            [
                (
                    "changed[torch.arange(len(values)), positions] -= step * values[:, None] * sae.W_dec[latents]",
                    "changed[:-1] -= (step * values[:, None] * sae.W_dec[latents])[:, None]",
                )
            ],
        ),
        Mistake(
            "activation_forgotten",
            "You subtract the latent's direction alone: what it writes is its activation times its row of W_dec.",
            [("step * values[:, None] * sae", "step * sae")],
        ),
        Mistake(
            "encoder_direction",
            "You subtract the direction in which the latent reads (W_enc): what it writes is its row of W_dec.",
            [("sae.W_dec[latents]", "sae.W_enc.T[latents]")],
        ),
        Mistake(
            "one_after_the_other",
            "You take away one latent after the other without putting the earlier ones back: start from the unchanged residual stream each time.",
            [
                (
                    "    logits = resume",
                    "    changed[:-1] = residual + (changed[:-1] - residual).cumsum(0)\n    logits = resume",
                )
            ],
        ),
        Mistake(
            "transposed",
            "Your effects lie on their side: rows are tokens, columns are latents.",
            [("demeaned[-1]).T", "demeaned[-1])")],
        ),
        Mistake(
            "hooks_forgotten",
            "You do not hand `fwd_hooks` on to `resume`.",
            [("LOGITS_HOOK, fwd_hooks)", "LOGITS_HOOK)")],
        ),
        Mistake(
            "before_without_hooks",
            "Your logits before the change come from a run without `fwd_hooks`: both runs need them, else the hooks' own effect is counted too.",
            [
                (
                    "return (demeaned[:-1] - demeaned[-1]).T",
                    "before = model(tokens)[0, -1]\n    return (demeaned[:-1] - (before - before.mean())[token_ids]).T",
                )
            ],
        ),
        Mistake(
            "last_position",
            "You take every latent away at the last position: take each away at its own.",
            [("changed[torch.arange(len(values)), positions]", "changed[torch.arange(len(values)), -1]")],
        ),
        Mistake(
            "mean_of_the_chosen",
            "You subtract the mean of the chosen logits: subtract the mean over the whole vocabulary, before you choose.",
            [
                (
                    "(logits - logits.mean(-1, keepdim=True))[:, token_ids]",
                    "logits[:, token_ids] - logits[:, token_ids].mean(-1, keepdim=True)",
                )
            ],
        ),
        Mistake(
            "divided_by_step",
            "You divide by the step: give the change itself.",
            [("(demeaned[:-1] - demeaned[-1]).T", "(demeaned[:-1] - demeaned[-1]).T / step")],
        ),
        Mistake(
            "size_of_the_step",
            "You take the step without its sign: a negative step makes the latent stronger.",
            [("-= step * values", "-= abs(step) * values")],
        ),
    ],
    "through_attention": [
        Mistake(
            "pattern_turned_round",
            "You use the pattern the wrong way round: its rows are the positions that look, its columns those that are looked at.",
            [('"hqk,...kd', '"hkq,...kd')],
        ),
        Mistake(
            "read_forgotten",
            "You leave out the norm before the block: multiply with `read` first, which has its weight and its frozen scale.",
            [("vectors * frozen.read", "vectors")],
        ),
        Mistake(
            "read_divided",
            "You divide by `read`: the scale is already divided by in it, so multiply.",
            [("vectors * frozen.read", "vectors / frozen.read")],
        ),
        Mistake(
            "write_forgotten",
            "You leave out the norm behind the block: multiply with `write` at the end.",
            [("return heads * frozen.write", "return heads")],
        ),
        Mistake(
            "OV_transposed",
            "You use OV transposed: vectors are rows here, so it is vector @ OV, and the first dimension of OV is the one that is summed.",
            [("kd,hde->", "kd,hed->")],
        ),
        Mistake(
            "stream_added",
            "You add the residual stream itself: give only what the block adds to it.",
            [("return heads * frozen.write", "return vectors + heads * frozen.write")],
        ),
        Mistake(
            "mean_over_heads",
            "You take the mean over heads: what they write is added up.",
            [("return heads * frozen.write", "return heads / len(frozen.OV) * frozen.write")],
        ),
        Mistake(
            "no_pattern",
            "Every position of yours reads only itself: the pattern has to bring what the other positions have.",
            [('"hqk,...kd,hde->...qe", frozen.pattern, vectors', '"...kd,hde->...ke", vectors')],
        ),
        Mistake(
            "write_before_the_heads",
            "You multiply with `write` before the heads: it belongs to the norm behind the block.",
            [
                ("vectors * frozen.read", "vectors * frozen.read * frozen.write"),
                ("return heads * frozen.write", "return heads"),
            ],
        ),
    ],
    "direct_gradients": [
        Mistake(
            "stream_forgotten",
            "You lose what stays in the residual stream: every block adds to it, v + attention(v), and does not replace it.",
            [("vectors = vectors + through_attention", "vectors = through_attention")],
        ),
        Mistake(
            "own_block",
            "You go through the earlier SAE's own block again: it reads after that block, so the first one on the way is the next.",
            [("range(layer_of(sae_from) + 1,", "range(layer_of(sae_from),")],
        ),
        Mistake(
            "last_block_forgotten",
            "You leave out the later SAE's own block: it reads after that block.",
            [("layer_of(sae_to) + 1)", "layer_of(sae_to))")],
        ),
        Mistake(
            "transposed",
            "Your Jacobian lies on its side: rows are the later latents, columns the earlier ones.",
            [('"std,dt->ts"', '"std,dt->st"')],
        ),
        Mistake(
            "times_activation",
            "You multiply by the activations: a gradient has W_dec alone, an effect has activation times W_dec.",
            [("= sae_from.W_dec[latent_from]", "= acts_from.values[:, None] * sae_from.W_dec[latent_from]")],
        ),
        Mistake(
            "side_by_side",
            "You add up what each block makes of the first vectors alone: a later block also reads what the earlier ones have added.",
            [
                ("    for layer in", "    first = vectors.clone()\n    for layer in"),
                ("tokens, layer), vectors)", "tokens, layer), first)"),
            ],
        ),
        Mistake(
            "all_positions",
            "You let a latent write at every position: it writes at its own only.",
            [
                (
                    "vectors[torch.arange(len(latent_from)), position_from] = sae_from.W_dec[latent_from]",
                    "vectors[:] = sae_from.W_dec[latent_from][:, None]",
                )
            ],
        ),
        Mistake(
            "decoder_reads",
            "You let the later latent read with its row of W_dec: it reads with its column of W_enc.",
            [("sae_to.W_enc[:, latent_to]", "sae_to.W_dec.T[:, latent_to]")],
        ),
        Mistake(
            "blocks_one_too_early",
            "You go through the blocks from the earlier SAE's own to the one before the later SAE's: an SAE reads after its block, so begin and end one later.",
            [("range(layer_of(sae_from) + 1, layer_of(sae_to) + 1)", "range(layer_of(sae_from), layer_of(sae_to))")],
        ),
        Mistake(
            "read_at_the_end",
            "You read all later latents at the last position: read each at its own.",
            [("vectors[:, position_to]", "vectors[:, torch.full_like(position_to, -1)]")],
        ),
        Mistake(
            "written_at_the_end",
            "You let all earlier latents write at the last position: each writes at its own.",
            [("vectors[torch.arange(len(latent_from)), position_from]", "vectors[torch.arange(len(latent_from)), -1]")],
        ),
        Mistake(
            "last_block_first",
            "You go through the blocks from the last to the first: go forwards, as the vectors do.",
            [
                (
                    "range(layer_of(sae_from) + 1, layer_of(sae_to) + 1)",
                    "range(layer_of(sae_to), layer_of(sae_from), -1)",
                )
            ],
        ),
    ],
    "effects_by_head": [
        Mistake(
            "activation_forgotten",
            "You leave out the activations: what a latent writes is its activation times its row of W_dec.",
            [("acts_from.values[:, None] * sae_from", "sae_from")],
        ),
        Mistake(
            "target_activation",
            "You multiply with the later latent's activation as well: only the source's activation is in its effect.",
            [("return weights *", "return acts_to.values[:, None] * weights *")],
        ),
        Mistake(
            "pattern_turned_round",
            "You use the pattern the wrong way round: its rows are the positions that look, here the target's.",
            [("frozen.pattern[:, position_to]", "frozen.pattern.mT[:, position_to]")],
        ),
        Mistake(
            "read_forgotten",
            "You leave out the norm before the block: multiply what the source writes with `read` at its position.",
            [(" * frozen.read[position_from]", "")],
        ),
        Mistake(
            "write_forgotten",
            "You leave out the norm behind the block: multiply the reading vector with `write` at the target's position.",
            [(" * frozen.write[position_to]", "")],
        ),
        Mistake(
            "summed",
            "You add up the heads: keep one matrix for each.",
            [("frozen.OV, reads)", "frozen.OV, reads).sum(0)"), ("weights * torch", "weights.sum(0) * torch")],
        ),
        Mistake(
            "OV_transposed",
            "You use OV transposed: vectors are rows here, so its first dimension meets what the source writes.",
            [('"sd,hde,te->hts"', '"sd,hed,te->hts"')],
        ),
        Mistake(
            "no_pattern",
            "You leave out the pattern: a head brings only as much as it looks.",
            [("return weights * torch", "return torch")],
        ),
        Mistake(
            "read_at_the_target",
            "You take `read` at the later latent's position: the head reads where the earlier latent is, so its norm's factor there counts.",
            [
                (" * frozen.read[position_from]", ""),
                (
                    'torch.einsum("sd,hde,te->hts", writes, frozen.OV, reads)',
                    'torch.einsum("sd,td,hde,te->hts", writes, frozen.read[position_to], frozen.OV, reads)',
                ),
            ],
        ),
        Mistake(
            "write_at_the_source",
            "You take `write` at the earlier latent's position: the head writes where the later latent is, so its norm's factor there counts.",
            [
                (" * frozen.write[position_to]", ""),
                (
                    'torch.einsum("sd,hde,te->hts", writes, frozen.OV, reads)',
                    'torch.einsum("sd,hde,se,te->hts", writes, frozen.OV, frozen.write[position_from], reads)',
                ),
            ],
        ),
        Mistake(
            "decoder_reads",
            "You let the later latent read with its row of W_dec: it reads with its column of W_enc.",
            [("sae_to.W_enc[:, latent_to].T", "sae_to.W_dec[latent_to]")],
        ),
        Mistake(
            "read_at_the_end",
            "You take `read` at the last position: take it where the earlier latent is.",
            [("frozen.read[position_from]", "frozen.read[-1]")],
        ),
        Mistake(
            "write_at_the_end",
            "You take `write` at the last position: take it where the later latent is.",
            [("frozen.write[position_to]", "frozen.write[-1]")],
        ),
        Mistake(
            "transposed",
            "Your matrices lie on their side: in each head's, rows are the later latents, columns the earlier ones.",
            [("return weights * torch", "return weights.mT * torch"), ('"sd,hde,te->hts"', '"sd,hde,te->hst"')],
        ),
        Mistake(
            "staying_path",
            "You add what stays at its position, past all heads: give only what the heads bring.",
            [
                (
                    "return weights * torch",
                    'stays = torch.einsum("sd,dt->ts", acts_from.values[:, None] * sae_from.W_dec[latent_from], sae_to.W_enc[:, latent_to])\n'
                    "    return stays * (position_to[:, None] == position_from) + weights * torch",
                )
            ],
        ),
    ],
    "ablate_head": [
        Mistake(
            "position_for_head",
            "You silence a position instead of a head: z is (batch, seq, head, d_head), so heads are its third dimension.",
            [("z[:, :, head] = 0.0", "z[:, head] = 0.0")],
        ),
        Mistake(
            "last_position_only",
            "You silence the head at the last position only: it must be silent at all of them.",
            [("z[:, :, head] = 0.0", "z[:, -1, head] = 0.0")],
        ),
        Mistake(
            "all_others",
            "You silence all heads but the one: take out this head and keep the others.",
            [("z[:, :, head] = 0.0", "z[:, :, torch.arange(z.shape[2]) != head] = 0.0")],
        ),
        Mistake(
            "all_heads",
            "You silence the whole block: take out one head and keep the others.",
            [("z[:, :, head] = 0.0", "z[:] = 0.0")],
        ),
        Mistake(
            "hook_left",
            "Your hook stays on the model: add it with `with hooked(...)`, which removes it again. If you have run this version outside of the check, load the model anew.",
            [
                (
                    'with hooked(model, [(f"blocks.{layer}.attn.hook_z", silence)]):\n        return model(tokens)[0]',
                    'model.add_hook(f"blocks.{layer}.attn.hook_z", silence)\n    return model(tokens)[0]',
                )
            ],
        ),
        Mistake(
            "only_the_last_token",
            "You return the logits of the last position: return those of all positions.",
            [("model(tokens)[0]", "model(tokens)[0, -1]")],
        ),
        Mistake(
            "nothing_changed",
            "Your hook changes a copy and does not return it: what a hook function returns takes the place of the old value.",
            [("        return z\n", "        return None\n")],
        ),
        Mistake(
            "in_place",
            "Your hook writes zeros into the model's own tensor: change a copy (z.clone()), since others may hold the original.",
            [("        z = z.clone()\n", "")],
        ),
        Mistake(
            "dimension_for_head",
            "You silence one dimension of every head: heads are the third dimension of z, the last one is inside a head.",
            [("z[:, :, head] = 0.0", "z[..., head] = 0.0")],
        ),
        Mistake(
            "demeaned",
            "You subtract the mean of the logits: return them as the model gives them.",
            [("return model(tokens)[0]", "return model(tokens)[0] - model(tokens)[0].mean(-1, keepdim=True)")],
        ),
    ],
}
