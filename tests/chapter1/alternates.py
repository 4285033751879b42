"""Other right answers to the exercises of chapter 1."""

from utils.grading import Alternate

ALTERNATES = {
    "to_sparse": [
        Alternate(
            "where",
            source="""
def to_sparse(dense):
    places = torch.where(dense != 0)
    return SparseLatents(dense[places], torch.stack(places, dim=1), tuple(dense.shape))
""",
        ),
    ],
    "to_dense": [
        Alternate(
            "in_place",
            source="""
def to_dense(values, indices, shape):
    dense = torch.zeros(shape, dtype=values.dtype, device=values.device)
    dense[tuple(indices.T)] = values
    return dense
""",
        ),
        Alternate(
            "flat",
            source="""
def to_dense(values, indices, shape):
    flat = torch.zeros(indices.shape[0], dtype=torch.long, device=indices.device)
    size = 1
    for dim, extent in enumerate(shape):
        flat = flat * extent + indices[:, dim]
        size *= extent
    return values.new_zeros(size).scatter(0, flat, values).reshape(shape)
""",
        ),
    ],
    "latents_to_later_latents": [
        Alternate(
            "by_hand",
            source="""
def latents_to_later_latents(values, indices, shape, sae_from, sae_to, model, tokens, error=None, fwd_hooks=()):
    positions, latents = indices[:, 0], indices[:, 1]
    writes = values[:, None] * sae_from.W_dec[latents]
    residual = (sae_from.b_dec + values.new_zeros(shape[0], 1)).index_add(0, positions, writes)
    residual = residual + (0 if error is None else error)
    seen = []

    def put(value, hook):
        return residual.unsqueeze(0)

    def read(value, hook):
        seen.append(value[0])

    with hooked(model, list(fwd_hooks) + [(place_of(sae_from), put), (place_of(sae_to), read)]):
        model(tokens)
    dense = sae_to.encode(seen[0])
    return dense[dense > 0], dense
""".replace("with hooked", "from utils.engine.hooks import hooked\n\n    with hooked"),
        ),
    ],
    "latent_to_latent_gradients": [
        Alternate(
            "row_by_row",
            source="""
def latent_to_latent_gradients(tokens, sae_from, sae_to, model, with_error=True, fwd_hooks=()):
    residual = activations_at(model, tokens, place_of(sae_from))
    with torch.no_grad():
        acts = sae_from.encode(residual)
        error = residual - sae_from.decode(acts) if with_error else torch.zeros_like(residual)
    acts_from = to_sparse(acts)
    values = acts_from.values.clone().requires_grad_(True)
    later, dense = latents_to_later_latents(
        values, acts_from.indices, acts_from.shape, sae_from, sae_to, model, tokens, error, fwd_hooks
    )
    rows = [torch.autograd.grad(value, values, retain_graph=True)[0] for value in later]
    return LatentGradients(torch.stack(rows), acts_from, to_sparse(dense.detach()))
""",
        ),
    ],
    "token_to_latent_gradients": [
        Alternate(
            "gradient_times_embedding",
            source="""
def token_to_latent_gradients(tokens, sae, model, fwd_hooks=()):
    embedding = activations_at(model, tokens, EMBEDDING_HOOK)

    def latents(vectors):
        acts = sae.encode(resume(model, tokens, EMBEDDING_HOOK, vectors, place_of(sae), fwd_hooks))
        return acts[acts > 0], acts

    slopes, acts = torch.func.jacrev(latents, has_aux=True)(embedding)
    return (slopes * embedding).sum(-1), to_sparse(acts)
""",
        ),
    ],
    "latent_to_logit_gradients": [
        Alternate(
            "backward",
            source="""
def latent_to_logit_gradients(tokens, sae, model, k=5, with_error=True, fwd_hooks=()):
    residual = activations_at(model, tokens, place_of(sae))
    acts = sae.encode(residual)
    acts_from = to_sparse(acts)
    values = acts_from.values.detach().clone().requires_grad_(True)
    stream = sae.decode(to_dense(values, acts_from.indices, acts_from.shape))
    if with_error:
        stream = stream + (residual - sae.decode(acts)).detach()
    logits = resume(model, tokens, place_of(sae), stream, LOGITS_HOOK, fwd_hooks)[-1]
    top = (logits - logits.mean()).topk(k)
    rows = [torch.autograd.grad(value, values, retain_graph=True)[0] for value in top.values]
    return LogitGradients(torch.stack(rows), top.indices, top.values.detach(), acts_from)
""",
        ),
    ],
    "ablation_effects": [
        Alternate(
            "one_run_each",
            source="""
@torch.no_grad()
def ablation_effects(tokens, sae, model, token_ids, step=1.0, fwd_hooks=()):
    residual = activations_at(model, tokens, place_of(sae))
    acts = sae.encode(residual)
    error = residual - sae.decode(acts)

    def demeaned(acts):
        logits = resume(model, tokens, place_of(sae), sae.decode(acts) + error, LOGITS_HOOK, fwd_hooks)[-1]
        return logits[token_ids] - logits.mean()

    before, columns = demeaned(acts), []
    for position, latent in acts.nonzero().tolist():
        less = acts.clone()
        less[position, latent] *= 1 - step
        columns.append(demeaned(less) - before)
    return torch.stack(columns, dim=1)
""",
        ),
    ],
    "through_attention": [
        Alternate(
            "head_by_head",
            source="""
def through_attention(frozen, vectors):
    total = torch.zeros_like(vectors)
    for pattern, OV in zip(frozen.pattern, frozen.OV):
        total = total + pattern @ (vectors * frozen.read @ OV)
    return frozen.write * total
""",
        ),
    ],
    "direct_gradients": [
        Alternate(
            "as_matrices",
            source="""
@torch.no_grad()
def direct_gradients(tokens, sae_from, sae_to, model):
    acts_from, acts_to = (
        to_sparse(sae.encode(activations_at(model, tokens, place_of(sae)))) for sae in (sae_from, sae_to)
    )
    (p_from, f_from), (p_to, f_to) = acts_from.indices.T, acts_to.indices.T
    seq, d_model = tokens.shape[1], sae_from.W_dec.shape[1]
    product = torch.eye(seq * d_model, dtype=sae_from.W_dec.dtype, device=sae_from.W_dec.device)
    for layer in range(layer_of(sae_from) + 1, layer_of(sae_to) + 1):
        f = frozen_attention(model, tokens, layer)
        block = torch.einsum("hqk,kd,hde,qe->kdqe", f.pattern, f.read, f.OV, f.write)
        product = product + product @ block.reshape(seq * d_model, seq * d_model)
    product = product.reshape(seq, d_model, seq, d_model)
    pairs = product[p_from][:, :, p_to]  # (source, d_model, target, d_model)
    jacobian = torch.einsum("sd,sdte,et->ts", sae_from.W_dec[f_from], pairs, sae_to.W_enc[:, f_to])
    return LatentGradients(jacobian, acts_from, acts_to)
""",
        ),
    ],
    "effects_by_head": [
        Alternate(
            "through_attention_one_head_at_a_time",
            source="""
@torch.no_grad()
def effects_by_head(acts_from, acts_to, sae_from, sae_to, frozen):
    p_from, f_from = acts_from.indices.T
    p_to, f_to = acts_to.indices.T
    streams = sae_from.W_dec.new_zeros(len(f_from), len(frozen.read), sae_from.W_dec.shape[1])
    for row, (position, latent) in enumerate(zip(p_from.tolist(), f_from.tolist())):
        streams[row, position] = acts_from.values[row] * sae_from.W_dec[latent]
    heads = []
    for head in range(len(frozen.OV)):
        alone = frozen._replace(OV=frozen.OV[head : head + 1], pattern=frozen.pattern[head : head + 1])
        moved = through_attention(alone, streams)[:, p_to]
        heads.append((moved * sae_to.W_enc[:, f_to].T).sum(-1).T)
    return torch.stack(heads)
""",
        ),
    ],
    "ablate_head": [
        Alternate(
            "by_the_pattern",
            source="""
@torch.no_grad()
def ablate_head(model, tokens, layer, head):
    def look_nowhere(pattern, hook):
        keep = torch.ones(pattern.shape[1], device=pattern.device, dtype=pattern.dtype)
        keep[head] = 0
        return pattern * keep[:, None, None]

    with model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_pattern", look_nowhere)]):
        return model(tokens)[0]
""",
        ),
    ],
}
