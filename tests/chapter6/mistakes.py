"""Planted mistakes of chapter 6: wrong answers, and what a student who made them should read."""

from utils.grading import Mistake

MISTAKES: dict[str, list[Mistake]] = {
    # 1. The gate made linear
    # 2. All neurons in one backward pass
    # 3. How sparse is it?
    # 4. From a ranking to a graph
    # 5. What does a neuron stand for?
    # 6. Two hops in a real model
    # 7. A failure explained
    # 8. What real models do to the method
    # 9. Neurons against latents
}
