"""Planted mistakes of chapter 6: wrong answers, and what a student who made them should read."""

from utils.grading import Mistake

MISTAKES: dict[str, list[Mistake]] = {
    # 1. The gate made linear
    "half_rule": [
        Mistake(
            "no_half",
            "Your a_lin is twice the activation: each of the two factors gets half of the product.",
            [("s * gate / 2, s * inner / 2", "s * gate, s * inner")],
        ),
        Mistake(
            "swapped",
            "You put each factor's own value into its slope: the slope of u needs g, that of g needs u.",
            [("s * gate / 2, s * inner / 2", "s * inner / 2, s * gate / 2")],
        ),
        Mistake(
            "gate_frozen",
            "You freeze the whole gate, and u gets everything: only s is frozen, and the gate gets its half.",
            [("s * gate / 2, s * inner / 2", "s * gate, torch.zeros_like(inner)")],
        ),
        Mistake(
            "derivatives",
            "These are the derivatives of phi(g) * u: with them a_lin is not the activation. Freeze s = phi(g) / g instead.",
            [("s * gate / 2, s * inner / 2", "phi(gate), tangent(phi, gate) * inner")],
        ),
        Mistake(
            "tangent_for_s",
            "Your s is the derivative of phi: it is phi(g) / g, the slope of the line from the origin (`secant`).",
            [("s = secant(phi, gate)", "s = tangent(phi, gate)")],
        ),
        Mistake(
            "s_of_u",
            "You take s from u: phi is applied to the gate.",
            [("s = secant(phi, gate)", "s = secant(phi, inner)")],
        ),
        Mistake(
            "zero_at_zero",
            "Where the gate is exactly 0 your slopes are 0: phi(g) / g has no value there, and s is the derivative.",
            [("s = secant(phi, gate)", "s = torch.where(gate == 0, 0, phi(gate) / torch.where(gate == 0, 1, gate))")],
        ),
        Mistake(
            "half_without_a_gate",
            "Without a gate there is only one factor: it gets all of phi(u), not half.",
            [("return (secant(phi, inner),)", "return (secant(phi, inner) / 2,)")],
        ),
        Mistake(
            "tangent_without_a_gate",
            "Without a gate you return the derivative: a_lin is the activation only with the slope phi(u) / u.",
            [("return (secant(phi, inner),)", "return (tangent(phi, inner),)")],
        ),
    ],
    "reading_vectors": [
        Mistake(
            "no_gate",
            "You leave the gate out: a neuron with a gate reads along a column of W_gate too.",
            [("if weights.W_gate is not None:", "if False:")],
        ),
        Mistake(
            "slopes_swapped",
            "You use the slope of u for the gate and that of the gate for u: slopes[0] belongs to W_in.",
            [
                ("slope = slopes[0][positions, neurons]", "slope = slopes[-1][positions, neurons]"),
                ("slope = slopes[1][positions, neurons]", "slope = slopes[0][positions, neurons]"),
            ],
        ),
        Mistake(
            "same_at_every_position",
            "You use the slopes of the last token everywhere: a neuron reads along another vector at every position.",
            [
                ("slope = slopes[0][positions, neurons]", "slope = slopes[0][-1, neurons]"),
                ("slope = slopes[1][positions, neurons]", "slope = slopes[1][-1, neurons]"),
            ],
        ),
        Mistake(
            "no_constants",
            "Your constants are 0: the biases of W_in and W_gate belong to what a neuron reads.",
            [("return vectors, constants", "return vectors, torch.zeros_like(constants)")],
        ),
        Mistake(
            "bias_without_slope",
            "You add the biases as they are: a_lin contains them times the slopes.",
            [
                ("constants = slope * weights.b_in", "constants = weights.b_in"),
                ("constants + slope * weights.b_gate", "constants + weights.b_gate"),
            ],
        ),
        Mistake(
            "no_gate_bias",
            "You forget the bias of the gate.",
            [("constants = constants + slope * weights.b_gate[neurons].to(slope)", "pass")],
        ),
        Mistake(
            "matrices_swapped",
            "You read along W_gate with the slope of u and along W_in with that of the gate: it is the other way round.",
            [
                ("weights.W_in.T[neurons]", "(weights.W_in if weights.W_gate is None else weights.W_gate).T[neurons]"),
                ("slope[:, None] * weights.W_gate.T[neurons]", "slope[:, None] * weights.W_in.T[neurons]"),
            ],
        ),
    ],
    # 2. All neurons in one backward pass
    "all_attributions": [
        Mistake(
            "gradient_alone",
            "You return gradients: an attribution is the activation times the gradient.",
            [("at_least_float32(g[0]) * x.hooks.acts[layer]", "at_least_float32(g[0])")],
        ),
        Mistake(
            "all_positions",
            "You start the backward pass at every position: a target reads the last position only.",
            [("start[0, -1] = vector.to(end)", "start[0] = vector.to(end)")],
        ),
        Mistake(
            "first_position",
            "You start the backward pass at the first position: a target reads the last one.",
            [("start[0, -1] = vector.to(end)", "start[0, 0] = vector.to(end)")],
        ),
        Mistake(
            "gates_not_linear",
            "Your MLPs are not linear: the hooks of `x.hooks` are missing in the run, and a plain gradient does not add up.",
            [("*x.freeze.fwd_hooks, *x.hooks.fwd_hooks, *hooks]", "*x.freeze.fwd_hooks, *hooks]")],
        ),
        Mistake(
            "norms_not_frozen",
            "Attention and norms are not frozen: the hooks of `x.freeze` are missing in the run.",
            [("*x.freeze.fwd_hooks, *x.hooks.fwd_hooks, *hooks]", "*x.hooks.fwd_hooks, *hooks]")],
        ),
        Mistake(
            "same_target_twice",
            "Every target gets the attributions of the first one: start each backward pass from its own vector.",
            [("start[0, -1] = vector.to(end)", "start[0, -1] = x.vectors[0].to(end)")],
        ),
        Mistake(
            "absolute",
            "You return absolute values: a neuron may hold the answer back, and its attribution is then negative.",
            [
                (
                    "at_least_float32(g[0]) * x.hooks.acts[layer]",
                    "(at_least_float32(g[0]) * x.hooks.acts[layer]).abs()",
                )
            ],
        ),
        Mistake(
            "embedding_gradient_alone",
            "You sum the gradients at the embedding: multiply them with the embedding first.",
            [("at_least_float32(at_embedding * sources[0].detach())", "at_least_float32(at_embedding)")],
        ),
    ],
    # 3. How sparse is it?
    "set_neurons": [
        Mistake(
            "all_rows",
            "What one row asks for happens in all rows: each row has its own neurons.",
            [("torch.where(here, new", "torch.where(here.any(0), new")],
        ),
        Mistake(
            "always_silenced",
            "You silence the neurons whatever `values` says.",
            [("new.to(acts), acts)", "torch.zeros_like(acts), acts)")],
        ),
        Mistake(
            "added",
            "Values of 0 change nothing in your version: set the activations, do not add to them.",
            [("new.to(acts), acts)", "acts + new.to(acts), acts)")],
        ),
        Mistake(
            "all_others",
            "You set the neurons that are not under `where`.",
            [("new.to(acts), acts)", "acts, new.to(acts))")],
        ),
        Mistake(
            "all_positions",
            "A neuron is set at every position: only those under `where` are.",
            [("torch.where(here, new", "torch.where(here.any(1, keepdim=True), new")],
        ),
        Mistake(
            "last_layer_only",
            "All your hooks change the neurons of the last layer with any: bind the loop's variable as a default argument.",
            [("hook, here=here, new=new)", "hook)")],
        ),
        Mistake(
            "once_only",
            "You stop at the first layer without a changed neuron: go on with the next one.",
            [("continue", "break")],
        ),
    ],
    "removal_curve": [
        Mistake(
            "one_at_a_time",
            "You silence the k-th neuron alone: the first k are silenced together.",
            [("ranked[:size]", "ranked[max(size - 1, 0) : size]")],
        ),
        Mistake(
            "from_the_end",
            "You silence the last k of the ranking: those at the front are the strongest.",
            [("ranked[:size]", "ranked[len(ranked) - size :]")],
        ),
        Mistake(
            "all_but_the_first",
            "You keep the first k and silence the rest of the ranking.",
            [("ranked[:size]", "ranked[size:]")],
        ),
        Mistake(
            "change",
            "You return the change of the contrast: return what is left of it.",
            [
                (
                    "return contrast_of(set_neurons(model, question.tokens, where), question)",
                    "left = contrast_of(set_neurons(model, question.tokens, where), question)\n"
                    "    return left - contrast_of(model(question.tokens), question)",
                )
            ],
        ),
        Mistake(
            "logit",
            "You return the answer's logit: take the mean logit of the other answers from it (`contrast_of`).",
            [
                (
                    "return contrast_of(set_neurons(model, question.tokens, where), question)",
                    "return set_neurons(model, question.tokens, where)[:, -1, question.answer]",
                )
            ],
        ),
        Mistake(
            "sizes_sorted",
            "You sort the sizes: return the contrasts in the order of `sizes`.",
            [("in enumerate(sizes)", "in enumerate(sorted(sizes))")],
        ),
    ],
    "gradient_attributions": [
        Mistake(
            "gradient_alone",
            "You return gradients: multiply them with the activations.",
            [("(act * gradient)[0].detach()", "gradient[0].detach()")],
        ),
        Mistake(
            "absolute",
            "You return absolute values: the sign says whether a neuron raises or lowers the contrast.",
            [("(act * gradient)[0].detach()", "(act * gradient)[0].detach().abs()")],
        ),
        Mistake(
            "of_the_logit",
            "You go back from the answer's logit: the contrast is less the mean logit of the others.",
            [("contrast_of(model(question.tokens), question).sum()", "model(question.tokens)[0, -1, question.answer]")],
        ),
        Mistake(
            "of_the_probability",
            "You go back from a probability: the contrast is a difference of logits.",
            [
                (
                    "contrast_of(model(question.tokens), question).sum()",
                    "contrast_of(model(question.tokens).softmax(-1), question).sum()",
                )
            ],
        ),
        Mistake(
            "all_positions",
            "You sum over the answers at all positions: the contrast is that at the last one.",
            [
                (
                    "contrast_of(model(question.tokens), question).sum()",
                    "(lambda logits: sum(contrast_of(logits[:, : p + 1], question).sum() for p in range(logits.shape[1])))("
                    "model(question.tokens))",
                )
            ],
        ),
        Mistake(
            "sign",
            "Your signs are reversed: a neuron that raises the contrast has a positive score.",
            [("(act * gradient)[0].detach()", "-(act * gradient)[0].detach()")],
        ),
    ],
    # 4. From a ranking to a graph
    "strongest_neurons": [
        Mistake(
            "signed",
            "You keep the largest values and drop what holds the answer back: rank by absolute attribution.",
            [("attributions.neurons.abs())", "attributions.neurons)")],
        ),
        Mistake(
            "cancelling",
            "You add the targets up before you take absolute values: a neuron that matters for both may cancel itself.",
            [
                ("attributions.neurons.abs())", "attributions.neurons).abs()"),
            ],
        ),
        Mistake(
            "unweighted",
            "All targets count alike: weigh each with `outputs[i].weight`.",
            [("[output.weight for output in attributions.outputs]", "[1.0 for output in attributions.outputs]")],
        ),
        Mistake(
            "by_probability",
            "You weigh with probabilities: a person may have chosen other weights (`output.weight`).",
            [
                (
                    "[output.weight for output in attributions.outputs]",
                    "[output.prob for output in attributions.outputs]",
                )
            ],
        ),
        Mistake(
            "first_position_too",
            "Neurons before `start_posn` are chosen too: leave them out.",
            [("scores[:, :start_posn] = 0", "pass")],
        ),
        Mistake(
            "one_position_too_many",
            "You leave out the position `start_posn` itself: it is the first that counts.",
            [("scores[:, :start_posn] = 0", "scores[:, : start_posn + 1] = 0")],
        ),
        Mistake(
            "zeros_too",
            "You fill up with neurons that have no attribution at all: leave them out, also if fewer remain.",
            [("best.indices[best.values > 0]", "best.indices")],
        ),
        Mistake(
            "numbers_for_a_mask",
            "You return numbers: return a mask of True and False.",
            [("return chosen.reshape(scores.shape)", "return chosen.reshape(scores.shape).long()")],
        ),
    ],
    "attribute_neurons": [
        Mistake(
            "nodes_not_cut",
            "The hooks do not know the nodes: paths through a node count twice, and nothing adds up. Set `x.hooks.nodes`.",
            [("x.hooks.nodes = {layer: mask for layer, mask in enumerate(chosen) if bool(mask.any())}", "pass")],
        ),
        Mistake(
            "only_the_last_layers_nodes",
            "You tell the hooks about one layer only: every layer with a node needs its mask.",
            [("enumerate(chosen) if bool(mask.any())}", "enumerate(chosen) if layer == len(chosen) - 1}")],
        ),
        Mistake(
            "hidden_ones_too",
            "Neurons at hidden positions become nodes: pass `start_posn` on to the ranking.",
            [
                (
                    "strongest_neurons(all_attributions(x), n_nodes, start_posn)",
                    "strongest_neurons(all_attributions(x), n_nodes)",
                )
            ],
        ),
        Mistake(
            "cut_before_ranking",
            "You rank while nodes are cut out: attributions are taken first, with every neuron in the linear map.",
            [
                (
                    "chosen = strongest_neurons(all_attributions(x), n_nodes, start_posn)",
                    "every = torch.ones(model.cfg.n_layers, tokens.shape[1], x.hooks.acts[0].shape[1], dtype=torch.bool)\n"
                    "        x.hooks.nodes = dict(enumerate(every))\n"
                    "        chosen = strongest_neurons(all_attributions(x), n_nodes, start_posn)",
                )
            ],
        ),
        Mistake(
            "too_few",
            "You keep another number of neurons than was asked for: `n_nodes`.",
            [("all_attributions(x), n_nodes, start_posn)", "all_attributions(x), max(n_nodes // 2, 1), start_posn)")],
        ),
        Mistake(
            "nodes_without_edges_cut",
            "You tell the hooks that every neuron is a node: those that are none stay in the linear map.",
            [("enumerate(chosen) if bool(mask.any())}", "enumerate(torch.ones_like(chosen))}")],
        ),
    ],
    # 5. What does a neuron stand for?
    "centred_logit_lens": [
        Mistake(
            "no_mean_removed",
            "You leave the mean logit in: the softmax does not see it, and it hides which tokens are raised against the others.",
            [("    return logits - logits.mean(dim=-1, keepdim=True)", "    return logits")],
        ),
        Mistake(
            "mean_over_vectors",
            "You take the mean over the vectors away: each vector's own mean over the vocabulary must go.",
            [("logits.mean(dim=-1, keepdim=True)", "logits.mean(dim=0, keepdim=True)")],
        ),
        Mistake(
            "no_norm_weight",
            "You forget the final norm's weight: it multiplies each dimension before the unembedding reads it.",
            [("(vectors * weight) @", "vectors @")],
        ),
        Mistake(
            "through_the_whole_norm",
            "You send the vectors through the whole norm: it divides by their length, and a neuron that writes twice as much looks the same.",
            [("(vectors * weight) @", "(vectors * weight / vectors.pow(2).mean(-1, keepdim=True).sqrt()) @")],
        ),
        Mistake(
            "log_probabilities",
            "You return log-probabilities: a softmax mixes what a vector does with how much all else is there. Keep the logits.",
            [("    return logits - logits.mean(dim=-1, keepdim=True)", "    return logits.log_softmax(dim=-1)")],
        ),
        Mistake(
            "unembedding_centred_by_dimension",
            "You take the mean of W_U over d_model: it is the mean over the tokens that must go.",
            [
                ("model.W_U.detach().to(vectors)", "(model.W_U - model.W_U.mean(dim=0)).detach().to(vectors)"),
                ("    return logits - logits.mean(dim=-1, keepdim=True)", "    return logits"),
            ],
        ),
    ],
    "detection_score": [
        Mistake(
            "accuracy",
            "You return the share of right predictions: where firings are rare, always saying no scores high. Weigh both kinds alike.",
            [("float((found + ruled_out) / 2)", "float((predicted == fires).float().mean())")],
        ),
        Mistake(
            "recall_only",
            "You count only the firings that are found: a description that always says yes would be perfect.",
            [("float((found + ruled_out) / 2)", "float(found)")],
        ),
        Mistake(
            "arguments_exchanged",
            "You divide by the number of predictions: the shares are taken among the sentences with a firing and among those without.",
            [
                ("predicted[fires].float()", "fires[predicted].float()"),
                ("(~predicted[~fires]).float()", "(~fires[~predicted]).float()"),
            ],
        ),
        Mistake(
            "product",
            "You multiply the two shares: balanced accuracy is their mean, and guessing then gets one half.",
            [("(found + ruled_out) / 2", "found * ruled_out")],
        ),
        Mistake(
            "false_alarms",
            "Your second share counts false alarms: take the sentences that are rightly ruled out.",
            [("(~predicted[~fires])", "predicted[~fires]")],
        ),
        Mistake(
            "no_refusal",
            "You give a score to a neuron that fires on all sentences or on none: one of the two shares does not exist then.",
            [
                ("if bool(fires.all()) or not bool(fires.any()):", "if False:"),
                (
                    "    return float(",
                    "    found, ruled_out = found.nan_to_num(0), ruled_out.nan_to_num(0)\n    return float(",
                ),
            ],
        ),
    ],
    # 6. Two hops in a real model
    "choose_by_change": [
        Mistake(
            "own_end_only",
            "You use the own prompt's gradient alone: it says what makes the own answer, not what brings the other one.",
            [("(other.gradients - own.gradients)", "-own.gradients")],
        ),
        Mistake(
            "other_end_only",
            "You use the other prompt's gradient alone: what makes the own answer has to go as well.",
            [("(other.gradients - own.gradients)", "other.gradients")],
        ),
        Mistake(
            "turned_round",
            "You take own less other for the change: the neuron moves from its own activation to the other's.",
            [("(other.acts - own.acts)", "(own.acts - other.acts)")],
        ),
        Mistake(
            "gradients_added",
            "You add the two gradients: they are of opposite answers, so subtract the own one.",
            [("(other.gradients - own.gradients)", "(other.gradients + own.gradients)")],
        ),
        Mistake(
            "largest_change",
            "You choose the largest changes: a change counts for as much as the gradient says that it is worth.",
            [("(other.acts - own.acts) * (other.gradients - own.gradients)", "(other.acts - own.acts).abs()")],
        ),
        Mistake(
            "absolute_scores",
            "You choose by absolute scores: a neuron with a negative score works against the other answer.",
            [("flat = scores.flatten(1)", "flat = scores.flatten(1).abs()")],
        ),
        Mistake(
            "negative_ones_too",
            "You always choose k neurons: those with a score of 0 or less must stay, even if there are fewer than k then.",
            [("best.values > 0", "torch.ones_like(best.values, dtype=torch.bool)")],
        ),
        Mistake(
            "one_set_for_all",
            "You choose one set of neurons for all pairs: every pair has its own.",
            [("flat = scores.flatten(1)", "flat = scores.flatten(1).mean(0, keepdim=True).expand(len(scores), -1)")],
        ),
        Mistake(
            "k_in_every_layer",
            "You choose k neurons in every layer: k in all layers and places together.",
            [
                ("scores.flatten(1)\n", "scores.flatten(2)\n"),
                ("topk(k, dim=1)", "topk(min(k, scores[0, 0].numel()), dim=-1)"),
                ("scatter(1,", "scatter(2,"),
            ],
        ),
    ],
    "exchange_neurons": [
        Mistake(
            "first_prompt_only",
            "You exchange neurons in the first prompt only: every row of the batch is a pair of its own.",
            [
                (
                    "acts[:, places] = torch.where(chosen[:, layer], values[:, layer].to(acts), acts[:, places])",
                    "acts[0, places] = torch.where(chosen[0, layer], values[0, layer].to(acts), acts[0, places])",
                )
            ],
        ),
        Mistake(
            "one_position_late",
            "You write one position too late: `positions` are the numbers of the tokens, and the first token has number 0.",
            [("places = list(positions)", "places = [position + 1 for position in positions]")],
        ),
        Mistake(
            "first_pairs_neurons",
            "You exchange the first pair's neurons in all prompts: each row of `chosen` is a pair's own.",
            [("torch.where(chosen[:, layer],", "torch.where(chosen[:1, layer],")],
        ),
        Mistake(
            "added",
            "You add the new activations to the old ones: they take their place.",
            [
                (
                    "values[:, layer].to(acts), acts[:, places])",
                    "values[:, layer].to(acts) + acts[:, places], acts[:, places])",
                )
            ],
        ),
        Mistake(
            "all_neurons",
            "You exchange all neurons at the positions: only the chosen ones.",
            [
                (
                    "torch.where(chosen[:, layer], values[:, layer].to(acts), acts[:, places])",
                    "values[:, layer].to(acts)",
                )
            ],
        ),
        Mistake(
            "silenced",
            "You silence the chosen neurons: they must take the given values.",
            [("values[:, layer].to(acts), acts[:, places])", "torch.zeros_like(acts[:, places]), acts[:, places])")],
        ),
        Mistake(
            "first_place_only",
            "You exchange neurons at the first of the positions only: at each place those that are chosen there.",
            [
                (
                    "acts[:, places] = torch.where(chosen[:, layer], values[:, layer].to(acts), acts[:, places])",
                    "acts[:, places[0]] = torch.where(chosen[:, layer, 0], values[:, layer, 0].to(acts), acts[:, places[0]])",
                )
            ],
        ),
        Mistake(
            "hooks_left_behind",
            "Your hooks stay in the model: the next run is still changed. Use `hooked`, which takes them out again.",
            [
                (
                    "    with hooked(model, edits):\n        return",
                    "    for place, edit in edits:\n        model.hook_dict[place].add_hook(edit)\n    if True:\n        return",
                )
            ],
        ),
    ],
    # 7. A failure explained
    "patch_states": [
        Mistake(
            "behind_the_layer",
            "You write behind the layer: the state belongs in front of it, so that this layer answers too.",
            [("hooked(model, [(state_hook(layer), put)])", "hooked(model, [(f'blocks.{layer}.hook_out', put)])")],
        ),
        Mistake(
            "one_position_late",
            "You write one position too late: `positions` are the numbers of the tokens, and the first token has number 0.",
            [("value[rows, positions] =", "value[rows, positions + 1] =")],
        ),
        Mistake(
            "first_position_for_all",
            "You use the first prompt's position for all prompts: each has its own.",
            [("value[rows, positions] =", "value[rows, positions[0]] =")],
        ),
        Mistake(
            "first_prompt_only",
            "You change the first prompt only: every prompt gets its own state.",
            [("value[rows, positions] = states.to(value)", "value[0, positions[0]] = states[0].to(value)")],
        ),
        Mistake(
            "first_state_for_all",
            "You give all prompts the first state: each has its own.",
            [("= states.to(value)", "= states[0].to(value)")],
        ),
        Mistake(
            "added",
            "You add the state to what stands there: it takes its place.",
            [("value[rows, positions] = states", "value[rows, positions] += states")],
        ),
        Mistake(
            "every_position",
            "You write the state at every position: only at the one place of each prompt.",
            [("value[rows, positions] = states.to(value)", "value[:] = states.to(value)[:, None]")],
        ),
        Mistake(
            "hooks_left_behind",
            "Your hook stays in the model: the next run is still changed. Use `hooked`, which takes it out again.",
            [
                (
                    "    with hooked(model, [(state_hook(layer), put)]):\n        return",
                    "    model.hook_dict[state_hook(layer)].add_hook(put)\n    if True:\n        return",
                )
            ],
        ),
    ],
    # 8. What real models do to the method
    "massive_positions": [
        Mistake(
            "sign_counts",
            "You look for large positive numbers only: a massive activation may be negative. Take absolute values.",
            [("sizes = states.abs()", "sizes = states")],
        ),
        Mistake(
            "mean",
            "You compare with the mean: a massive activation raises it itself. Take the median.",
            [("sizes.flatten(1).median(dim=1).values", "sizes.flatten(1).mean(dim=1)")],
        ),
        Mistake(
            "one_median_for_all",
            "You take one median for all layers: the stream grows from layer to layer, so that each needs its own.",
            [("sizes.flatten(1).median(dim=1).values", "sizes.median().expand(len(sizes))")],
        ),
        Mistake(
            "one_median_a_position",
            "You take the median of each position: take that of the whole layer, or a position where everything is large looks normal.",
            [("sizes.flatten(1).median(dim=1).values", "sizes.median(dim=-1).values"), ("medians[:, None]", "medians")],
        ),
        Mistake(
            "either_condition",
            "You are content with one of the two conditions: both must hold.",
            [(" & (largest", " | (largest")],
        ),
        Mistake(
            "above_only",
            "You ask for more than `smallest`: a limit that is reached exactly is enough.",
            [("(largest >= smallest)", "(largest > smallest)")],
        ),
        Mistake(
            "length_of_the_state",
            "You measure the length of the whole vector: a massive activation is one number.",
            [("largest = sizes.amax(dim=-1)", "largest = sizes.norm(dim=-1)")],
        ),
        Mistake(
            "numbers_for_a_mask",
            "You return numbers: return a mask of True and False.",
            [("return (largest", "return 1 * (largest")],
        ),
    ],
}
