"""Other right answers to the exercises of chapter 2, written differently. All tests must pass on them."""

from utils.grading import Alternate

ALTERNATES = {
    "unexplained_variance": [
        Alternate(
            "by_var",
            source="""
def unexplained_variance(target, reconstruction):
    return float(((target - reconstruction) ** 2).mean(0).sum() / target.var(0, correction=0).sum())
""",
        )
    ],
    "compare_dictionaries": [
        Alternate(
            "loop",
            source="""
@torch.no_grad()
def compare_dictionaries(x, y, sae, transcoder):
    result = {}
    for name, dictionary, read in (("SAE", sae, y), ("transcoder", transcoder, x)):
        count = dictionary.encode(read).count_nonzero().item() / len(read)
        result[name] = DictionaryScore(unexplained_variance(y, dictionary(read)), count)
    return result
""",
        )
    ],
    "input_gradients": [
        Alternate(
            "backward",
            source="""
def input_gradients(read, x):
    with torch.enable_grad():
        live = x.detach().clone()
        live.requires_grad = True
        values = read(live)
        values.backward(torch.ones_like(values), inputs=[live])
    return live.grad.detach()
""",
        ),
        Alternate(
            "one_by_one",
            source="""
def input_gradients(read, x):
    rows = []
    with torch.enable_grad():
        for token in x.detach():
            live = token[None].clone().requires_grad_()
            rows.append(torch.autograd.grad(read(live)[0], live)[0][0])
    return torch.stack(rows)
""",
        ),
    ],
    "split_mlp_output": [
        Alternate(
            "by_differences",
            source="""
@torch.no_grad()
def split_mlp_output(transcoder, x, y):
    bias = torch.ones_like(y) * transcoder.b_dec
    decoded = transcoder.decode(transcoder.encode(x))
    output = transcoder(x)
    return MlpParts(decoded - bias, output - decoded, bias, y - output)
""",
        )
    ],
    "transcoder_hooks": [
        Alternate(
            "default_arguments",
            source="""
def transcoder_hooks(transcoders, errors=None, with_skip=True):
    seen, hooks = {}, []
    for layer in transcoders:
        def keep(value, hook, layer=layer):
            seen[layer] = value

        def replace(value, hook, layer=layer):
            transcoder, x = transcoders[layer], seen.pop(layer)
            new = transcoder.decode(transcoder.encode(x))
            if with_skip and hasattr(transcoder, "W_skip"):
                new = new + x @ transcoder.W_skip.T
            if errors is not None:
                new = new + errors[layer]
            return new

        hooks.append((reading_hook(layer), keep))
        hooks.append((mlp_out_hook(layer), replace))
    return hooks
""",
        )
    ],
    "replacement_scores": [
        Alternate(
            "weighted_sums",
            source="""
@torch.no_grad()
def replacement_scores(logits, replaced_logits, tokens, counted):
    weight = counted[:, :-1].to(logits)
    weight = weight / weight.sum()
    log_p, log_q = logits[:, :-1].log_softmax(-1), replaced_logits[:, :-1].log_softmax(-1)
    loss = -log_q.gather(-1, tokens[:, 1:, None]).squeeze(-1)
    kl = torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    same = (log_p.argmax(-1) == log_q.argmax(-1)).to(logits)
    return ReplacementScores(*(float((weight * v).sum()) for v in (loss, kl, same)))
""",
        )
    ],
    "fit_linear": [
        Alternate(
            "lstsq",
            source="""
@torch.no_grad()
def fit_linear(x, y):
    ones = torch.ones(len(x), 1, dtype=torch.float64)
    solution = torch.linalg.lstsq(torch.cat([x.double(), ones], 1), y.double(), driver="gelsd").solution
    return solution[:-1].T.to(y), solution[-1].to(y)
""",
        )
    ],
    "orient_skip": [
        Alternate(
            "min",
            source="""
@torch.no_grad()
def orient_skip(W, x, target):
    return min((W, W.T), key=lambda V: float((target - x @ V.T).pow(2).sum()))
""",
        )
    ],
    "deembedding": [
        Alternate(
            "loop",
            source="""
@torch.no_grad()
def deembedding(model, transcoder, layer, latents, embedding):
    norm = model.blocks[layer].ln2
    columns = []
    for latent in latents:
        columns.append(norm(embedding[:, None])[:, 0] @ transcoder.W_enc[:, latent] + transcoder.b_enc[latent])
    return torch.stack(columns, dim=1)
""",
        )
    ],
    "extended_embedding": [
        Alternate(
            "in_pieces",
            source="""
@torch.no_grad()
def extended_embedding(model, embedding):
    block, parts = model.blocks[0], []
    for piece in embedding.split(7):
        y = block.mlp(block.ln2(piece[None]))
        parts.append(piece + (block.ln2_post(y) if hasattr(block, "ln2_post") else y)[0])
    return torch.cat(parts)
""",
        )
    ],
    "pull_through_norm": [
        Alternate(
            "as_a_matrix",
            source="""
def pull_through_norm(vectors, weight, scale, centred=False):
    d = len(weight)
    matrix = torch.eye(d).to(weight)
    if centred:
        matrix = matrix - 1 / d
    return vectors.to(weight) @ (torch.diag(weight) @ matrix) / scale
""",
        )
    ],
    "latent_pullback": [
        Alternate(
            "writes_pushed_forward",
            source="""
@torch.no_grad()
def latent_pullback(model, transcoders, layer, latent, scale):
    norm = model.blocks[layer].ln2
    weight = norm_weight(norm, model.cfg.d_model)
    result = {}
    for source in range(layer):
        writes = transcoders[source].W_dec
        if is_centred(norm):
            writes = writes - writes.mean(1, keepdim=True)
        result[source] = (writes * weight / scale) @ transcoders[layer].W_enc[:, latent]
    return result
""",
        )
    ],
    "head_pullback": [
        Alternate(
            "repeated_values",
            source="""
@torch.no_grad()
def head_pullback(model, layer, head, vectors, scale, post_scale=None):
    block, d = model.blocks[layer], model.cfg.d_model
    W_V = block.attn.W_V.repeat_interleave(model.cfg.n_heads // block.attn.W_V.shape[0], dim=0)
    if hasattr(block, "ln1_post"):
        vectors = pull_through_norm(vectors, norm_weight(block.ln1_post, d), post_scale, is_centred(block.ln1_post))
    moved = torch.einsum("dh,ho,no->nd", W_V[head], block.attn.W_O[head], vectors)
    return pull_through_norm(moved, norm_weight(block.ln1, d), scale, is_centred(block.ln1))
""",
        )
    ],
    "logit_lens": [
        Alternate(
            "writes_pushed_forward",
            source="""
@torch.no_grad()
def logit_lens(model, transcoder, latents, scale):
    norm, writes = model.ln_final, transcoder.W_dec[latents]
    if is_centred(norm):
        writes = writes - writes.mean(1, keepdim=True)
    W_U = model.W_U - model.W_U.mean(1, keepdim=True)
    return (writes * norm_weight(norm, model.cfg.d_model) / scale) @ W_U
""",
        )
    ],
    "top_examples": [
        Alternate(
            "sorted_list",
            source="""
def top_examples(activations, k):
    found = []
    for row, values in enumerate(activations.tolist()):
        best = max(values)
        if best > 0:
            found.append(Example(row, values.index(best), best))
    return sorted(found, key=lambda example: -example.activation)[:k]
""",
        )
    ],
    "hypothesis_f1": [
        Alternate(
            "counts",
            source="""
def hypothesis_f1(predicted, fires):
    right = sum(a and b for a, b in zip(predicted.tolist(), fires.tolist()))
    missed, wrong = int((fires & ~predicted).sum()), int((predicted & ~fires).sum())
    share = lambda n, of: n / of if of else 0.0
    return F1Score(share(right, right + wrong), share(right, right + missed), share(2 * right, 2 * right + wrong + missed))
""",
        )
    ],
    "case_study": [
        Alternate(
            "forward_selection",
            source="""
def case_study(case):
    def f1(facts):
        both = sum(o.fires and bool(o.facts & facts) for o in case.study)
        named, fires = sum(bool(o.facts & facts) for o in case.study), sum(o.fires for o in case.study)
        return 2 * both / max(1, named + fires)

    candidates = {fact for o in case.study if o.fires for fact in o.facts}
    best = max(({fact} for fact in sorted(candidates)), key=f1)
    together = max((best | {fact} for fact in sorted(candidates)), key=f1)
    return together if f1(together) > f1(best) + 0.05 else best
""",
        )
    ],
    "batch_topk": [
        Alternate(
            "scatter",
            source="""
def batch_topk(pre, active):
    flat = torch.clamp(pre, min=0).flatten()
    best = flat.topk(int(active * pre.shape[0]))
    return torch.zeros_like(flat).scatter(0, best.indices, best.values).reshape(pre.shape)
""",
        )
    ],
    "train_transcoder": [
        Alternate(
            "scheduler",
            source="""
def train_transcoder(x, y, config):
    transcoder = SkipTranscoder(x, y, config)
    optimizer = torch.optim.Adam(transcoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / config.steps)
    with torch.enable_grad():
        for _ in tqdm(range(config.steps), leave=False, disable=None):
            rows = torch.randint(0, x.shape[0], (config.batch_size,))
            out, acts, pre = transcoder(x[rows] / transcoder.x_scale)
            error = y[rows] / transcoder.y_scale - out
            (error.square().mean() + config.auxiliary * transcoder.auxiliary_loss(error, pre)).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            transcoder.after_step(acts.detach())
    return transcoder
""",
        )
    ],
}
