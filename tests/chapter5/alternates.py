"""Other right answers to the exercises of chapter 5: all must pass."""

from utils.grading import Alternate

ALTERNATES = {
    "ActivationStore": [
        Alternate(
            "standard_deviation_and_loops",
            [
                ("centred = y - y.mean(0)\n", "pass\n"),
                ("centred.pow(2).mean().sqrt()", "y.var(0, correction=0).mean().sqrt()"),
                ("x.pow(2).mean().sqrt()", "x.square().mean() ** 0.5"),
                (
                    "return outputs * self.output_scale[:, None, None]",
                    'return torch.einsum("l,ltd->ltd", self.output_scale, outputs)',
                ),
            ],
        )
    ],
    "JumpReLU": [
        Alternate(
            "where",
            [
                ("return pre * (pre > threshold)", "return torch.where(pre > threshold, pre, torch.zeros_like(pre))"),
                ("grad_pre = grad * (pre > threshold)", "grad_pre = torch.where(pre > threshold, grad, 0.0)"),
                (
                    "near = (pre - threshold).abs() < ctx.bandwidth / 2",
                    "distance = (pre - threshold) / ctx.bandwidth\n        near = ((distance > -0.5) & (distance < 0.5)).to(grad)",
                ),
            ],
        )
    ],
    "CrossLayerTranscoder": [
        Alternate(
            "einsum_and_loops",
            [
                (
                    "return x @ self.W_enc[layer] + self.b_enc[layer]",
                    'return torch.einsum("...d,df->...f", x, self.W_enc[layer]) + self.b_enc[layer]',
                ),
                (
                    "        written = (acts[source] @ self.W_dec[source][target - source] for source in self.sources_of(target))\n"
                    "        return self.b_dec[target] + sum(written)\n",
                    "        total = self.b_dec[target]\n"
                    "        for source in self.sources_of(target):\n"
                    '            total = total + torch.einsum("...f,fd->...d", acts[source], self.W_dec[source][target - source])\n'
                    "        return total\n",
                ),
                (
                    "            later = torch.zeros(n_layers - layer - 1, width, d_model)\n"
                    "            self.W_dec.append(torch.nn.Parameter(torch.cat([own[None], later])))\n",
                    "            rows = torch.zeros(n_layers - layer, width, d_model)\n"
                    "            rows[0] = own\n"
                    "            self.W_dec.append(torch.nn.Parameter(rows))\n",
                ),
            ],
        )
    ],
    "reconstruction_loss": [
        Alternate(
            "layer_by_layer",
            source="""
def reconstruction_loss(reconstruction, outputs):
    return sum(torch.nn.functional.mse_loss(a, b) for a, b in zip(reconstruction, outputs))
""",
        )
    ],
    "sparsity_loss": [
        Alternate(
            "einsum",
            source="""
def sparsity_loss(acts, decoder_norms, scale):
    counted = torch.einsum("ltf,lf->ltf", acts, scale * decoder_norms).tanh()
    return counted.sum() / acts.shape[1]
""",
        )
    ],
    "dead_latent_loss": [
        Alternate(
            "by_index",
            source="""
def dead_latent_loss(pre, threshold, decoder_norms, dead):
    pre = pre.transpose(1, 2)[dead]
    below = (threshold[dead][:, None] - pre).clamp_min(0)
    return (below.mean(1) * decoder_norms[dead]).sum()
""",
        )
    ],
    "train_cross_layer_transcoder": [
        Alternate(
            "one_decoding",
            [
                (
                    "            reconstruction, acts = clt(inputs)\n",
                    "            active = {layer: clt.encode(layer, x) for layer, x in enumerate(inputs)}\n"
                    "            reconstruction = torch.stack([clt.decode(layer, active) for layer in active])\n"
                    "            acts = torch.stack(list(active.values()))\n",
                ),
                ("torch.where(fired, 0.0, state.silent + 1)", "(state.silent + 1) * ~fired"),
                ("optimizer.zero_grad()", "clt.zero_grad()"),
            ],
        )
    ],
    "cross_layer_hooks": [
        Alternate(
            "running_sum",
            source="""
def cross_layer_hooks(clt, errors=None, cutoff=0.0):
    norms = clt.decoder_norms()
    written = {}

    def reading(layer):
        def read(x, hook):
            acts = clt.encode(layer, x)
            acts = torch.where(acts * norms[layer] > cutoff, acts, 0.0)
            if layer == 0:
                written.clear()
            for k, decoder in enumerate(clt.W_dec[layer]):
                written[layer + k] = written.get(layer + k, clt.b_dec[layer + k]) + acts @ decoder
        return read

    def writing(layer):
        return lambda y, hook: written[layer] + (0 if errors is None else errors[layer])

    hooks = []
    for layer in range(clt.n_layers):
        hooks += [(reading_hook(layer), reading(layer)), (mlp_out_hook(layer), writing(layer))]
    return hooks
""",
        )
    ],
    "choose_cutoff": [
        Alternate(
            "sorted",
            source="""
def choose_cutoff(strengths, active):
    ascending = strengths.flatten().sort().values
    place = len(ascending) - int(active * len(strengths)) - 1
    return float(ascending[place]) if place >= 0 else 0.0
""",
        )
    ],
    "collect_sources": [
        Alternate(
            "node_by_node",
            [
                (
                    "            written = acts[:, None] * clt.W_dec[source][target - source].detach().to(y)[numbers]\n",
                    "            written = y.new_zeros(len(found), y.shape[1])\n"
                    "            for row, number in enumerate(numbers.tolist()):\n"
                    "                written[row] = acts[row] * clt.W_dec[source][target - source][number]\n",
                ),
                (
                    "error = error.index_add(0, where, -written)",
                    "error = torch.stack([error[p] - written[where == p].sum(0) for p in range(graph.seq_len)])",
                ),
            ],
        )
    ],
    "compute_cross_layer_edges": [
        Alternate(
            "einsum",
            [
                (
                    "            effects = (grad[:, positions].to(vectors) * vectors).sum(-1)  # (target, source)\n"
                    "            rows[:, nodes] += effects\n",
                    '            effects = torch.einsum("tsd,sd->ts", grad[:, positions].to(vectors), vectors)\n'
                    "            rows.index_add_(1, nodes, effects)\n",
                )
            ],
        )
    ],
    "path_lengths": [
        Alternate(
            "matrix_powers",
            source="""
def path_lengths(adjacency_matrix, logit_weights, n_layers):
    shares = normalize_matrix(adjacency_matrix)
    begins = adjacency_matrix.abs().sum(1) == 0
    weights = weights_of_all_nodes(adjacency_matrix, logit_weights)
    powers = [torch.linalg.matrix_power(shares, k) for k in range(1, n_layers + 2)]
    found = torch.stack([(weights @ power)[begins].sum() for power in powers])
    return found / found.sum()
""",
        )
    ],
    "attribute_mlp": [
        Alternate(
            "whole_matrices",
            source="""
def attribute_mlp(weights, biases, x):
    n_nodes = len(x) + sum(map(len, biases))
    slopes, bias = x.new_zeros(n_nodes, n_nodes), x.new_zeros(n_nodes)
    row, column = len(x), 0
    for weight, b in zip(weights, biases):
        slopes[row : row + len(b), column : column + weight.shape[1]] = weight
        bias[row : row + len(b)] = b
        row, column = row + len(b), column + weight.shape[1]
    written, values = x.new_zeros(n_nodes), x.new_zeros(n_nodes)
    for _ in range(len(weights) + 1):
        written[: len(x)] = x
        values[len(x) :] = (slopes @ written + bias)[len(x) :]
        written = values.relu()
    written[: len(x)] = x
    return MlpGraph(slopes * written, bias, values)
""",
        )
    ],
}
