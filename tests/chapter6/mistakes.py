"""Planted mistakes of chapter 6: wrong answers, and what a student who made them should read."""

from utils.grading import Mistake

MISTAKES: dict[str, list[Mistake]] = {
    # 1. The gate made linear
    # 2. All neurons in one backward pass
    # 3. How sparse is it?
    # 4. From a ranking to a graph
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
    "top_firings": [
        Mistake(
            "all_positions_count",
            "You rank positions that are not used: the first position holds huge activations, and padding is no text.",
            [("(sign * acts).masked_fill(~used, -torch.inf)", "(sign * acts)")],
        ),
        Mistake(
            "sign_ignored",
            "You ignore `sign`: with -1 the most negative activations are asked for.",
            [("(sign * acts)", "acts")],
        ),
        Mistake(
            "absolute",
            "You take absolute values: the two sides of a neuron write opposite things, and only one was asked for.",
            [("(sign * acts)", "acts.abs()")],
        ),
        Mistake(
            "several_in_a_sentence",
            "You list several firings of one sentence: one for each sentence, its strongest.",
            source="""
def top_firings(acts, used, n, sign=1):
    signed = (sign * acts).masked_fill(~used, -torch.inf)
    best = signed.flatten().topk(min(n, signed.numel()))
    width = acts.shape[1]
    return [Firing(i // width, i % width, v) for i, v in zip(best.indices.tolist(), best.values.tolist()) if v > 0]
""",
        ),
        Mistake(
            "silent_ones_shown",
            "You list sentences in which the neuron does not fire: leave out what is not above 0.",
            [(" if strongest[row] > 0]", "]")],
        ),
        Mistake(
            "weakest_first",
            "You show the weakest firings first: sort from the strongest down.",
            [("descending=True", "descending=False")],
        ),
        Mistake(
            "next_token",
            "Your positions are one too far: a neuron's activation stands at the token that it has just read.",
            [("int(where[row])", "int(where[row]) + 1")],
        ),
        Mistake(
            "in_the_files_order",
            "You keep the order of the sentences: the strongest come first.",
            [("[:n].tolist()", "[:n].sort().values.tolist()")],
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
    "alike_in_change": [
        Mistake(
            "chosen_are_free",
            "You draw controls from the chosen neurons too: a control must not be chosen.",
            [("free = (~taken).nonzero().flatten()", "free = torch.arange(len(taken))")],
        ),
        Mistake(
            "taken_twice",
            "Two chosen neurons share a control: once taken, it is gone, or there are fewer controls than chosen neurons.",
            [("own_place = (first - rank).cummax(0).values + rank", "own_place = first")],
        ),
        Mistake(
            "largest_free",
            "You take the largest free neurons, whatever the sizes of the chosen ones: each needs one of its own size.",
            [("own_place = (first - rank).cummax(0).values + rank", "own_place = rank")],
        ),
        Mistake(
            "smallest_free",
            "You take the smallest free neurons: they change almost nothing, and so prove nothing.",
            [("own_place = (first - rank).cummax(0).values + rank", "own_place = len(free) - n + rank")],
        ),
        Mistake(
            "first_pairs_sizes",
            "You use the first pair's sizes for all pairs: each pair has its own.",
            [("zip(sizes.flatten(1),", "zip(sizes[:1].expand_as(sizes).flatten(1),")],
        ),
        Mistake(
            "larger_ones",
            "You take the smallest neuron that is larger: take the largest that is not larger.",
            [
                (
                    "own_place = (first - rank).cummax(0).values + rank",
                    "own_place = ((first - 1).clamp_min(0) - rank).cummax(0).values + rank",
                )
            ],
        ),
        Mistake(
            "no_refusal",
            "You return fewer controls than there are chosen neurons and do not say so: raise a ValueError.",
            [
                ("        if len(free) < n:", "        n = min(n, len(free))\n        if len(free) < n:"),
                ("-size[taken].sort(descending=True).values)", "-size[taken].sort(descending=True).values[:n])"),
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
                    "    with hooked(model, [(acts_hook(layer), partial(put, layer=layer)) for layer in range(model.cfg.n_layers)]):\n        return",
                    "    for layer in range(model.cfg.n_layers):\n        model.hook_dict[acts_hook(layer)].add_hook(partial(put, layer=layer))\n    if True:\n        return",
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
    ],
    # 9. Neurons against latents
}
