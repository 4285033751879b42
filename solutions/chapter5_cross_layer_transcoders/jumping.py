"""JumpReLU, and a gradient for its threshold.

(Rajamanoharan et al. 2024, "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders", section 3.)
"""

import torch
from jaxtyping import Float
from torch import Tensor


class JumpReLU(torch.autograd.Function):
    """`pre` where it is above the threshold, else 0. Use it as `JumpReLU.apply(pre, threshold, bandwidth)`.

    The step at the threshold has no slope that a gradient could follow. The backward pass pretends that the step is a ramp of
    width `bandwidth`:

        for the pre-activation:  1 where pre > threshold, else 0
        for the threshold:       -threshold / bandwidth where |pre - threshold| < bandwidth / 2, else 0
    """

    @staticmethod
    def forward(
        ctx, pre: Float[Tensor, "*batch latent"], threshold: Float[Tensor, " latent"], bandwidth: float
    ) -> Float[Tensor, "*batch latent"]:
        """The activations; `threshold` has one number a latent, or any shape that broadcasts to that of `pre`."""
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        ### BEGIN SOLUTION
        return pre * (pre > threshold)
        ### END SOLUTION

    @staticmethod
    def backward(
        ctx, grad: Float[Tensor, "*batch latent"]
    ) -> tuple[Float[Tensor, "*batch latent"], Float[Tensor, " latent"], None]:
        """From the gradient of the activations to those of `pre` and `threshold`, each in the shape of its tensor.

        A threshold that serves many tokens gets the sum over them (`Tensor.sum_to_size` undoes broadcasting). The bandwidth is
        not trained: None.
        """
        pre, threshold = ctx.saved_tensors
        # Set `grad_pre` and `grad_threshold`.
        ### BEGIN SOLUTION
        grad_pre = grad * (pre > threshold)
        near = (pre - threshold).abs() < ctx.bandwidth / 2
        grad_threshold = (-grad * near * threshold / ctx.bandwidth).sum_to_size(threshold.shape)
        ### END SOLUTION
        return grad_pre, grad_threshold, None
