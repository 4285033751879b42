"""Planted mistakes of chapter 4: wrong answers, and what a student who made them should read."""

from utils.grading import Mistake

MISTAKES = {
    "resolve_edits": [
        Mistake(
            "kinds_ignored",
            "You take `value` for the new activation whatever the kind: 'scale' must multiply the activation on the "
            "unchanged prompt, 'add' must add to it.",
            [
                ("before.new_tensor(factor) * before + before.new_tensor(shift)", "before.new_tensor(values_given)"),
                ("factor = [{", "values_given = [edit.value for edit in here]\n        factor = [{"),
            ],
        ),
        Mistake(
            "add_forgets_before",
            "Your 'add' forgets the activation on the unchanged prompt: you set the latent to the amount that was to be added.",
            [('"add": 1.0}', '"add": 0.0}')],
        ),
        Mistake(
            "scale_adds",
            "Your 'scale' adds the multiple to the activation: 2 must double it, and you triple it.",
            [('"scale": edit.value, ', '"scale": 1 + edit.value, ')],
        ),
        Mistake(
            "first_row_only",
            "You read the activation on the unchanged prompt from row 0 for every edit: each edit has a row of its own.",
            [("before = acts[rows, positions, latents]", "before = acts[0, positions, latents]")],
        ),
        Mistake(
            "layers_mixed",
            "You give every layer the edits of all layers: keep only those whose `layer` it is.",
            [("[edit for edit in edits if edit.layer == layer]", "list(edits)")],
        ),
        Mistake(
            "conflict_accepted",
            "You accept two edits of the same latent at the same place: refuse them, else it is chance which one counts.",
            [("if len(set(places)) < len(places):", "if False:")],
        ),
        Mistake(
            "rows_conflict",
            "You refuse edits of one latent in different rows: a row is a prompt of its own, so that is no conflict.",
            [("[(edit.row, edit.layer,", "[(0, edit.layer,")],
        ),
        Mistake(
            "unknown_kind_accepted",
            "You accept a kind that does not exist: say with a ValueError that it must be 'set', 'scale' or 'add'.",
            [
                ("if unknown := {edit.kind for edit in edits} - ", "if unknown := set() - "),
                ("[edit.kind] for edit in here]", ".get(edit.kind, 0.0) for edit in here]"),
            ],
        ),
        Mistake(
            "empty_layers_kept",
            "You also return layers that no edit names: leave them out.",
            [("for layer in sorted({edit.layer for edit in edits}):", "for layer in sorted(base_acts):")],
        ),
    ],
    "rewrite_mlp": [
        Mistake(
            "skip_twice",
            "Your error still holds what the skip writes: `y` contains the skip, so subtract the whole linear part, else it is "
            "counted twice.",
            [("else y - linear - live @ W_dec", "else y - transcoder.b_dec.detach().to(x) - live @ W_dec")],
        ),
        Mistake(
            "no_error",
            "You drop the error: without any edit the MLP must write exactly `y`, also what the transcoder cannot explain.",
            [("else y - linear - live @ W_dec", "else torch.zeros_like(y)")],
        ),
        Mistake(
            "held_error_answers",
            "In a held MLP your error answers to the new input: it must keep its value of the unchanged prompts.",
            [("base.error if held or freeze_errors else", "base.error if freeze_errors else")],
        ),
        Mistake(
            "freeze_errors_ignored",
            "You ignore `freeze_errors`: the error must then keep its value of the unchanged prompts.",
            [("base.error if held or freeze_errors else", "base.error if held else")],
        ),
        Mistake(
            "held_latents_answer",
            "In a held MLP your latents answer to the new input: they must keep their activations of the unchanged prompts.",
            [("acts = base.acts.clone() if held else live.clone()", "acts = live.clone()")],
        ),
        Mistake(
            "latents_never_answer",
            "Your latents always keep their old activations: unless the MLP is held, encode the `x` of this run.",
            [("acts = base.acts.clone() if held else live.clone()", "acts = base.acts.clone()")],
        ),
        Mistake(
            "writes_into_base",
            "You write the edits into the activations of the unchanged run itself: clone them first.",
            [("acts = base.acts.clone() if held", "acts = base.acts if held")],
        ),
        Mistake(
            "old_input",
            "Your linear part reads the input of the unchanged run: the skip answers to the `x` of this run, held or not.",
            [("linear = linear_part(transcoder, x)", "linear = linear_part(transcoder, base.x)")],
        ),
        Mistake(
            "held_ignores_edits",
            "You leave out the edits where the MLP is held: holding keeps the other latents, edits count all the same.",
            [("if edits is not None:", "if edits is not None and not held:")],
        ),
        Mistake(
            "error_takes_the_edit_back",
            "You compute the error with the edited activations, so that it takes the edit back: use the live ones.",
            [
                (
                    "return linear + acts @ W_dec + error, acts",
                    "error = base.error if held or freeze_errors else y - linear - acts @ W_dec\n"
                    "    return linear + acts @ W_dec + error, acts",
                ),
                ("error = base.error if held or freeze_errors else y - linear - live @ W_dec\n", "\n"),
            ],
        ),
        Mistake(
            "edit_not_written",
            "You report the edited activations but write with the ones before the edit.",
            [("return linear + acts @ W_dec + error, acts", "return linear + live @ W_dec + error, acts")],
        ),
        Mistake(
            "edit_adds",
            "You add the new activation to the old one: an edit gives the new activation itself.",
            [
                (
                    "acts[edits.rows, edits.positions, edits.latents] = edits.values",
                    "acts[edits.rows, edits.positions, edits.latents] += edits.values",
                )
            ],
        ),
        Mistake(
            "shared_with_base",
            "Without an edit your held MLP returns the unchanged run's own activations: whoever writes into the result later "
            "changes both. Return a clone.",
            [
                (
                    "acts = base.acts.clone() if held else live.clone()",
                    "acts = live.clone() if not held else base.acts if edits is None else base.acts.clone()",
                )
            ],
        ),
        Mistake(
            "edits_or_frozen_errors",
            "You leave out the edits where the error is frozen: edits count whatever else is held.",
            [("if edits is not None:", "if edits is not None and not freeze_errors:")],
        ),
    ],
    "intervene": [
        Mistake(
            "attention_always_live",
            "You ignore `freeze_attention`: the patterns must be held unless it is switched off.",
            [('("hook_pattern",) * freeze_attention + ("hook_scale",)', '("hook_scale",)')],
        ),
        Mistake(
            "norms_always_live",
            "You ignore `freeze_norms`: the scales must be held when it is switched on.",
            [(' + ("hook_scale",) * freeze_norms', "")],
        ),
        Mistake(
            "everything_frozen",
            "You add all hooks of `base.freeze` every time: choose those that the two switches ask for.",
            [
                (
                    "for name, hold in base.freeze.fwd_hooks if name.endswith(frozen)]",
                    "for name, hold in base.freeze.fwd_hooks]",
                )
            ],
        ),
        Mistake(
            "switches_swapped",
            "Your switches are mixed up: attention is frozen by the hooks named 'hook_pattern', norms by 'hook_scale'.",
            [
                (
                    '("hook_pattern",) * freeze_attention + ("hook_scale",) * freeze_norms',
                    '("hook_scale",) * freeze_attention + ("hook_pattern",) * freeze_norms',
                )
            ],
        ),
        Mistake(
            "last_layer_everywhere",
            "All your hooks look at the loop's variable, which is the last layer when they run: bind the layer to each hook, as "
            "`partial` does.",
            [
                (
                    "(mlp_out_hook(layer), partial(write, layer=layer))",
                    "(mlp_out_hook(layer), lambda y, hook: write(y, hook, layer))",
                )
            ],
        ),
        Mistake(
            "nothing_held",
            "You ignore `constrained_layers`: the MLPs of these layers must be held.",
            [("held = layer in constrained_layers", "held = False")],
        ),
        Mistake(
            "the_others_held",
            "You hold the layers that are not constrained, and let the constrained ones answer.",
            [("held = layer in constrained_layers", "held = layer not in constrained_layers")],
        ),
        Mistake(
            "errors_not_passed",
            "You do not pass `freeze_errors` on to `rewrite_mlp`.",
            [("resolved.get(layer), held, freeze_errors", "resolved.get(layer), held")],
        ),
        Mistake(
            "unembedding_not_read",
            'You do not record what the logits read: `reads` needs "L", at the output of the final norm.',
            [('hooks.append((FINAL_HOOK, partial(read, place="L")))', "pass")],
        ),
        Mistake(
            "hooks_left",
            "You leave hooks on the model: add them with `hooked(...)`, which takes them off again.",
            [
                (
                    "with hooked(model, hooks):\n        logits = model(base.tokens)",
                    "for name, function in hooks:\n        model.add_hook(name, function)\n    logits = model(base.tokens)",
                )
            ],
        ),
        Mistake(
            "live_activations_returned",
            "You return the activations before the edit: `rewrite_mlp` gives those that the MLP writes with.",
            [
                (
                    "        return y\n",
                    "        acts[layer] = transcoders[layer].encode(reads[layer]).to(y)\n        return y\n",
                )
            ],
        ),
        Mistake(
            "gradient_wanted",
            "Your result still asks for a gradient: run under `torch.no_grad()`.",
            [
                ("@torch.no_grad()\n", ""),
                (
                    "logits = model(base.tokens)",
                    "with torch.enable_grad():\n            logits = model(base.tokens).detach().requires_grad_()",
                ),
            ],
        ),
        Mistake(
            "edits_not_made",
            "You never hand the edits to `rewrite_mlp`: nothing changes.",
            [("resolved.get(layer), held, freeze_errors", "None, held, freeze_errors")],
        ),
        Mistake(
            "all_hooks_removed",
            "You take off every hook on the model, also those that others had added, and none if the run fails: "
            "`with hooked(...)` takes off yours, and always.",
            [
                (
                    "with hooked(model, hooks):\n        logits = model(base.tokens)",
                    "for name, function in hooks:\n        model.add_hook(name, function)\n"
                    "    logits = model(base.tokens)\n    model.reset_hooks()",
                )
            ],
        ),
        Mistake(
            "all_hooks_always_removed",
            "You take off every hook on the model, also those that others had added: `with hooked(...)` takes off yours alone.",
            [
                (
                    "with hooked(model, hooks):\n        logits = model(base.tokens)",
                    "try:\n        for name, function in hooks:\n            model.add_hook(name, function)\n"
                    "        logits = model(base.tokens)\n    finally:\n        model.reset_hooks()",
                )
            ],
        ),
        Mistake(
            "left_when_it_fails",
            "If the run fails, your hooks stay on the model: `with hooked(...)` takes them off then too.",
            [
                (
                    "with hooked(model, hooks):\n        logits = model(base.tokens)",
                    "for name, function in hooks:\n        model.hook_dict[name].add_hook(function, level=7)\n"
                    "    logits = model(base.tokens)\n"
                    "    for name, _ in hooks:\n        model.hook_dict[name].remove_hooks(level=7)",
                )
            ],
        ),
        Mistake(
            "held_unless_edited",
            "You hold a constrained layer only if it has no edits: held or not, and edited or not, are two questions.",
            [
                (
                    "held = layer in constrained_layers",
                    "held = layer in constrained_layers and layer not in resolved",
                )
            ],
        ),
    ],
    "direct_effects": [
        Mistake(
            "factor_itself",
            "You multiply the edge by the factor: the *change* is factor - 1, so that a factor of 1 changes nothing.",
            [("(factor - 1) *", "factor *")],
        ),
        Mistake(
            "row",
            "You take the row of the source, which is what it reads: its effects stand in its column, [target, source].",
            [("[:, source]", "[source]")],
        ),
        Mistake(
            "reversed",
            "Your sign is the wrong way round: a factor above 1 must change a target in the direction of the edge.",
            [("(factor - 1) *", "(1 - factor) *")],
        ),
        Mistake(
            "no_factor",
            "You return the edges themselves, whatever the factor.",
            [("(factor - 1) *", "1.0 *")],
        ),
        Mistake(
            "activation_again",
            "You multiply by the activation once more: the edge contains it already, in the source's writing vector.",
            [("[:, source]", "[:, source] * result.graph.nodes[source].activation")],
        ),
        Mistake(
            "absolute",
            "You lose the signs of the edges: a source may push a target down.",
            [("result.adjacency_matrix[:, source]", "result.adjacency_matrix[:, source].abs()")],
        ),
    ],
    "total_effects": [
        Mistake(
            "not_relative",
            "You pass the change itself on: a latent that reads r more writes r / activation times as much more, so divide by "
            "its activation.",
            [("torch.where(acts > 0, change / acts, 0)", "torch.where(acts > 0, change, 0)")],
        ),
        Mistake(
            "one_edge_only",
            "You stop after one edge: that is the direct effect. Go on along paths of two edges and more.",
            [("range(result.graph.n_layers + 1)", "range(1)")],
        ),
        Mistake(
            "one_edge_short",
            "You stop one edge too early: from an embedding to a logit the longest path has n_layers + 1 edges.",
            [("range(result.graph.n_layers + 1)", "range(result.graph.n_layers)")],
        ),
        Mistake(
            "longest_only",
            "You keep only the last step: the total is the sum over paths of every length.",
            [("total += change", "total = change if change.any() else total")],
        ),
        Mistake(
            "absolute",
            "You lose the signs of the edges: paths may cancel.",
            [("matrix = result.adjacency_matrix", "matrix = result.adjacency_matrix.abs()")],
        ),
        Mistake(
            "factor_itself",
            "You start with the factor: the source's *change* is factor - 1.",
            [("share[source] = factor - 1", "share[source] = factor")],
        ),
        Mistake(
            "backwards",
            "You walk the edges backwards: the matrix is [target, source], so a step is `matrix @ share`.",
            [("change = matrix @ share", "change = matrix.T @ share")],
        ),
        Mistake(
            "source_included",
            "You count the source's own change as an effect: only what other nodes read counts.",
            [("return total", "total[source] += factor - 1\n    return total")],
        ),
        Mistake(
            "clamped",
            "You stop latents at zero: the graph knows no thresholds, and its sum over paths is linear in `factor - 1`, whatever "
            "becomes of an activation on the way.",
            [("torch.where(acts > 0, change / acts, 0)", "torch.where(acts > 0, change / acts, 0).clamp_min(-1)")],
        ),
        Mistake(
            "fixed_number_of_steps",
            "Your number of steps is not that of this graph: take `result.graph.n_layers`, for a graph may be deeper.",
            [("range(result.graph.n_layers + 1)", "range(6 + 1)")],
        ),
    ],
    "measured_effects": [
        Mistake(
            "set_to_factor",
            "You set the latent to the factor instead of multiplying its activation: the edit's kind is 'scale'.",
            [(', factor, "scale")', ", factor)")],
        ),
        Mistake(
            "last_position",
            "You edit at the last position: the latent stands at `node.ctx_idx`.",
            [("Edit(node.layer, node.ctx_idx,", "Edit(node.layer, result.graph.seq_len - 1,")],
        ),
        Mistake(
            "frozen_ignored",
            "You do not pass on what is to be frozen.",
            [("(edit,), **frozen)", "[edit])")],
        ),
        Mistake(
            "not_a_change",
            "You return the readings themselves: subtract those on the unchanged prompt.",
            [(" - result.values", "")],
        ),
        Mistake(
            "reversed",
            "You subtract the wrong way round: the change is after minus before.",
            [
                (
                    "read_targets(result.graph, reads) - result.values",
                    "result.values - read_targets(result.graph, reads)",
                )
            ],
        ),
        Mistake(
            "added",
            "You add the factor to the activation: the edit's kind is 'scale'.",
            [('"scale")', '"add")')],
        ),
        Mistake(
            "only_the_attention_switch",
            "You hand on freeze_attention and nothing else: hand on all of `frozen`.",
            [("(edit,), **frozen)", '(edit,), freeze_attention=frozen.get("freeze_attention", True))')],
        ),
        Mistake(
            "size_of_the_factor",
            "You take the factor without its sign: a negative one turns the latent round.",
            [("node.feature, factor,", "node.feature, abs(factor),")],
        ),
    ],
    "matched_controls": [
        Mistake(
            "own_control",
            "A chosen item may be its own control, or another's: leave out all that are chosen.",
            [("free[list(chosen)] = False", "pass")],
        ),
        Mistake(
            "used_twice",
            "You use one item as the control of two: take each out once it is drawn.",
            [("free[drawn] = False", "pass")],
        ),
        Mistake(
            "not_matched",
            "You draw from all other items: only the `n_nearest` in size may be drawn.",
            [("[: min(n_nearest, int(free.sum()))]", "[: int(free.sum())]")],
        ),
        Mistake(
            "always_the_nearest",
            "You always take the nearest item: draw one of the `n_nearest`, so that other seeds give other controls.",
            [("[: min(n_nearest, int(free.sum()))]", "[:1]")],
        ),
        Mistake(
            "smallest",
            "You sort by the signed difference, which puts the smallest items first: nearness is the absolute difference.",
            [("(sizes - sizes[i]).abs()", "(sizes - sizes[i])")],
        ),
        Mistake(
            "farthest",
            "You take the items whose size differs most.",
            [("(sizes - sizes[i]).abs()", "-(sizes - sizes[i]).abs()")],
        ),
        Mistake(
            "generator_unused",
            "You draw without the generator, so that the same seed gives other controls each time.",
            [("(), generator=generator)", "())")],
        ),
        Mistake(
            "too_few_accepted",
            "You return fewer controls than were asked for: refuse when there are not enough other items.",
            [
                ("if int(free.sum()) < len(chosen):", "if False:"),
                ("for i in chosen:", "for i in chosen[: int(free.sum())]:"),
            ],
        ),
    ],
    "dose_response": [
        Mistake(
            "dose_is_the_value",
            "You set the latents to the dose: a dose is a multiple of each latent's own activation.",
            [('dose, "scale", row)', 'dose, "set", row)')],
        ),
        Mistake(
            "dose_is_added",
            "You add the dose to the activations: a dose is a multiple of them.",
            [('dose, "scale", row)', 'dose, "add", row)')],
        ),
        Mistake(
            "one_row",
            "You put all doses into row 0: each dose has a row of the batch to itself.",
            [('dose, "scale", row)', 'dose, "scale", 0)')],
        ),
        Mistake(
            "first_latent_only",
            "You change only the first of the latents: all of them get the dose.",
            [("for node in nodes\n", "for node in nodes[:1]\n")],
        ),
        Mistake(
            "not_a_change",
            "You return the contrast itself: subtract the contrast on the unchanged prompt.",
            [(" - contrast_of(base.logits, question)", "")],
        ),
        Mistake(
            "bare_logit",
            "You compare bare logits: take the contrast with the other answers, which `contrast_of` gives.",
            [
                (
                    "contrast_of(edited.logits, question) - contrast_of(base.logits, question)",
                    "edited.logits[:, -1, question.answer] - base.logits[:, -1, question.answer]",
                )
            ],
        ),
        Mistake(
            "frozen_ignored",
            "You do not pass on what is to be frozen.",
            [("dosed, **frozen)", "dosed)")],
        ),
        Mistake(
            "reversed",
            "You subtract the wrong way round: the change is after minus before.",
            [
                (
                    "contrast_of(edited.logits, question) - contrast_of(base.logits, question)",
                    "contrast_of(base.logits, question) - contrast_of(edited.logits, question)",
                )
            ],
        ),
        Mistake(
            "first_dose",
            "You compare with the first dose: compare with the unchanged prompt, `base.logits`.",
            [("- contrast_of(base.logits, question)", "- contrast_of(edited.logits, question)[0]")],
        ),
        Mistake(
            "only_the_attention_switch",
            "You hand on freeze_attention and nothing else: hand on all of `frozen`.",
            [("base, dosed, **frozen)", 'base, dosed, freeze_attention=frozen.get("freeze_attention", True))')],
        ),
    ],
    "ablate_each": [
        Mistake(
            "all_in_one_row",
            "You silence all latents in row 0: each latent has a row of the batch to itself.",
            [("0.0, row=row)", "0.0, row=0)")],
        ),
        Mistake(
            "cumulative",
            "Your rows silence the earlier latents too: each latent alone is to be silenced.",
            [("for row, node in enumerate(part)]", "for row in range(len(part)) for node in part[: row + 1]]")],
        ),
        Mistake(
            "reversed_latent",
            "You turn the latents round instead of silencing them: an ablated latent has activation 0.",
            [("0.0, row=row)", '-1.0, "scale", row)')],
        ),
        Mistake(
            "reversed_sign",
            "You subtract the wrong way round: after minus before, so that a latent that helped has a negative effect.",
            [
                (
                    "contrast_of(edited.logits, question) - contrast_of(base.logits, question)",
                    "contrast_of(base.logits, question) - contrast_of(edited.logits, question)",
                )
            ],
        ),
        Mistake(
            "last_batch_lost",
            "You lose the last batch when it is not full: there must be one effect for each latent.",
            [
                (
                    "range(0, len(nodes), batch_size)",
                    "range(0, max(len(nodes) - batch_size + 1, batch_size), batch_size)",
                )
            ],
        ),
        Mistake(
            "first_batch_again",
            "You ablate the first batch again and again: the latents of a batch begin at `first`.",
            [("part = nodes[first : first + batch_size]", "part = nodes[:batch_size]")],
        ),
        Mistake(
            "frozen_ignored",
            "You do not pass on what is to be frozen.",
            [("silenced, **frozen)", "silenced)")],
        ),
        Mistake(
            "not_a_change",
            "You return the contrasts themselves: subtract the contrast on the unchanged prompt.",
            [(" - contrast_of(base.logits, question)", "")],
        ),
        Mistake(
            "bare_logit",
            "You compare bare logits: take the contrast with the other answers, which `contrast_of` gives.",
            [
                (
                    "contrast_of(edited.logits, question) - contrast_of(base.logits, question)",
                    "edited.logits[:, -1, question.answer] - base.logits[:, -1, question.answer]",
                )
            ],
        ),
        Mistake(
            "batch_size_ignored",
            "You run all latents together whatever `batch_size` says: a graph of hundreds of them would fill the memory.",
            [("range(0, len(nodes), batch_size)", "range(0, len(nodes), batch_size := len(nodes))")],
        ),
        Mistake(
            "only_the_attention_switch",
            "You hand on freeze_attention and nothing else: hand on all of `frozen`.",
            [("base, silenced, **frozen)", 'base, silenced, freeze_attention=frozen.get("freeze_attention", True))')],
        ),
    ],
    "necessity_curve": [
        Mistake(
            "one_row",
            "You silence the latents of all sizes in row 0: each size has a row of the batch to itself.",
            [("0.0, row=row)", "0.0, row=0)")],
        ),
        Mistake(
            "only_the_kth",
            "You silence the k-th latent alone: the first k of them go together.",
            [("for node in ranked[:size]", "for node in ranked[max(size - 1, 0) : size]")],
        ),
        Mistake(
            "keeps_them",
            "You silence all but the first k: that is the other question. Here the first k go, and the rest stays.",
            [("for node in ranked[:size]", "for node in ranked[size:]")],
        ),
        Mistake(
            "weakest_first",
            "You silence the last k of the list: the first ones come first.",
            [("for node in ranked[:size]", "for node in ranked[len(ranked) - size :]")],
        ),
        Mistake(
            "attention_frozen",
            "Your attention patterns are frozen: nothing is to be held here, so pass `freeze_attention=False`.",
            [("gone, freeze_attention=False)", "gone)")],
        ),
        Mistake(
            "clean_writes",
            "You take away what the latents wrote on the unchanged prompt: once earlier ones are gone a later one writes something "
            "else. Set it to 0, whatever it would be.",
            [
                (
                    "left = intervene(model, transcoders, base, gone, freeze_attention=False)",
                    """
    def take(node_layer):
        def change(y, hook):
            y = y.clone()
            for edit in gone:
                if edit.layer == node_layer:
                    was = base.acts[edit.layer][edit.row, edit.position, edit.latent]
                    y[edit.row, edit.position] -= was * transcoders[edit.layer].W_dec[edit.latent].detach()
            return y
        return change

    from types import SimpleNamespace
    with torch.no_grad(), hooked(model, [(mlp_out_hook(layer), take(layer)) for layer in transcoders]):
        left = SimpleNamespace(logits=model(base.tokens))""",
                )
            ],
        ),
        Mistake(
            "turned_round",
            "You turn the latents round instead of silencing them: a silenced latent has activation 0.",
            [("0.0, row=row)", '-1.0, "scale", row)')],
        ),
        Mistake(
            "a_change",
            "You return the change: asked for is the contrast that is left, so that size 0 gives that of the unchanged model.",
            [
                (
                    "return contrast_of(left.logits, question)",
                    "return contrast_of(left.logits, question) - contrast_of(base.logits, question)",
                )
            ],
        ),
        Mistake(
            "what_is_lost",
            "You return what is lost, before less after: asked for is the contrast that is left.",
            [
                (
                    "return contrast_of(left.logits, question)",
                    "return contrast_of(base.logits, question) - contrast_of(left.logits, question)",
                )
            ],
        ),
        Mistake(
            "a_share",
            "You divide by the contrast of the unchanged model: asked for is the contrast that is left, not its share.",
            [
                (
                    "return contrast_of(left.logits, question)",
                    "return contrast_of(left.logits, question) / contrast_of(base.logits, question)",
                )
            ],
        ),
        Mistake(
            "one_too_many",
            "You silence one latent too many: the first k are `ranked[:k]`.",
            [("for node in ranked[:size]", "for node in ranked[: size + 1]")],
        ),
        Mistake(
            "bare_logit",
            "You return the answer's bare logit: take the contrast with the other answers.",
            [("return contrast_of(left.logits, question)", "return left.logits[:, -1, question.answer]")],
        ),
        Mistake(
            "sorted_sizes",
            "You put the sizes in order first: the result has them in the order in which they were given.",
            [("enumerate(sizes)", "enumerate(sorted(sizes))")],
        ),
    ],
    "sufficiency_curve": [
        Mistake(
            "clean_activations",
            "You take away what the others wrote on the unchanged prompt: take away what they would write in this run, those too that "
            "have only just begun to fire.",
            [
                (
                    "inputs: dict[int, Tensor] = {}",
                    "inputs: dict[int, Tensor] = {}\n    unchanged = run_base(model, transcoders, tokens)",
                ),
                ("live = transcoders[layer].encode(inputs[layer]).to(y)", "live = unchanged.acts[layer].to(y)"),
            ],
        ),
        Mistake(
            "only_the_graphs_latents",
            "You silence only the latents that were active on the unchanged prompt: others begin to fire when these are gone, and must not "
            "write either.",
            [
                (
                    "inputs: dict[int, Tensor] = {}",
                    "inputs: dict[int, Tensor] = {}\n    unchanged = run_base(model, transcoders, tokens)",
                ),
                (
                    "            W_dec = transcoders[layer]",
                    "            may_write |= unchanged.acts[layer] == 0\n            W_dec = transcoders[layer]",
                ),
            ],
        ),
        Mistake(
            "removes_them",
            "You silence the first k: that is the other question. Here the first k stay, and all others go.",
            [("live.masked_fill(may_write, 0)", "live.masked_fill(~may_write, 0)")],
        ),
        Mistake(
            "kept_everywhere",
            "You keep a latent at every position: it is kept where it stands, at `node.ctx_idx`, and silenced elsewhere.",
            [("may_write[row, node.ctx_idx, node.feature] = True", "may_write[row, :, node.feature] = True")],
        ),
        Mistake(
            "kept_in_all_layers",
            "You keep the latent of that number in every layer: look at `node.layer` too.",
            [("if node.layer == layer:", "if node.feature < may_write.shape[2]:")],
        ),
        Mistake(
            "one_row",
            "You keep the latents of all sizes in row 0: each size has a row of the batch to itself.",
            [("may_write[row, node.ctx_idx", "may_write[0, node.ctx_idx")],
        ),
        Mistake(
            "first_positions_silenced",
            "You silence the positions before `start_posn` too: leave them alone.",
            [("may_write[:, :start_posn] = True", "pass")],
        ),
        Mistake(
            "start_posn_fixed",
            "You leave the first position alone whatever `start_posn` says.",
            [("may_write[:, :start_posn] = True", "may_write[:, :1] = True")],
        ),
        Mistake(
            "frozen_activations",
            "The latents that you keep stay at their old activations: they answer to what is left, so leave what they write alone.",
            [
                (
                    "inputs: dict[int, Tensor] = {}",
                    "inputs: dict[int, Tensor] = {}\n    unchanged = run_base(model, transcoders, tokens)",
                ),
                (
                    "return y - live.masked_fill(may_write, 0) @ W_dec",
                    "old = unchanged.acts[layer].to(y)\n"
                    "            return y + (old.masked_fill(~may_write, 0) - live) @ W_dec",
                ),
            ],
        ),
        Mistake(
            "no_mlp_at_all",
            "You take away the whole MLP but for the latents: its linear part and its error stay.",
            [
                (
                    "return y - live.masked_fill(may_write, 0) @ W_dec",
                    "return live.masked_fill(~may_write, 0) @ W_dec",
                )
            ],
        ),
        Mistake(
            "bare_logit",
            "You return the answer's bare logit: take the contrast with the other answers.",
            [("return contrast_of(model(tokens), question)", "return model(tokens)[:, -1, question.answer]")],
        ),
    ],
    "area_under_curve": [
        Mistake(
            "contrasts",
            "You integrate the contrast itself: turn it into a faithfulness first, 0 at `empty` and 1 at `full`.",
            [("(curve.double().cpu() - empty) / (full - empty)", "curve.double().cpu()")],
        ),
        Mistake(
            "empty_forgotten",
            "You divide by `full` alone: what the empty model reaches without any latents is no merit of theirs. Subtract `empty` above and "
            "below.",
            [("(curve.double().cpu() - empty) / (full - empty)", "curve.double().cpu() / full")],
        ),
        Mistake(
            "equal_steps",
            "You give every step the same width: sizes are not evenly spaced.",
            [("widths = widths / widths.sum()", "widths = torch.ones_like(widths) / len(widths)")],
        ),
        Mistake(
            "not_shares",
            "Your widths are numbers of latents: divide them by the way from the first size to the last, so that the best area is 1.",
            [("widths = widths / widths.sum()", "pass")],
        ),
        Mistake(
            "left_ends",
            "You take the height at the beginning of each step: take the mean of both ends, a trapezoid.",
            [("(heights[:-1] + heights[1:]) / 2", "heights[:-1]")],
        ),
        Mistake(
            "right_ends",
            "You take the height at the end of each step: take the mean of both ends, a trapezoid.",
            [("(heights[:-1] + heights[1:]) / 2", "heights[1:]")],
        ),
        Mistake(
            "distance_with_signs",
            "In your model distance a curve above 1 makes up for one below: take absolute distances from 1.",
            [("(1 - faithfulness).abs()", "1 - faithfulness")],
        ),
        Mistake(
            "clamped",
            "You cut the faithfulness off at 0 and 1: a part of the model may do better than the whole, and that must show.",
            [
                (
                    "(curve.double().cpu() - empty) / (full - empty)",
                    "((curve.double().cpu() - empty) / (full - empty)).clamp(0, 1)",
                )
            ],
        ),
        Mistake(
            "swapped",
            "The two areas are swapped: the first is the one under the curve.",
            [
                (
                    "Areas(area(faithfulness), area((1 - faithfulness).abs()))",
                    "Areas(area((1 - faithfulness).abs()), area(faithfulness))",
                )
            ],
        ),
        Mistake(
            "anything_accepted",
            "You take sizes that do not rise: refuse them with a ValueError.",
            [("if len(sizes) < 2 or bool((widths <= 0).any()):", "if False:")],
        ),
        Mistake(
            "nothing_to_divide_by",
            "Where `full` is equal to `empty` you divide by 0: refuse that with a ValueError.",
            [("if full == empty:", "if False:")],
        ),
    ],
    "superadditivity": [
        Mistake(
            "joint_only",
            "You return what silencing both does: subtract what silencing each of them alone does.",
            [("return together - alone - also_alone", "return together")],
        ),
        Mistake(
            "one_subtracted",
            "You subtract one of the two single effects: subtract both.",
            [("return together - alone - also_alone", "return together - alone")],
        ),
        Mistake(
            "mean_subtracted",
            "You subtract the mean of the two single effects: if the latents acted apart, their effects would add up.",
            [("return together - alone - also_alone", "return together - (alone + also_alone) / 2")],
        ),
        Mistake(
            "reversed",
            "Your sign is the wrong way round: the joint effect less the sum of the single ones.",
            [("return together - alone - also_alone", "return alone + also_alone - together")],
        ),
        Mistake(
            "contrasts_not_changes",
            "You add up the contrasts themselves: an effect is a change, so subtract the contrast of the unchanged prompt from each.",
            [(" - contrast_of(base.logits, question)\n    alone", "\n    alone")],
        ),
        Mistake(
            "sizes",
            "You lose the signs of the effects: one latent may help and the other hurt.",
            [("return together - alone - also_alone", "return together.abs() - alone.abs() - also_alone.abs()")],
        ),
        Mistake(
            "frozen_ignored",
            "You do not pass on what is to be frozen.",
            [("gone, **frozen)", "gone)")],
        ),
        Mistake(
            "first_pair_again",
            "You silence the first pair in every row: each pair has three rows of its own.",
            [
                (
                    "for number, (first, second) in enumerate(pairs)",
                    "for number, (first, second) in enumerate([pairs[0]] * len(pairs))",
                )
            ],
        ),
        Mistake(
            "only_the_attention_switch",
            "You hand on freeze_attention and nothing else: hand on all of `frozen`.",
            [("base, gone, **frozen)", 'base, gone, freeze_attention=frozen.get("freeze_attention", True))')],
        ),
    ],
    "rank_correlation": [
        Mistake(
            "values_not_ranks",
            "You correlate the values: Spearman's correlation is that of their ranks.",
            [("ranks = below + (equal + 1) / 2", "ranks = x")],
        ),
        Mistake(
            "ties_by_order",
            "Equal values get different ranks, by the order in which they come: let them share the mean of their ranks.",
            [("ranks = below + (equal + 1) / 2", "ranks = x.argsort(stable=True).argsort().double()")],
        ),
        Mistake(
            "ties_take_the_lowest",
            "Equal values all get the lowest of their ranks: let them share the mean.",
            [("ranks = below + (equal + 1) / 2", "ranks = below.double()")],
        ),
        Mistake(
            "not_centred",
            "You do not subtract the mean rank, so that the reversed order does not give -1.",
            [("centred.append(ranks - ranks.mean())", "centred.append(ranks)")],
        ),
        Mistake(
            "sizes_only",
            "You rank absolute values: a falling function then looks like a rising one.",
            [("x = x.double()", "x = x.double().abs()")],
        ),
        Mistake(
            "constant_fails",
            "You divide by zero where nothing varies: return 0.",
            [(" if scale else 0.0", "")],
        ),
        Mistake(
            "opposite_order",
            "You rank one of the two from the largest down, so that the same order gives -1.",
            [("return float(a @ b) / scale", "return float(a @ -b) / scale")],
        ),
        Mistake(
            "pearson",
            "You correlate the values: Spearman's correlation is that of their ranks. And what does not vary must give 0, not nan.",
            source="""
def rank_correlation(predicted, measured):
    return float(torch.corrcoef(torch.stack([predicted.double(), measured.double()]))[0, 1])
""",
        ),
        Mistake(
            "one_argsort",
            "One argsort tells which item comes first, second, …, not the rank of each item: the ranks are the argsort of that.",
            [("ranks = below + (equal + 1) / 2", "ranks = x.argsort(stable=True).double()")],
        ),
    ],
    "firing_rates": [
        Mistake(
            "swapped",
            "Recall and precision are swapped: recall counts the concept's prompts, precision the latent's.",
            [("return recall, precision", "return precision, recall")],
        ),
        Mistake(
            "recall_twice",
            "Your precision divides by the number of the concept's prompts: divide by the number on which the latent fires.",
            [
                (
                    "precision = both / active.sum(0).clamp_min(1)",
                    "precision = both / about.sum(0)[:, None].clamp_min(1)",
                )
            ],
        ),
        Mistake(
            "share_of_all_prompts",
            "Your recall divides by the number of all prompts: divide by that of the prompts about the concept.",
            [("recall = both / about.sum(0)[:, None].clamp_min(1)", "recall = both / len(about)")],
        ),
        Mistake(
            "nan",
            "You divide by zero where a concept has no prompt or a latent never fires: that must give 0.",
            [
                ("about.sum(0)[:, None].clamp_min(1)", "about.sum(0)[:, None]"),
                ("active.sum(0).clamp_min(1)", "active.sum(0)"),
            ],
        ),
        Mistake(
            "transposed",
            "Your results are [latent, concept]: they must be [concept, latent].",
            [("return recall, precision", "return recall.T, precision.T")],
        ),
        Mistake(
            "false_alarms",
            "Your precision is the share of firings that is *not* about the concept.",
            [("return recall, precision", "return recall, (active.sum(0) > 0) * (1 - precision)")],
        ),
        Mistake(
            "nearly_exact",
            "You add a small number to what you divide by, so that a latent which always fires has a recall just below 1, and "
            "misses a threshold that it reaches. Let the divisor be at least 1 instead: it counts prompts.",
            [
                ("about.sum(0)[:, None].clamp_min(1)", "(about.sum(0)[:, None] + 1e-6)"),
                ("active.sum(0).clamp_min(1)", "(active.sum(0) + 1e-6)"),
            ],
        ),
    ],
    "build_supernodes": [
        Mistake(
            "either_is_enough",
            "You take a latent that reaches one of the thresholds: it must reach both.",
            [("(recall >= min_recall) & (precision", "(recall >= min_recall) | (precision")],
        ),
        Mistake(
            "recall_alone",
            "You ignore `min_precision`: latents that fire on everything get in.",
            [(" & (precision >= min_precision)", "")],
        ),
        Mistake(
            "above_only",
            "You leave out latents that reach a threshold exactly: equal is enough.",
            [
                (
                    "(recall >= min_recall) & (precision >= min_precision)",
                    "(recall > min_recall) & (precision > min_precision)",
                )
            ],
        ),
        Mistake(
            "mean_with_silence",
            "You average over all prompts about the concept: leave out those on which the latent is silent.",
            [
                (
                    "both = (about.float().T @ active.float()).clamp_min(1)",
                    "both = about.float().sum(0)[:, None].clamp_min(1)",
                )
            ],
        ),
        Mistake(
            "mean_over_everything",
            "You average over all prompts on which the latent fires: only those about the concept count.",
            [
                (
                    "means = about.to(here).T @ here / both",
                    "means = (here.sum(0) / active.sum(0).clamp_min(1)).expand_as(both)",
                )
            ],
        ),
        Mistake(
            "sum",
            "You take the sum of the activations as a member's value: take their mean.",
            [("means = about.to(here).T @ here / both", "means = about.to(here).T @ here")],
        ),
        Mistake(
            "one_place_only",
            "You keep only the members of the last layer and place: collect them over all of `acts`.",
            [
                (
                    "        active = here > 0\n",
                    "        active = here > 0\n        supernodes = {name: [] for name in names}\n",
                )
            ],
        ),
        Mistake(
            "empty_left_out",
            "You leave out concepts without members: they have an empty list.",
            [("return supernodes", "return {name: members for name, members in supernodes.items() if members}")],
        ),
    ],
    "supernode_fraction": [
        Mistake(
            "mean_of_fractions",
            "You average the members' own fractions: a weak latent then counts as much as a strong one. Divide the sums.",
            [
                (
                    'return is_now / was if was else float("nan")',
                    "shares = [float(after[a][row, b, c]) / max(float(before[a][row, b, c]), 1e-9) for a, b, c in places]\n"
                    '    return sum(shares) / len(shares) if was else float("nan")',
                )
            ],
        ),
        Mistake(
            "upside_down",
            "Your fraction is upside down: after, divided by before.",
            [("return is_now / was if was", "return was / is_now if was")],
        ),
        Mistake(
            "difference",
            "You return the change: the fraction is after divided by before.",
            [("return is_now / was if was", "return is_now - was if was")],
        ),
        Mistake(
            "first_row",
            "You always read row 0: each prompt of the batch has its own row.",
            [
                ("before[layer][row, position, latent]", "before[layer][0, position, latent]"),
                ("after[layer][row, position, latent]", "after[layer][0, position, latent]"),
            ],
        ),
        Mistake(
            "all_positions",
            "You sum over all positions: a member counts at its own place only.",
            [
                ("before[layer][row, position, latent])", "before[layer][row, :, latent].sum())"),
                ("after[layer][row, position, latent])", "after[layer][row, :, latent].sum())"),
            ],
        ),
        Mistake(
            "last_position",
            "You read every member at the last position: look up its place in `positions`.",
            [("positions[member.place]", 'positions["last"]')],
        ),
        Mistake(
            "zero_for_silence",
            "You give a number to a supernode that was silent before: there is no fraction of nothing, return nan.",
            [('else float("nan")', "else 0.0")],
        ),
        Mistake(
            "mean_of_their_fractions",
            "You average the members' own fractions: a weak latent then counts as much as a strong one, and a silent one has "
            "none. Divide the sums.",
            [
                (
                    'return is_now / was if was else float("nan")',
                    "shares = [float(after[a][row, b, c]) / float(before[a][row, b, c]) for a, b, c in places]\n"
                    "    return sum(shares) / len(shares)",
                )
            ],
        ),
    ],
    "align_positions": [
        Mistake(
            "not_aligned",
            "You keep the position's number: once the names differ in length, the same number is another word.",
            [("return torch.where(missing, -1, aligned)", "return torch.where(position < own.n_tokens, position, -1)")],
        ),
        Mistake(
            "from_the_start_only",
            "You align everything by the name's first token: from the name on, count from its last token.",
            [("torch.where(position < other.start, before, from_end)", "before")],
        ),
        Mistake(
            "from_the_end_only",
            "You align everything by the name's last token: words before the name count from its first token.",
            [("torch.where(position < other.start, before, from_end)", "from_end")],
        ),
        Mistake(
            "name_overflows",
            "The first tokens of a longer name land on the words before ours: they have no partner and get -1.",
            [(" | (in_name & (aligned < own.start))", "")],
        ),
        Mistake(
            "reversed",
            "You go the other way: for each position of the *other* prompt, give the one in ours.",
            [
                (
                    "    position = torch.arange(other.n_tokens)",
                    "    own, other = other, own\n    position = torch.arange(other.n_tokens)",
                )
            ],
        ),
        Mistake(
            "out_of_range",
            "Some of your positions lie outside our prompt: these get -1.",
            [("missing = (aligned < 0) | (aligned >= own.n_tokens) | (", "missing = (")],
        ),
        Mistake(
            "clamped",
            "You move what has no partner to the nearest position: it has none, give -1.",
            [("torch.where(missing, -1, aligned)", "aligned.clamp(0, own.n_tokens - 1)")],
        ),
        Mistake(
            "before_the_name_by_number",
            "Before the name you keep a position's number: the prompts may begin differently, so count from the name's first token.",
            [("before = own.start + position - other.start", "before = position")],
        ),
        Mistake(
            "never_missing",
            "You never give -1: what lands outside our prompt, and a longer name's first tokens, have no partner.",
            [("torch.where(missing, -1, aligned)", "aligned")],
        ),
        Mistake(
            "before_the_start",
            "Some of your positions lie before the start of our prompt: these get -1.",
            [("missing = (aligned < 0) | (aligned", "missing = (aligned")],
        ),
        Mistake(
            "past_the_end",
            "Some of your positions lie past the end of our prompt: these get -1.",
            [("(aligned >= own.n_tokens) | (in_name", "(in_name")],
        ),
        Mistake(
            "decimal_numbers",
            "Your positions are decimal numbers, which cannot be used as indices: make them integers.",
            [("torch.where(missing, -1, aligned)", "torch.where(missing, -1, aligned).float()")],
        ),
        Mistake(
            "a_list",
            "You return a list: make a tensor of it.",
            [("torch.where(missing, -1, aligned)", "torch.where(missing, -1, aligned).tolist()")],
        ),
    ],
    "swap_edits": [
        Mistake(
            "out_wins",
            "A latent that belongs to both ends up at 0: what comes in must win.",
            [
                (
                    "values |= {place: strength * value for place, value in put_in.items()}",
                    "values = {place: strength * value for place, value in put_in.items()} | values",
                )
            ],
        ),
        Mistake(
            "two_edits_of_one",
            "You make two edits of one latent at one place when it belongs to both supernodes: make one.",
            [
                (
                    "return [Edit(*place, value, row=row) for place, value in values.items()]",
                    "out = [(m.layer, positions[m.place], m.latent) for m in off]\n"
                    "    edits = [Edit(*place, 0.0, row=row) for place in out]\n"
                    "    return edits + [Edit(*place, strength * value, row=row) for place, value in put_in.items()]",
                )
            ],
        ),
        Mistake(
            "strength_ignored",
            "You ignore the strength of what is put in.",
            [("strength * value for place", "value for place")],
        ),
        Mistake(
            "strength_on_out",
            "You turn the members of `off` round by the strength: they are set to 0.",
            [
                (
                    "member.latent): 0.0 for member in off}",
                    "member.latent): (1 - strength) * member.value for member in off}",
                )
            ],
        ),
        Mistake(
            "reversed_out",
            "You set the members of `off` to minus their value: they are set to 0.",
            [("member.latent): 0.0 for member in off}", "member.latent): -member.value for member in off}")],
        ),
        Mistake(
            "nothing_out",
            "You only put in: the members of `off` must be set to 0.",
            [("member.latent): 0.0 for member in off}", "member.latent): 0.0 for member in ()}")],
        ),
        Mistake(
            "last_counts",
            "Where two members fall on one latent and position, the last one counts in your edits: the larger value must.",
            [("max(member.value, put_in.get(place, member.value))", "member.value")],
        ),
        Mistake(
            "scaled",
            "Your edits multiply what is there: the new latents are silent, so multiplying leaves them at 0. Set them.",
            [("Edit(*place, value, row=row)", 'Edit(*place, value, "scale", row)')],
        ),
        Mistake(
            "row_ignored",
            "You put all edits into row 0.",
            [("Edit(*place, value, row=row)", "Edit(*place, value)")],
        ),
        Mistake(
            "strength_zero",
            "You take a strength of 0 for one that was not given: it must put in 0.",
            [("strength * value for place", "(strength or 1.0) * value for place")],
        ),
        Mistake(
            "compared_after_the_strength",
            "You compare the members after the strength has been multiplied in: the larger value counts, whatever the strength.",
            [
                (
                    "max(member.value, put_in.get(place, member.value))",
                    "max(strength * member.value, put_in.get(place, strength * member.value))",
                ),
                ("place: strength * value for", "place: value for"),
            ],
        ),
        Mistake(
            "size_of_the_strength",
            "You take the strength without its sign: a negative one turns the latents round.",
            [("place: strength * value for", "place: abs(strength) * value for")],
        ),
    ],
    "swap_rate": [
        Mistake(
            "end_of_the_row",
            "You read the last position of the row, where shorter prompts are only filled up: read each at its own `last`.",
            [("logits[rows, last]", "logits[:, -1]")],
        ),
        Mistake(
            "count",
            "You return how many are right: return the share.",
            [(".float().mean())", ".float().sum())")],
        ),
        Mistake(
            "second_best",
            "You also count prompts where the wanted token is only second: it must be the most probable one.",
            [
                ("said = logits[rows, last].argmax(dim=-1)", "said = logits[rows, last].topk(2, dim=-1).indices"),
                ("(said == answers)", "(said == answers[:, None]).any(-1)"),
            ],
        ),
        Mistake(
            "anywhere",
            "You count a prompt if the wanted token is on top at any position: only its last one counts.",
            [
                ("said = logits[rows, last].argmax(dim=-1)", "said = logits.argmax(dim=-1)"),
                ("(said == answers)", "(said == answers[:, None]).any(-1)"),
            ],
        ),
        Mistake(
            "wrong_are_counted",
            "You return the share of prompts that do *not* say the wanted token.",
            [("said == answers", "said != answers")],
        ),
        Mistake(
            "probability",
            "You average the probability of the wanted token: the rate is the share of prompts that say it.",
            [
                (
                    "(said == answers).float()",
                    "logits[rows, last].softmax(-1)[rows, answers]",
                )
            ],
        ),
    ],
    "overlap": [
        Mistake(
            "share_of_the_first",
            "You divide by the number active on the first prompt: divide by those active on either.",
            [("a.sum(1)[:, None] + b.sum(1) - both", "a.sum(1)[:, None].expand_as(both)")],
        ),
        Mistake(
            "share_of_the_second",
            "You divide by the number active on the second prompt: divide by those active on either.",
            [("a.sum(1)[:, None] + b.sum(1) - both", "b.sum(1).expand_as(both)")],
        ),
        Mistake(
            "shared_counted_twice",
            "You count shared latents twice among those active on either: subtract them once.",
            [("+ b.sum(1) - both", "+ b.sum(1)")],
        ),
        Mistake(
            "count",
            "You return how many are shared: divide by those active on either.",
            [("return both / either.clamp_min(1)", "return both")],
        ),
        Mistake(
            "silence_shared",
            "You count latents that are silent on both as shared: almost all are, so that everything looks alike.",
            [("both = a @ b.T", "both = a @ b.T + (1 - a) @ (1 - b).T")],
        ),
        Mistake(
            "nan",
            "You divide by zero where no latent is active: that must give 0.",
            [("either.clamp_min(1)", "either")],
        ),
        Mistake(
            "dice",
            "You count the shared latents twice, above and below (Dice's index): divide those active on both by those active on "
            "either, each counted once.",
            [("return both / either.clamp_min(1)", "return 2 * both / (either + both).clamp_min(1)")],
        ),
        Mistake(
            "dice_with_nan",
            "You count the shared latents twice, above and below (Dice's index): divide those active on both by those active on "
            "either, each counted once; 0 where there are none.",
            [("return both / either.clamp_min(1)", "return 2 * both / (either + both)")],
        ),
        Mistake(
            "all_latents",
            "You divide by the number of all latents: divide by those active on either prompt.",
            [("return both / either.clamp_min(1)", "return both / a.shape[1]")],
        ),
    ],
    "fold_into_errors": [
        Mistake(
            "thrown_away",
            "You throw away what the left-out latents write: it must join the errors, or nothing adds up any more.",
            [("matrix[:, errors[node.layer, node.ctx_idx]] += adjacency_matrix[:, i]", "pass")],
        ),
        Mistake(
            "overwritten",
            "You overwrite the error's column: add to it.",
            [("+= adjacency_matrix[:, i]", "= adjacency_matrix[:, i]")],
        ),
        Mistake(
            "wrong_position",
            "You add to the error of another position: a latent's own layer *and* position count.",
            [
                ("{(n.layer, n.ctx_idx): i", "{n.layer: i"),
                ("errors[node.layer, node.ctx_idx]]", "errors[node.layer]]"),
            ],
        ),
        Mistake(
            "rows_folded",
            "You also add the latents' rows to the errors': an error reads nothing, its row stays zero.",
            [
                (
                    "+= adjacency_matrix[:, i]",
                    "+= adjacency_matrix[:, i]\n            matrix[errors[node.layer, node.ctx_idx]] += adjacency_matrix[i]",
                )
            ],
        ),
        Mistake(
            "absolute",
            "You add absolute values: writes may cancel, so add them with their signs.",
            [("+= adjacency_matrix[:, i]", "+= adjacency_matrix[:, i].abs()")],
        ),
        Mistake(
            "kept_thrown_away",
            "You fold the latents that were to be kept, and keep the others.",
            [("or i in kept", "or i not in kept")],
        ),
        Mistake(
            "in_place",
            "You change the matrix that was given: work on a copy.",
            [("matrix = adjacency_matrix.clone()", "matrix = adjacency_matrix")],
        ),
        Mistake(
            "row_for_column",
            "You fold rows, which is what a latent reads: what it *writes* stands in its column, [target, source].",
            [
                (
                    "matrix[:, errors[node.layer, node.ctx_idx]] += adjacency_matrix[:, i]",
                    "matrix[errors[node.layer, node.ctx_idx]] += adjacency_matrix[i]",
                )
            ],
        ),
        Mistake(
            "sets_refused",
            "You need `kept` to be a list or a tensor: any collection of indices must do, and `scores_by_size` hands over a set.",
            [
                (
                    "    matrix = adjacency_matrix.clone()",
                    "    kept = torch.tensor(kept).tolist()\n    matrix = adjacency_matrix.clone()",
                )
            ],
        ),
    ],
    "extend_edits": [
        Mistake(
            "moved",
            "You move the edits to the new positions: they must stay where they are as well.",
            [("return [*edits, *new]", "return new or [*edits]")],
        ),
        Mistake(
            "all_extended",
            "You extend edits of every position: an edit at the city's name would then be made at words it has nothing to do "
            "with. Only those at the prompt's last position go on.",
            [(" if edit.position == prompt_len - 1]", "]")],
        ),
        Mistake(
            "none_extended",
            "You extend nothing: edits at the prompt's last position go on at every new one.",
            [("return [*edits, *new]", "return [*edits]")],
        ),
        Mistake(
            "last_two",
            "You also extend edits at the position before the last: only those at `prompt_len - 1` go on.",
            [("edit.position == prompt_len - 1", "edit.position >= prompt_len - 2")],
        ),
        Mistake(
            "newest_only",
            "You extend the edits to the newest position only: the other new positions need them too.",
            [
                (
                    "for position in range(prompt_len, seq_len)",
                    "for position in range(max(prompt_len, seq_len - 1), seq_len)",
                )
            ],
        ),
        Mistake(
            "first_left_out",
            "You leave out the first new position: it is `prompt_len`.",
            [("range(prompt_len, seq_len)", "range(prompt_len + 1, seq_len)")],
        ),
        Mistake(
            "given_list_grows",
            "You add to the list that was given, so that it grows in the caller's hands too: make a new one.",
            [("return [*edits, *new]", "edits += new\n    return edits")],
        ),
    ],
    "generate": [
        Mistake(
            "not_extended",
            "Your edits end with the prompt: use `extend_edits` on the text as it grows.",
            [("extend_edits(fixed, prompt_len, text.shape[1])", "fixed")],
        ),
        Mistake(
            "multiples_of_new_activations",
            "You take multiples of what is active at the new positions: multiples and sums refer to the unchanged prompt, so "
            "resolve the edits once, before the first token.",
            [
                (
                    "fixed = as_edits(resolve_edits(edits, run_base(model, transcoders, tokens).acts))",
                    "fixed = list(edits)",
                )
            ],
        ),
        Mistake(
            "attention_frozen",
            "You freeze attention at the patterns of the unedited text: that is another experiment. Here the real model generates, so "
            "leave attention live.",
            [("here, freeze_attention=False)", "here)")],
        ),
        Mistake(
            "always_greedy",
            "You ignore the temperature: above 0 a token is drawn.",
            [("if temperature == 0:", "if True:")],
        ),
        Mistake(
            "same_draw_every_time",
            "You make a new generator for every token, so that the same draw is made again and again: make one.",
            [
                (
                    "    for _ in range(n_new):\n",
                    "    for _ in range(n_new):\n        generator = torch.Generator(tokens.device).manual_seed(seed)\n",
                )
            ],
        ),
        Mistake(
            "seed_ignored",
            "You draw without regard to the seed.",
            [(".manual_seed(seed)", ".manual_seed(0)")],
        ),
        Mistake(
            "temperature_multiplied",
            "You multiply the logits by the temperature: divide, so that a higher one makes draws more even.",
            [("multinomial((logits / temperature)", "multinomial((logits * temperature)")],
        ),
        Mistake(
            "unedited",
            "You take the next token from the unedited run.",
            [("intervene(model, transcoders, base, here, freeze_attention=False).logits[:, -1]", "base.logits[:, -1]")],
        ),
        Mistake(
            "one_too_many",
            "You add one token more than was asked for.",
            [("for _ in range(n_new):", "for _ in range(n_new + 1):")],
        ),
        Mistake(
            "new_tokens_only",
            "You return the new tokens alone: return the prompts together with their continuations.",
            [("return text\n", "return text[:, prompt_len:]\n")],
        ),
        Mistake(
            "global_generator",
            "You seed PyTorch's own generator, so that whatever is drawn after your function depends on it: make one of your own.",
            [("torch.Generator(tokens.device).manual_seed(seed)", "torch.manual_seed(seed)")],
        ),
        Mistake(
            "one_token_for_all",
            "You give all rows the first row's most probable token: each prompt goes on with its own.",
            [("logits.argmax(dim=-1, keepdim=True)", "logits[:1].argmax(dim=-1, keepdim=True).expand(len(text), 1)")],
        ),
    ],
}
