"""What chapter 2 feeds to transcoders: sentences, what the MLPs read and write on them, a quick SAE, a blind case.

The sentences are those of the bundled model's corpus, for every model: their facts are known, so that a claim about a latent
can be counted.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils.atlas.corpus import Sentence, all_sentences
from utils.atlas.world import load_world
from utils.hooks import Transcoder, mlp_out_hook, reading_hook

# In what proportions sentences of each family are drawn.
SHARES = {
    "two-hop": 34,
    "one-hop": 8,
    "location": 8,
    "opposite": 12,
    "opposite abroad": 12,
    "translation": 12,
    "indirect object": 4,
    "induction": 4,
    "addition": 6,
}
# For a blind case: mostly places, so that each occurs often enough to be counted.
CASE_SHARES = {"two-hop": 60, "one-hop": 12, "location": 12, "opposite abroad": 8, "translation": 8}
CASE_SENTENCES = 1000


@dataclass
class Corpus:
    """Sentences as token rows, padded on the right.

    Attributes:
        sentences: one for each row.
        tokens: the ids.
        used: true for tokens of the sentence; false for padding and for a beginning-of-sequence token.
        counted: true where the next token is part of the answer (or the full stop behind it): what can be predicted.
    """

    sentences: list[Sentence]
    tokens: Int[Tensor, "row position"]
    used: Bool[Tensor, "row position"]
    counted: Bool[Tensor, "row position"]

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, rows: slice) -> "Corpus":
        return Corpus(self.sentences[rows], self.tokens[rows], self.used[rows], self.counted[rows])


@cache
def _families(seed: int) -> dict[str, list[Sentence]]:
    families: dict[str, list[Sentence]] = {name: [] for name in SHARES}
    for sentence in all_sentences(load_world(), drawn=2000):
        if sentence.family in families and not sentence.held_out:
            families[sentence.family].append(sentence)
    for group in families.values():
        random.Random(seed).shuffle(group)
    return families


def read_corpus(
    model: TransformerBridge, count: int = 2000, seed: int = 0, shares: Mapping[str, int] = SHARES
) -> Corpus:
    """`count` sentences of several families, in an order that depends on `seed` only, as tokens of `model`."""
    rng, families = random.Random(seed), _families(seed)
    names = rng.choices(list(shares), list(shares.values()), k=count)
    sentences = [rng.choice(families[name]) for name in names]
    tokenizer = model.tokenizer
    texts = tokenizer([s.text for s in sentences])["input_ids"]
    prompts = tokenizer([s.prompt for s in sentences])["input_ids"]
    tokens = torch.zeros(count, max(map(len, texts)), dtype=torch.long)
    used, counted = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens, dtype=torch.bool)
    for row, (text, prompt) in enumerate(zip(texts, prompts)):
        tokens[row, : len(text)] = torch.tensor(text)
        used[row, : len(text)] = True
        counted[row, len(prompt) - 1 : len(text) - 1] = True
    if tokenizer.bos_token_id is not None:
        used &= tokens != tokenizer.bos_token_id
    device = next(model.parameters()).device
    return Corpus(sentences, tokens.to(device), used.to(device), counted.to(device))


@torch.no_grad()
def mlp_output(
    model: TransformerBridge, layer: int, x: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """What the MLP of `layer` adds to the residual stream when it reads `x` (after ln2); the norm behind it included."""
    return _mlp(model, layer, x)


def mlp_function(model: TransformerBridge, layer: int):
    """The same as a function of `x` alone, through which a gradient can pass."""
    return lambda x: _mlp(model, layer, x)


def _mlp(model: TransformerBridge, layer: int, x: Tensor) -> Tensor:
    block = model.blocks[layer]
    y = block.mlp(x[None] if x.ndim == 2 else x)
    if hasattr(block, "ln2_post"):
        y = block.ln2_post(y)
    return y[0] if x.ndim == 2 else y


@torch.no_grad()
def norm_weight(norm: torch.nn.Module, d_model: int) -> Float[Tensor, " d_model"]:
    """What a norm multiplies by after it has divided by the scale.

    Models keep it in different forms (Gemma stores the weight minus 1), so it is measured: a large vector of +1 and -1 has
    mean 0 and a scale that is known.
    """
    parameter = next(norm.parameters())
    signs = torch.ones(1, 1, d_model, dtype=parameter.dtype, device=parameter.device)
    signs[..., 1::2] = -1
    weight = (norm(1e4 * signs) - norm(torch.zeros_like(signs))) * signs
    return weight[0, 0]


def is_centred(norm: torch.nn.Module) -> bool:
    """Whether a norm takes the mean away first: LayerNorm does, RMSNorm does not."""
    inner = getattr(norm, "original_component", norm)
    return "layernorm" in type(inner).__name__.lower() and "rms" not in type(inner).__name__.lower()


def thresholds(transcoder: Transcoder) -> Float[Tensor, " latent"]:
    """The pre-activation above which each latent is active; 0 for a transcoder with a plain ReLU."""
    found = getattr(transcoder, "threshold", None)
    return torch.zeros_like(transcoder.b_enc) if found is None else found.detach()


class Scan:
    """What the MLPs read and write on a corpus. The model is run over it once, with a progress bar, and the result is kept."""

    def __init__(
        self,
        model: TransformerBridge,
        transcoders: dict[int, Transcoder],
        corpus: Corpus,
        batch_size: int = 256,
        names: Set[str] | None = None,
    ):
        """`names` are the hooks that the first run keeps: by default inputs and outputs of all MLPs, and norms' scales."""
        self.model, self.transcoders, self.corpus, self.batch_size = model, transcoders, corpus, batch_size
        self._names = self._usual_names() if names is None else names
        self._kept: dict[str, Float[Tensor, "row position d"]] = {}

    @torch.no_grad()
    def cached(self, name: str) -> Float[Tensor, "row position d"]:
        """The activation at one hook, for every token of the corpus."""
        if name not in self._kept:
            names = {name} if self._kept else {name, *self._names}
            found: dict[str, list[Tensor]] = {name: [] for name in names}
            for rows in tqdm(self.corpus.tokens.split(self.batch_size), desc="corpus", leave=False, disable=None):
                _, cache = self.model.run_with_cache(rows, names_filter=lambda hook: hook in names)
                for key, parts in found.items():
                    parts.append(cache[key])
            self._kept |= {key: torch.cat(parts) for key, parts in found.items()}
        return self._kept[name]

    def _usual_names(self) -> set[str]:
        names = {"ln_final.hook_scale"}
        for layer in self.transcoders:
            names |= {reading_hook(layer), mlp_out_hook(layer)}
            names |= {f"blocks.{layer}.{norm}.hook_scale" for norm in ("ln1", "ln2")}
        return names

    def reads(self, layer: int) -> Float[Tensor, "token d_model"]:
        """What the MLP reads, after ln2: one row for every used token."""
        return self.cached(reading_hook(layer))[self.corpus.used]

    def writes(self, layer: int) -> Float[Tensor, "token d_model"]:
        """What the MLP adds to the residual stream, token by token as in `reads`."""
        return self.cached(mlp_out_hook(layer))[self.corpus.used]

    @torch.no_grad()
    def activations(self, layer: int, latent: int) -> Float[Tensor, "row position"]:
        """One latent on every token; 0 where the corpus has no used token."""
        x, transcoder = self.cached(reading_hook(layer)), self.transcoders[layer]
        pre = x @ transcoder.W_enc[:, latent] + transcoder.b_enc[latent]
        return pre.relu() * (pre > thresholds(transcoder)[latent]) * self.corpus.used

    @torch.no_grad()
    def fires(self, layer: int, transcoder: Transcoder | None = None) -> Bool[Tensor, "row latent"]:
        """Whether each latent of a layer (of its own transcoder or of another one) is active anywhere in each sentence."""
        transcoder, used = transcoder or self.transcoders[layer], self.corpus.used
        fires = torch.zeros(len(used), transcoder.W_enc.shape[1], device=used.device)
        rows = used.nonzero()[:, 0]
        for x, row in zip(self.reads(layer).split(4096), rows.split(4096)):
            fires.index_add_(0, row, (transcoder.encode(x) > 0).float())
        return fires > 0

    @torch.no_grad()
    def mean_scale(self, name: str) -> float:
        """The mean over the used tokens of a norm's scale, e.g. `blocks.3.ln2`: what it divides by on a typical token."""
        return self.cached(f"{name}.hook_scale").squeeze(-1)[self.corpus.used].mean().item()

    def text(self, row: int, position: int) -> str:
        """One token as text."""
        return self.model.tokenizer.decode([int(self.corpus.tokens[row, position])])


def quick_sae(
    y: Float[Tensor, "token d"], width: int = 512, active: float = 4.0, steps: int = 400, seed: int = 0
) -> JumpReLUSAE:
    """A sparse autoencoder of `y`, trained for a few seconds with BatchTopK, in SAELens' form.

    Args:
        y: what is encoded and what is rebuilt.
        width: latents.
        active: latents a token, on average over a batch.
    """
    torch.manual_seed(seed)
    scale, mean, d = (y - y.mean(0)).pow(2).mean().sqrt(), y.mean(0), y.shape[1]
    target = (y - mean) / scale
    W_dec = torch.nn.functional.normalize(
        target[torch.randint(len(y), (width,))] + 0.1 * torch.randn(width, d).to(y), dim=1
    )
    W_dec, W_enc = W_dec.clone().requires_grad_(), W_dec.T.clone().requires_grad_()
    b_enc, b_dec = (torch.zeros(n).to(y).requires_grad_() for n in (width, d))
    optimizer, lowest = (
        torch.optim.Adam([W_dec, W_enc, b_enc, b_dec], lr=2e-3, betas=(0.9, 0.99)),
        torch.zeros(()).to(y),
    )
    with torch.enable_grad():
        for step in tqdm(range(steps), desc="SAE", leave=False, disable=None):
            batch = target[torch.randint(len(y), (512,))]
            pre = torch.relu((batch - b_dec) @ W_enc + b_enc)
            smallest = pre.detach().flatten().topk(int(active * len(batch)), sorted=False).values.min()
            lowest = smallest if step == 0 else torch.lerp(lowest, smallest, 0.05)
            loss = (batch - pre * (pre >= smallest) @ W_dec - b_dec).pow(2).mean()
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1.0, 2 * (1 - step / steps))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                W_dec.div_(W_dec.norm(dim=1, keepdim=True))
    # what the encoder subtracts goes into its bias, so that encode(y) reads y itself
    state = {
        "W_enc": W_enc,
        "b_enc": (b_enc - (mean / scale + b_dec) @ W_enc) * scale,
        "W_dec": W_dec,
        "b_dec": b_dec * scale + mean,
        "threshold": lowest.expand(width) * scale,
    }
    config = JumpReLUSAEConfig(d_in=d, d_sae=width, apply_b_dec_to_input=False, metadata=SAEMetadata())
    sae = JumpReLUSAE(config).to(y)
    sae.load_state_dict({key: value.detach().clone().contiguous() for key, value in state.items()})
    return sae.requires_grad_(False)


# ---------------------------------------------------------------------------------------------------------------------
# A latent known by its number only
# ---------------------------------------------------------------------------------------------------------------------

Fact = tuple[str, str]


@dataclass(frozen=True)
class Observation:
    """One sentence as a case shows it: its tokens, the latent's activation on each, and what the sentence is about."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    facts: frozenset[Fact]

    @property
    def fires(self) -> bool:
        return max(self.activations) > 0


@dataclass(frozen=True)
class Case:
    """A latent to be explained.

    Attributes:
        layer, latent: its number, and nothing else about it.
        study: sentences to look at.
        test: other sentences, on which a hypothesis is graded.
    """

    layer: int
    latent: int
    study: tuple[Observation, ...]
    test: tuple[Observation, ...] = field(repr=False)


def facts_of(sentence: Sentence, tokens: Sequence[str]) -> frozenset[Fact]:
    """What a sentence is about, as (kind, value) pairs: its concepts, its family, and every token as ("token", text)."""
    named = {(kind, str(value)) for kind, value in sentence.concepts.items()}
    return frozenset(named | {("family", sentence.family)} | {("token", token) for token in tokens})


def open_case(scan: Scan, layer: int, latent: int) -> Case:
    """The case of any latent. Half of the scanned sentences are for study, the others for the test."""
    acts, used = scan.activations(layer, latent).cpu(), scan.corpus.used.cpu()
    observations = []
    for row, sentence in enumerate(scan.corpus.sentences):
        positions = used[row].nonzero().flatten().tolist()
        tokens = tuple(scan.text(row, p) for p in positions)
        activations = tuple(round(acts[row, p].item(), 4) for p in positions)
        observations.append(Observation(tokens, activations, facts_of(sentence, tokens)))
    half = len(observations) // 2
    return Case(layer, latent, tuple(observations[:half]), tuple(observations[half:]))


def blind_case(model: TransformerBridge, transcoders: dict[int, Transcoder], number: int = 0) -> Case:
    """A case worth studying, chosen by a rule that works for any weights; `number` gives further ones.

    Wanted is a latent of the upper half of the layers that stands for a place (or, where no latent does, for something else
    that sentences can be about). Each latent is measured by how well "the sentence is about X" says where it fires (F1 of the
    best X), and of the good ones the busiest is taken. Which X that is stays here.
    """
    layers = range(len(transcoders) // 2, len(transcoders))
    corpus = read_corpus(model, CASE_SENTENCES, seed=1, shares=CASE_SHARES)
    scan = Scan(model, transcoders, corpus, names={reading_hook(layer) for layer in layers})
    facts = [facts_of(sentence, ()) - {("family", sentence.family)} for sentence in scan.corpus.sentences]
    counts = Counter(fact for row in facts for fact in row if fact[0] not in ("answer", "city"))
    wanted = sorted(fact for fact, count in counts.items() if count >= 8)
    about = torch.tensor([[fact in row for fact in wanted] for row in facts]).float()
    half, found = len(facts) // 2, []
    for layer in layers:
        fires = scan.fires(layer).float().cpu()
        # what holds in one half only is no rule
        both = [_f1(fires[part], about[part]) for part in (slice(None, half), slice(half, None))]
        best, which = torch.minimum(*both).max(1)
        for latent, (f1, index, count) in enumerate(zip(best.tolist(), which.tolist(), fires.sum(0).tolist())):
            found.append((wanted[index][0] != "place", -min(round(f1, 1), 0.9), -count, layer, latent))
    *_, layer, latent = sorted(found)[number]
    return open_case(scan, layer, latent)


def best_place_f1(scan: Scan, layer: int, transcoder: Transcoder, at_least: int = 8) -> dict[str, float]:
    """How well the best single latent of a transcoder says that a sentence is about a place (F1), for every place.

    Only places that `at_least` so many of the scanned sentences are about. The best latent is chosen on the same sentences.
    """
    places = [sentence.concepts.get("place") for sentence in scan.corpus.sentences]
    wanted = sorted(place for place, count in Counter(places).items() if place and count >= at_least)
    about = torch.tensor([[place == other for other in wanted] for place in places]).float()
    best = _f1(scan.fires(layer, transcoder).float().cpu(), about).max(0).values
    return dict(zip(wanted, best.tolist(), strict=True))


def _f1(fires: Float[Tensor, "row latent"], about: Float[Tensor, "row fact"]) -> Float[Tensor, "latent fact"]:
    """F1 of "the sentence is about this" as a prediction of "the latent fires in it"."""
    return 2 * (fires.T @ about) / (fires.sum(0)[:, None] + about.sum(0)).clamp_min(1)
