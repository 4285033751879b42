"""What the tests of chapter 3 share."""

import torch

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.1}
QUESTION = "The capital of the state containing Dallas is"
