"""Planted mistakes of chapter 7: wrong answers, and what a student who made them should read."""

from utils.grading import Mistake

MISTAKES: dict[str, list[Mistake]] = {
    # 1. A score by hand
    "split_score": [
        Mistake(
            "no_scaling",
            "You forget the scaling: a score is the product divided by the square root of d_head.",
            [("at_query @ at_key.T * scaling", "at_query @ at_key.T")],
        ),
        Mistake(
            "exchanged",
            "Query and key are exchanged: rows are parts of the query, columns are parts of the key.",
            [("at_query @ at_key.T * scaling", "at_key @ at_query.T * scaling")],
        ),
        Mistake(
            "divided",
            "You divide by the scaling: it is already one over the square root, so multiply with it.",
            [("at_key.T * scaling", "at_key.T / scaling")],
        ),
        Mistake(
            "whole_query",
            "You take the whole query for each of its parts: a row belongs to one part alone.",
            [("at_query @ at_key.T", "at_query.sum(0).expand_as(at_query) @ at_key.T")],
        ),
        Mistake(
            "whole_key",
            "You take the whole key for each of its parts: a column belongs to one part alone.",
            [("at_query @ at_key.T", "at_query @ at_key.sum(0).expand_as(at_key).T")],
        ),
        Mistake(
            "absolute",
            "You return absolute values: a pair may push the score down.",
            [("at_query @ at_key.T * scaling", "(at_query @ at_key.T * scaling).abs()")],
        ),
    ],
    # 2. A real head
    "rotate": [
        Mistake(
            "forgotten",
            "Your vectors do not turn: the rotary rotation is missing.",
            [("return torch.cat([turned, still], dim=-1)", "return vectors")],
        ),
        Mistake(
            "other_way",
            "You turn in the other direction: (a, b) becomes (a cos - b sin, b cos + a sin).",
            [("[-second, first]", "[second, -first]")],
        ),
        Mistake(
            "neighbours",
            "You pair neighbouring dimensions: dimension i makes a pair with dimension i + d_rotary / 2.",
            [
                (
                    "turned = turning * cos + torch.cat([-second, first], dim=-1) * sin",
                    "even, odd = turning[..., 0::2], turning[..., 1::2]\n"
                    "    turned = turning * cos + torch.stack([-odd, even], dim=-1).flatten(-2) * sin",
                )
            ],
        ),
        Mistake(
            "no_sine",
            "You multiply with the cosine only: a pair is turned, not shortened.",
            [(" + torch.cat([-second, first], dim=-1) * sin", "")],
        ),
        Mistake(
            "halves_unmoved",
            "You multiply both halves with cos and sin as they are: the sine takes the other half of the pair.",
            [("torch.cat([-second, first], dim=-1) * sin", "torch.cat([-first, second], dim=-1) * sin")],
        ),
        Mistake(
            "the_rest_lost",
            "You drop the dimensions that do not turn: they stay as they are, behind the others.",
            [("return torch.cat([turned, still], dim=-1)", "return turned")],
        ),
        Mistake(
            "sign_of_both",
            "Both halves get a minus sign: only the second half does, where it goes to the first.",
            [("[-second, first]", "[-second, -first]")],
        ),
    ],
    "sides_of_head": [
        Mistake(
            "round_robin",
            "You map heads to key heads in turn (head modulo the number of key heads): neighbouring heads share a key head.",
            [("head // (len(parts.W_Q) // len(parts.W_K))", "head % len(parts.W_K)")],
        ),
        Mistake(
            "first_key_head",
            "All your heads use key head 0: there are several.",
            [("head // (len(parts.W_Q) // len(parts.W_K))", "0")],
        ),
        Mistake(
            "group_size_wrong",
            "You divide by the number of key heads: divide by the number of heads that share one.",
            [
                (
                    "head // (len(parts.W_Q) // len(parts.W_K))",
                    "min(head // len(parts.W_K), len(parts.W_K) - 1)",
                )
            ],
        ),
        Mistake(
            "exchanged",
            "The query side and the key side are exchanged.",
            [
                ("query_side = HeadSide(", "key_side = HeadSide("),
                ("key_side = HeadSide(*norm, parts.W_K", "query_side = HeadSide(*norm, parts.W_K"),
            ],
        ),
        Mistake(
            "no_qk_norm_of_the_query",
            "You leave QK-norm out of the queries: their norm_gain is `parts.q_gain` of the head.",
            [("parts.q_gain[head]", "torch.ones_like(parts.q_gain[head])")],
        ),
        Mistake(
            "no_qk_norm_of_the_key",
            "You leave QK-norm out of the keys: their norm_gain is `parts.k_gain` of the key head.",
            [("parts.k_gain[key_head]", "torch.ones_like(parts.k_gain[key_head])")],
        ),
        Mistake(
            "norm_of_another_head",
            "Your keys have the QK-norm of key head 0: take that of the head's own key head.",
            [("parts.k_gain[key_head]", "parts.k_gain[0]")],
        ),
        Mistake(
            "query_weights_of_key_head",
            "Your queries have the weights of the head with the key head's number: a query belongs to the head itself.",
            [
                (
                    "parts.W_Q[head], parts.b_Q[head], parts.q_gain[head]",
                    "parts.W_Q[key_head], parts.b_Q[key_head], parts.q_gain[key_head]",
                )
            ],
        ),
    ],
    "make_vectors": [
        Mistake(
            "no_rotation",
            "The rotary rotation is missing: queries and keys are turned by their position.",
            [
                (
                    "return rotate(projected * side.norm_gain.to(stream), side.cos.to(stream), side.sin.to(stream))",
                    "return projected * side.norm_gain.to(stream)",
                )
            ],
        ),
        Mistake(
            "no_ln1_scale",
            "You read the residual stream itself: a head reads it after ln1, whose `gain` holds the frozen scale.",
            [("stream * side.gain.to(stream)", "stream")],
        ),
        Mistake(
            "no_qk_norm",
            "QK-norm is missing: multiply queries and keys with `norm_gain` before they turn.",
            [("projected * side.norm_gain.to(stream)", "projected")],
        ),
        Mistake(
            "qk_norm_after_the_rotation",
            "You apply QK-norm behind the rotation: it comes before.",
            [
                (
                    "return rotate(projected * side.norm_gain.to(stream), side.cos.to(stream), side.sin.to(stream))",
                    "return rotate(projected, side.cos.to(stream), side.sin.to(stream)) * side.norm_gain.to(stream)",
                )
            ],
        ),
        Mistake(
            "live_scale",
            "You compute the norm anew: its scale is frozen, so multiply with `gain`, and the map stays linear.",
            [
                (
                    "normed = stream * side.gain.to(stream)",
                    "normed = stream / stream.pow(2).mean(-1, keepdim=True).sqrt() * side.gain.to(stream)",
                )
            ],
        ),
        Mistake(
            "no_bias",
            "You forget the bias b.",
            [(" + side.b.to(stream)", "")],
        ),
        Mistake(
            "no_norm_bias",
            "You forget what ln1 adds in the end: norm_bias.",
            [(" + side.norm_bias.to(stream)", "")],
        ),
        Mistake(
            "not_centred",
            "You do not take the mean away: a LayerNorm is centred.",
            [("if side.centred:", "if False:")],
        ),
        Mistake(
            "always_centred",
            "You always take the mean away: an RMSNorm is not centred.",
            [("if side.centred:", "if True:")],
        ),
        Mistake(
            "detached",
            "Your vectors have forgotten the stream: no gradient can pass, so nothing can be walked back.",
            [("normed = stream * side", "normed = stream.detach() * side")],
        ),
    ],
    # 3. Contributions
    "contributions": [
        Mistake(
            "after_the_norm",
            "You read the MLP's input, and not the live tensor that is given. A run from `replace(x.run, ...)` does so, too.",
            [("{layer: values[None]}", "{layer: x.run.reads[layer][..., : values.shape[1]]}")],
        ),
        Mistake(
            "one_position",
            "All your targets read at the position of the first one: each has its own.",
            [
                (
                    "torch.tensor(list(positions), device=values.device)",
                    "torch.full((len(positions),), positions[0], device=values.device)",
                )
            ],
        ),
        Mistake(
            "transposed",
            "You return a row for each target: rows are nodes.",
            [(".sum(-1).T\n    return found", ".sum(-1).T\n    return found.T")],
        ),
        Mistake(
            "embeddings_only",
            "You keep only the embeddings: all nodes in front of the layer add something.",
            [
                (
                    "nodes, at, vectors = x.sources[place]",
                    "if place != 'E':\n            continue\n        nodes, at, vectors = x.sources[place]",
                )
            ],
        ),
        Mistake(
            "no_embeddings",
            "You leave the embeddings out.",
            [
                (
                    "nodes, at, vectors = x.sources[place]",
                    "if place == 'E':\n            continue\n        nodes, at, vectors = x.sources[place]",
                )
            ],
        ),
        Mistake(
            "gradient_alone",
            "You sum gradients: multiply each with what the node writes.",
            [("(grad[:, at].to(vectors) * vectors)", "(grad[:, at].to(vectors))")],
        ),
        Mistake(
            "wrong_place",
            "You take the gradient at the first position for all sources: each source writes at its own position.",
            [("grad[:, at]", "grad[:, torch.zeros_like(at)]")],
        ),
        Mistake(
            "absolute",
            "You return absolute values: a node may take something away.",
            [("* vectors).sum(-1).T", "* vectors).sum(-1).T.abs()")],
        ),
        Mistake(
            "last_place_only",
            "A node may write in several layers, and you keep only one of them: add up what it does.",
            [("found[nodes] +=", "found[nodes] =")],
        ),
    ],
    # 4. The score of a real head, in pairs
    "pair_attributions": [
        Mistake(
            "table_alone",
            "You return the table alone: return `PairAttributions(pairs, value)`.",
            [
                (
                    "return PairAttributions(split_score(at_query, at_key, head.scaling), value)",
                    "return split_score(at_query, at_key, head.scaling)",
                )
            ],
        ),
        Mistake(
            "exchanged",
            "Query and key are exchanged: rows are nodes at the query, columns are nodes at the key.",
            [("split_score(at_query, at_key, head.scaling)", "split_score(at_key, at_query, head.scaling)")],
        ),
        Mistake(
            "no_scaling",
            "You forget the scaling: your pairs add up to the score times the square root of d_head.",
            [("split_score(at_query, at_key, head.scaling)", "split_score(at_query, at_key, 1.0)")],
        ),
        Mistake(
            "key_at_query",
            "You take the key at the query's position.",
            [("parts_of(head, keys, silent_keys, key)", "parts_of(head, keys, silent_keys, query)")],
        ),
        Mistake(
            "query_at_key",
            "You take the query at the key's position.",
            [("head.silent_queries, query)", "head.silent_queries, key)")],
        ),
        Mistake(
            "no_contrast",
            "You leave the contrast out: with `others`, their mean is subtracted from the key.",
            [("if others is not None:", "if False:")],
        ),
        Mistake(
            "constants_without_contrast",
            "The nodes are compared with the other keys, but the constants are not: take the contrast of `silent_keys` too.",
            [("silent_keys = key_contrast(silent_keys, key, others)", "pass")],
        ),
        Mistake(
            "constants_missing",
            "Your constants are 0: the last row and column hold what `silent_queries` and `silent_keys` give.",
            [
                (
                    "head.queries, head.silent_queries, query",
                    "head.queries, torch.zeros_like(head.silent_queries), query",
                ),
                ("parts_of(head, keys, silent_keys, key)", "parts_of(head, keys, torch.zeros_like(silent_keys), key)"),
            ],
        ),
        Mistake(
            "keys_for_queries",
            "Both of your sides are keys.",
            [
                (
                    "parts_of(head, head.queries, head.silent_queries, query)",
                    "parts_of(head, head.keys, head.silent_keys, query)",
                )
            ],
        ),
        Mistake(
            "value_without_scaling",
            "Your value lacks the scaling.",
            [("@ keys[key].detach()) * head.scaling", "@ keys[key].detach())")],
        ),
    ],
    # 5. Against the other keys
    "key_contrast": [
        Mistake(
            "without_the_mean",
            "You subtract the sum of the others: subtract their mean.",
            [("keys[others].mean(dim=0)", "keys[others].sum(dim=0)")],
        ),
        Mistake(
            "no_contrast",
            "You return the keys as they are: subtract the mean of the others from the one that is asked about.",
            [("keys[key] - keys[others].mean(dim=0)", "keys[key]")],
        ),
        Mistake(
            "against_all",
            "You subtract the mean of all keys: only the given others count.",
            [("keys[others].mean(dim=0)", "keys.mean(dim=0)")],
        ),
        Mistake(
            "key_among_the_others",
            "The key is among the others: it is compared with all but itself.",
            [("keys[others].mean(dim=0)", "keys[[*others, key]].mean(dim=0)")],
        ),
        Mistake(
            "all_rows",
            "You subtract the mean from all keys: only the one that is asked about changes.",
            [("compared[key] = keys[key] - keys[others].mean(dim=0)", "compared = keys - keys[others].mean(dim=0)")],
        ),
        Mistake(
            "wrong_sign",
            "You subtract the key from the mean of the others: it is the other way round.",
            [("keys[key] - keys[others].mean(dim=0)", "keys[others].mean(dim=0) - keys[key]")],
        ),
        Mistake(
            "detached",
            "Your mean is detached: the others' nodes must get their part of the gradient.",
            [("keys[others].mean(dim=0)", "keys[others].mean(dim=0).detach()")],
        ),
    ],
    # 6. Predict, then measure
    "predicted_change": [
        Mistake(
            "query_side_only",
            "You forget the key side: the nodes change the keys, too.",
            [("(at_query[chosen] + at_key[chosen])", "at_query[chosen]")],
        ),
        Mistake(
            "product",
            "You multiply the changes of both sides: add them, each with the other side as it is.",
            [
                (
                    "(at_query[chosen] + at_key[chosen]).sum(dim=0)",
                    "at_query[chosen].sum(dim=0) * at_key[chosen].sum(dim=0)",
                )
            ],
        ),
        Mistake(
            "key_side_only",
            "You forget the query side: the nodes may change the query, too.",
            [("(at_query[chosen] + at_key[chosen])", "at_key[chosen]")],
        ),
        Mistake(
            "wrong_sign",
            "Your sign is wrong: -1 takes the writes away, so a node that raised a score lowers it.",
            [("return times * (", "return -times * (")],
        ),
        Mistake(
            "times_forgotten",
            "You always take the writes away: multiply with `times`.",
            [("return times * (", "return -1.0 * (")],
        ),
        Mistake(
            "mean_of_nodes",
            "You take the mean over the nodes: their changes add up.",
            [(".sum(dim=0)", ".sum(dim=0) / max(len(chosen), 1)")],
        ),
        Mistake(
            "one_key",
            "You sum over the keys, too: each key has a change of its own.",
            [(".sum(dim=0)", ".sum().expand(query + 1)")],
        ),
        Mistake(
            "all_others",
            "You change all nodes but these.",
            [("chosen = list(nodes)", "chosen = [i for i in range(len(at_key)) if i not in set(nodes)]")],
        ),
    ],
    "measured": [
        Mistake(
            "always_frozen",
            "You hold the model even if nothing is to be held: `x.linear` belongs in the run only with `frozen`.",
            [("*(x.linear if frozen else ())", "*x.linear")],
        ),
        Mistake(
            "never_frozen",
            "You never hold the model: with `frozen` the hooks `x.linear` belong in the run.",
            [("*(x.linear if frozen else ()), ", "")],
        ),
        Mistake(
            "all_sets_at_once",
            "You change all nodes in every run: each set of nodes has a run of its own.",
            [
                (
                    "writes_added(x, node_sets, times)",
                    "writes_added(x, [[i for s in node_sets for i in s]] * len(node_sets), times)",
                )
            ],
        ),
        Mistake(
            "another_head",
            "You look at head 0: take the head that is asked about.",
            [("scores[:, head.head, query", "scores[:, 0, query")],
        ),
        Mistake(
            "last_query",
            "You look from the last position: take the query that is asked about.",
            [("head.head, query, : query + 1]", "head.head, -1, : query + 1]")],
        ),
        Mistake(
            "times_forgotten",
            "You always take the whole write away: add `times` the writes.",
            [("writes_added(x, node_sets, times)", "writes_added(x, node_sets, -1.0)")],
        ),
        Mistake(
            "pattern_of_scores",
            "Your pattern holds scores: apply the softmax.",
            [("Looking(row, row.softmax(dim=-1))", "Looking(row, row)")],
        ),
        Mistake(
            "scores_of_another_layer",
            "You measure the heads of layer 0: take the head's own layer.",
            [("scores_hook(head.layer)", "scores_hook(0)")],
        ),
    ],
    # 7. Which heads does an edge go through?
    "cut_heads": [
        Mistake(
            "output_set_to_zero",
            "You set the head's output to 0, which changes the values: only its gradient is cut.",
            [("z[:, :, chosen].detach()", "0.0")],
        ),
        Mistake(
            "pattern_removed",
            "You cut the pattern: patterns are constants already, so nothing disappears. What has to go is the head's output.",
            [
                (
                    "return [(z_hook(layer), partial(cut, chosen=chosen)) for layer, chosen in by_layer.items()]",
                    "return [(f'blocks.{layer}.attn.hook_pattern', lambda pattern, hook: pattern.detach()) for layer in by_layer]",
                )
            ],
        ),
        Mistake(
            "all_heads",
            "You cut all heads of the layer: only those that are named.",
            [("z[:, :, chosen] = z[:, :, chosen].detach()", "z = z.detach()")],
        ),
        Mistake(
            "every_layer",
            "You cut the heads in every layer that is named: each only in its own.",
            [
                (
                    "chosen=chosen)) for layer, chosen in by_layer.items()",
                    "chosen=[head for _, head in heads])) for layer in by_layer",
                )
            ],
        ),
        Mistake(
            "positions_for_heads",
            "You cut positions: `z` is (batch, seq, head, d_head).",
            [("z[:, :, chosen] = z[:, :, chosen].detach()", "z[:, chosen] = z[:, chosen].detach()")],
        ),
        Mistake(
            "last_of_a_layer",
            "Of two heads in one layer you cut only the last one.",
            [("by_layer.setdefault(layer, []).append(head)", "by_layer[layer] = [head]")],
        ),
        Mistake(
            "first_only",
            "You cut only the first head: cut all that are named.",
            [("for layer, head in heads:", "for layer, head in heads[:1]:")],
        ),
        Mistake(
            "last_position_only",
            "You cut the head at the last position only: it writes at every position.",
            [("z[:, :, chosen] = z[:, :, chosen].detach()", "z[:, -1, chosen] = z[:, -1, chosen].detach()")],
        ),
    ],
    "head_loadings": [
        Mistake(
            "no_pattern",
            "The pattern is missing: what a key offers reaches a query by how much the head looks there.",
            [("return carried.patterns * torch", "return torch")],
        ),
        Mistake(
            "query_and_key_exchanged",
            "Query and key are exchanged: `worth` is at the query, `values` are at the key.",
            [('"lqhd,lkhd->lhqk"', '"lkhd,lqhd->lhqk"')],
        ),
        Mistake(
            "same_position",
            "You move nothing: the values come from the key, not from the query.",
            [
                ('"lqhd,lkhd->lhqk", worth, values', '"lqhd,lqhd->lhq", worth, values'),
                ("return carried.patterns * torch.einsum(", "return carried.patterns * torch.einsum("),
                (")\n    ### END", ")[..., None]\n    ### END"),
            ],
        ),
        Mistake(
            "values_alone",
            "You leave out what the target gains: multiply with `worth`.",
            [("worth, values = carried.worth[target]", "worth, values = torch.ones_like(carried.worth[target])")],
        ),
        Mistake(
            "absolute",
            "You return absolute values: a head may lower what the target reads.",
            [
                ("return carried.patterns * torch", "return carried.patterns.abs() * torch"),
                (", worth, values)", ", worth, values).abs()"),
            ],
        ),
        Mistake(
            "worth_alone",
            "You leave out what the source adds: multiply with its values.",
            [("carried.values[source]", "torch.ones_like(carried.values[source])")],
        ),
    ],
}
