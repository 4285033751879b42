"""A sparse autoencoder that is trained while one waits."""

import torch
from jaxtyping import Float
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor
from tqdm.auto import tqdm


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
