"""Planted mistakes of chapter 5: wrong answers, and what a student who made them should read."""

from utils.grading import Mistake

MISTAKES = {
    "ActivationStore": [
        Mistake(
            "one_scale_for_all",
            "You use one scale for all layers: late layers would be all that counts. Each layer has a scale of its own.",
            [
                ("inputs / self.input_scale[:, None, None]", "inputs / self.input_scale.mean()"),
                ("outputs / self.output_scale[:, None, None]", "outputs / self.output_scale.mean()"),
            ],
        ),
        Mistake(
            "each_token_to_length_one",
            "You scale every token to length 1: how long it was is lost for ever, and cannot be brought back. Use one number a "
            "layer.",
            [
                ("inputs / self.input_scale[:, None, None]", "torch.nn.functional.normalize(inputs, dim=-1)"),
                ("outputs / self.output_scale[:, None, None]", "torch.nn.functional.normalize(outputs, dim=-1)"),
            ],
        ),
        Mistake(
            "scale_with_the_mean",
            "The scale of your outputs still contains their mean: subtract each dimension's mean before you square.",
            [("centred = y - y.mean(0)", "centred = y")],
        ),
        Mistake(
            "one_mean_a_layer",
            "You subtract one number a layer from the outputs: their mean is a vector, one number for each dimension.",
            [("y.mean(0)", "y.mean()")],
        ),
        Mistake(
            "mean_taken_out",
            "You take the mean out of the outputs themselves: it is subtracted for the scale only, what is trained on keeps it.",
            [
                (
                    "outputs / self.output_scale[:, None, None]",
                    "(outputs - self.outputs.mean(1, keepdim=True)) / self.output_scale[:, None, None]",
                )
            ],
        ),
        Mistake(
            "variance_not_its_root",
            "You divide by the mean square: the scale is its root.",
            [
                ("x.pow(2).mean().sqrt()", "x.pow(2).mean()"),
                ("centred.pow(2).mean().sqrt()", "centred.pow(2).mean()"),
            ],
        ),
        Mistake(
            "padding_and_bos",
            "You store every position, also padding and the beginning-of-sequence token: keep those where `rows.used` is true.",
            [
                ("cache[reading_hook(layer)][rows.used]", "cache[reading_hook(layer)].flatten(0, 1)"),
                ("cache[mlp_out_hook(layer)][rows.used]", "cache[mlp_out_hook(layer)].flatten(0, 1)"),
            ],
        ),
        Mistake(
            "swapped",
            "You store what the MLPs write as inputs and what they read as outputs: it is the other way round.",
            [
                ("inputs[layer] = cache[reading_hook(layer)]", "outputs[layer] = cache[reading_hook(layer)]"),
                ("outputs[layer] = cache[mlp_out_hook(layer)]", "inputs[layer] = cache[mlp_out_hook(layer)]"),
            ],
        ),
        Mistake(
            "before_the_norm",
            "You store the residual stream before ln2: a latent reads what the MLP reads, after ln2.",
            [
                ("names_filter=names.__contains__", "names_filter=lambda name: True"),
                ("cache[reading_hook(layer)]", 'cache[f"blocks.{layer}.ln2.hook_in"]'),
            ],
        ),
        Mistake(
            "counts_numbers",
            "Your `n_bytes` counts numbers: each of them takes `element_size()` bytes.",
            [("kept.numel() * kept.element_size()", "kept.numel()")],
        ),
        Mistake(
            "inputs_only",
            "Your `n_bytes` forgets the outputs.",
            [("for kept in (self.inputs, self.outputs))", "for kept in (self.inputs,))")],
        ),
        Mistake(
            "divided_again",
            "Your `denormalize` divides by the scale once more: outputs were divided by it, so multiply.",
            [("return outputs * self.output_scale", "return outputs / self.output_scale")],
        ),
        Mistake(
            "not_shuffled",
            "Your batches come in the order of the corpus: neighbours resemble each other, so shuffle every epoch.",
            [
                (
                    "torch.randperm(self.n_tokens, generator=torch.Generator().manual_seed(self.seed + epoch))",
                    "torch.arange(self.n_tokens)",
                )
            ],
        ),
        Mistake(
            "same_order_every_epoch",
            "Every epoch of yours has the same order: its number must be part of the seed.",
            [("manual_seed(self.seed + epoch)", "manual_seed(self.seed)")],
        ),
        Mistake(
            "with_replacement",
            "You draw tokens with replacement: in an epoch every token comes once.",
            [
                (
                    "torch.randperm(self.n_tokens, generator=",
                    "torch.randint(self.n_tokens, (self.n_tokens,), generator=",
                )
            ],
        ),
        Mistake(
            "mismatched",
            "You shuffle the inputs and not the outputs: the two vectors of a token belong together.",
            [
                (
                    "return self.normalize(*self.take(order[place * size : (place + 1) * size]))",
                    "index = order[place * size : (place + 1) * size]\n"
                    "        return self.normalize(self.take(index)[0], self.take(index.sort().values)[1])",
                )
            ],
        ),
        Mistake(
            "given_tensors_changed",
            "You change the tensors that you are given: divide into new ones (`inputs / scale`, not `inputs /= scale`).",
            [
                ("inputs / self.input_scale[:, None, None]", "inputs.div_(self.input_scale[:, None, None])"),
                ("outputs / self.output_scale[:, None, None]", "outputs.div_(self.output_scale[:, None, None])"),
            ],
        ),
        Mistake(
            "inputs_changed",
            "You change the `inputs` that you are given: divide into a new tensor.",
            [("inputs / self.input_scale[:, None, None]", "inputs.div_(self.input_scale[:, None, None])")],
        ),
        Mistake(
            "denormalized_in_place",
            "Your `denormalize` changes the tensor that it is given: return a new one.",
            [
                (
                    "return outputs * self.output_scale[:, None, None]",
                    "return outputs.mul_(self.output_scale[:, None, None])",
                )
            ],
        ),
        Mistake(
            "seeds_everything",
            "You seed PyTorch's own random numbers anew with every batch: give `torch.randperm` a generator of its own.",
            [
                (
                    "order = torch.randperm(self.n_tokens, generator=torch.Generator().manual_seed(self.seed + epoch))",
                    "torch.manual_seed(self.seed + epoch)\n        order = torch.randperm(self.n_tokens)",
                )
            ],
        ),
    ],
    "JumpReLU": [
        Mistake(
            "subtracts_the_threshold",
            "You subtract the threshold from what is above it: a JumpReLU keeps the whole pre-activation. That is its jump.",
            [("return pre * (pre > threshold)", "return (pre - threshold).relu()")],
        ),
        Mistake(
            "plain_relu",
            "Your forward pass is a plain ReLU: nothing up to the *threshold* counts.",
            [("return pre * (pre > threshold)", "return pre.relu()")],
        ),
        Mistake(
            "a_step",
            "Your forward pass gives 1 above the threshold: it should give the pre-activation.",
            [("return pre * (pre > threshold)", "return (pre > threshold).to(pre)")],
        ),
        Mistake(
            "gradient_everywhere",
            "Your gradient passes silent latents, too: where a latent is not active, its pre-activation gets none.",
            [("grad_pre = grad * (pre > threshold)", "grad_pre = grad")],
        ),
        Mistake(
            "window_for_the_pre_activation",
            "You let the pre-activation's gradient pass in the window around the threshold only: it passes wherever the latent is "
            "active.",
            [
                (
                    "grad_pre = grad * (pre > threshold)",
                    "grad_pre = grad * ((pre - threshold).abs() < ctx.bandwidth / 2)",
                ),
            ],
        ),
        Mistake(
            "gradient_of_a_step",
            "Your threshold's gradient is that of a step from 0 to 1: what is lost at the threshold is an activation of the size of "
            "the threshold, so multiply by it.",
            [("* near * threshold / ctx.bandwidth", "* near / ctx.bandwidth")],
        ),
        Mistake(
            "wrong_sign",
            "Your threshold's gradient has the wrong sign: raising a threshold lowers activations.",
            [("(-grad * near", "(grad * near")],
        ),
        Mistake(
            "window_twice_as_wide",
            "Your window reaches a whole bandwidth to either side: it is one bandwidth wide, half to either side.",
            [("< ctx.bandwidth / 2", "< ctx.bandwidth")],
        ),
        Mistake(
            "not_divided",
            "You do not divide by the bandwidth: a wider window catches more tokens, and must count each of them less.",
            [("threshold / ctx.bandwidth).sum_to_size", "threshold).sum_to_size")],
        ),
        Mistake(
            "pre_in_place_of_threshold",
            "You multiply by the pre-activation: the formula has the threshold.",
            [("* near * threshold /", "* near * pre /")],
        ),
        Mistake(
            "own_gradient_only",
            "Your threshold's gradient does not contain `grad`: by the chain rule every gradient is multiplied by it.",
            [("(-grad * near", "(-1.0 * near")],
        ),
        Mistake(
            "mean_over_tokens",
            "You average the threshold's gradient over the tokens: it is their sum. (The loss has averaged already.)",
            [
                (
                    ".sum_to_size(threshold.shape)",
                    ".sum_to_size(threshold.shape) * threshold.numel() / pre.numel()",
                )
            ],
        ),
        Mistake(
            "logarithm",
            "You multiply by the threshold once more, as if you were given its logarithm: autograd does that step by itself.",
            [("* near * threshold /", "* near * threshold**2 /")],
        ),
        Mistake(
            "pre_changed",
            "You change `pre`, which you are given: with it the window for the threshold's gradient is lost. Make a new tensor.",
            [("return pre * (pre > threshold)", "pre[pre <= threshold] = 0\n        return pre * 1")],
        ),
        Mistake(
            "grad_changed",
            "You change `grad`, which you are given and need once more for the threshold: make a new tensor.",
            [("grad_pre = grad * (pre > threshold)", "grad_pre = grad.mul_(pre > threshold)")],
        ),
        Mistake(
            "window_on_both_sides_of_zero",
            "You take the size of the pre-activation: a negative one is not near a positive threshold because its size is.",
            [("near = (pre - threshold).abs()", "near = (pre.abs() - threshold).abs()")],
        ),
    ],
    "CrossLayerTranscoder": [
        Mistake(
            "own_decoder_for_all",
            "You use the decoder into a latent's own layer for every layer it writes to: into layer m it writes with "
            "`W_dec[l][m - l]`.",
            [("self.W_dec[source][target - source] for source", "self.W_dec[source][0] for source")],
        ),
        Mistake(
            "own_layer_only",
            "Only a layer's own latents write in your reconstruction: those of all earlier layers write there, too.",
            [("for source in self.sources_of(target))", "for source in [target])")],
        ),
        Mistake(
            "always_cross_layer",
            "You ignore `cross_layer=False`: `sources_of(target)` says whose latents write into a layer.",
            [
                ("for source in self.sources_of(target))", "for source in range(target + 1))"),
                (
                    "range(self.n_layers, 0, -1) if self.cross_layer else [1] * self.n_layers",
                    "range(self.n_layers, 0, -1)",
                ),
            ],
        ),
        Mistake(
            "bias_of_every_source",
            "You add a `b_dec` for every layer that writes: a reconstruction has one constant, that of its own layer.",
            [
                (
                    "return self.b_dec[target] + sum(written)",
                    "return self.b_dec[list(self.sources_of(target))].sum(0) + sum(written)",
                )
            ],
        ),
        Mistake(
            "no_decoder_bias",
            "Your reconstruction leaves `b_dec` out.",
            [("return self.b_dec[target] + sum(written)", "return sum(written)")],
        ),
        Mistake(
            "no_encoder_bias",
            "Your pre-activations leave `b_enc` out.",
            [("return x @ self.W_enc[layer] + self.b_enc[layer]", "return x @ self.W_enc[layer]")],
        ),
        Mistake(
            "logarithm_as_threshold",
            "You give the JumpReLU the logarithm of the thresholds: `self.threshold` is its exponential.",
            [("x), self.threshold[layer], self.bandwidth)", "x), self.log_threshold[layer], self.bandwidth)")],
        ),
        Mistake(
            "fixed_bandwidth",
            "You use a bandwidth of 1 whatever was asked for: it is `self.bandwidth`.",
            [("self.threshold[layer], self.bandwidth)", "self.threshold[layer], 1.0)")],
        ),
        Mistake(
            "start_without_logarithm",
            "You start `log_threshold` at the threshold itself: start it at the logarithm.",
            [("torch.full((n_layers, width), threshold).log()", "torch.full((n_layers, width), threshold)")],
        ),
        Mistake(
            "later_decoders_not_zero",
            "Your latents start by writing into later layers, too: those decoders begin at zero.",
            [
                (
                    "torch.zeros(n_layers - layer - 1, width, d_model)",
                    "own_layer[layer].repeat(n_layers - layer - 1, 1, 1)",
                )
            ],
        ),
        Mistake(
            "all_decoders_for_all",
            "Each of your layers has decoders into all layers: layer l needs only those into l and later, n_layers - l.",
            [("torch.zeros(n_layers - layer - 1, width", "torch.zeros(n_layers - 1, width")],
        ),
        Mistake(
            "norm_of_own_decoder",
            "Your decoder norms count the decoder into a latent's own layer only: take all its decoders as one long vector.",
            [("W[:n].pow(2).sum((0, 2))", "W[:1].pow(2).sum((0, 2))")],
        ),
        Mistake(
            "sum_of_norms",
            "You add up the lengths of a latent's decoders: take the length of all of them as one long vector, the root of the sum of "
            "all squares.",
            [
                ("W[:n].pow(2).sum((0, 2))", "W[:n].norm(dim=2).sum(0)"),
                ("return (torch.stack(squares) + 1e-12).sqrt()", "return torch.stack(squares)"),
            ],
        ),
        Mistake(
            "scale_of_the_source",
            "You scale a decoder by the output scale of the layer where the latent reads: what counts is the layer it writes into.",
            [("decoders.mul_(output_scale[layer:, None, None])", "decoders.mul_(output_scale[layer])")],
        ),
        Mistake(
            "encoder_multiplied",
            "You multiply the encoder by the input scale: raw inputs are larger by it, so that the encoder must be divided.",
            [("folded.W_enc.div_(input_scale", "folded.W_enc.mul_(input_scale")],
        ),
        Mistake(
            "bias_not_folded",
            "You do not scale `b_dec`: it is part of the output like all else.",
            [("        folded.b_dec.mul_(output_scale[:, None])\n", "")],
        ),
        Mistake(
            "folds_itself",
            "You change the transcoder itself: change `folded`, which is a copy.",
            [
                ("folded.W_enc.div_(", "self.W_enc.div_("),
                ("folded.b_dec.mul_(", "self.b_dec.mul_("),
                ("enumerate(folded.W_dec)", "enumerate(self.W_dec)"),
            ],
        ),
        Mistake(
            "decoders_by_target",
            "You index decoders by the layer they write into: `W_dec[l]` begins at layer l, so that into layer m it writes with "
            "`W_dec[l][m - l]`.",
            [("self.W_dec[source][target - source] for source", "self.W_dec[source][target] for source")],
        ),
        Mistake(
            "norms_of_unused_decoders",
            "Your decoder norms count decoders that are left out of the sum: with `cross_layer=False` only `W_dec[l][0]` counts.",
            [
                (
                    "range(self.n_layers, 0, -1) if self.cross_layer else [1] * self.n_layers",
                    "range(self.n_layers, 0, -1)",
                )
            ],
        ),
        Mistake(
            "bias_is_a_tensor",
            "Your `b_dec` is a plain tensor: only a `torch.nn.Parameter` is trained, saved and copied.",
            [
                (
                    "self.b_dec = torch.nn.Parameter(torch.zeros(n_layers, d_model))",
                    "self.b_dec = torch.zeros(n_layers, d_model)",
                )
            ],
        ),
        Mistake(
            "bias_is_a_buffer",
            "Your `b_dec` is a buffer, which is saved but not trained: make it a `torch.nn.Parameter`.",
            [
                (
                    "self.b_dec = torch.nn.Parameter(torch.zeros(n_layers, d_model))",
                    'self.register_buffer("b_dec", torch.zeros(n_layers, d_model))',
                )
            ],
        ),
        Mistake(
            "decoders_in_a_list",
            "Your `W_dec` is a plain list, in which PyTorch does not look for weights: use a `torch.nn.ParameterList`.",
            [("self.W_dec = torch.nn.ParameterList()", "self.W_dec = []")],
        ),
        Mistake(
            "norms_detached",
            "No gradient passes your decoder norms: the penalties must pull at the decoders, too. Detach nothing.",
            [("(torch.stack(squares) + 1e-12).sqrt()", "(torch.stack(squares) + 1e-12).sqrt().detach()")],
        ),
        Mistake(
            "decoders_detached",
            "No gradient reaches your decoders from the reconstruction: detach nothing.",
            [
                (
                    "self.W_dec[source][target - source] for source",
                    "self.W_dec[source][target - source].detach() for source",
                )
            ],
        ),
        Mistake(
            "acts_detached",
            "You detach the activations before you decode them: the encoders then learn nothing from the reconstruction.",
            [("(acts[source] @ self", "(acts[source].detach() @ self")],
        ),
        Mistake(
            "bias_detached",
            "You detach `b_dec`: it is trained like all other weights.",
            [("return self.b_dec[target] + sum", "return self.b_dec[target].detach() + sum")],
        ),
        Mistake(
            "encoder_detached",
            "You detach the encoder: it is trained like all other weights.",
            [("return x @ self.W_enc[layer] +", "return x @ self.W_enc[layer].detach() +")],
        ),
    ],
    "reconstruction_loss": [
        Mistake(
            "mean_over_layers",
            "You average over layers: sum over them.",
            [(".mean((1, 2)).sum()", ".mean()")],
        ),
        Mistake(
            "all_summed",
            "You sum over tokens and dimensions: average over them, and sum over layers only.",
            [(".mean((1, 2)).sum()", ".sum()")],
        ),
        Mistake(
            "dimensions_summed",
            "You sum over dimensions: average over tokens *and* dimensions.",
            [(".mean((1, 2)).sum()", ".sum(2).mean(1).sum()")],
        ),
        Mistake(
            "tokens_summed",
            "You sum over tokens: average over tokens *and* dimensions.",
            [(".mean((1, 2)).sum()", ".mean(2).sum()")],
        ),
        Mistake(
            "absolute",
            "You take absolute errors: the loss is the mean *squared* error.",
            [(".pow(2)", ".abs()")],
        ),
        Mistake(
            "root",
            "You take the root of each layer's error: leave the squares as they are.",
            [(".mean((1, 2)).sum()", ".mean((1, 2)).sqrt().sum()")],
        ),
        Mistake(
            "detached",
            "No gradient passes your loss: nothing would be learnt from it. Detach nothing.",
            [("(reconstruction - outputs)", "(reconstruction.detach() - outputs)")],
        ),
    ],
    "sparsity_loss": [
        Mistake(
            "mean_before_tanh",
            "You average the activations over tokens before the tanh: then a latent that is strong on few tokens is nearly free. Take "
            "the tanh of every activation.",
            [
                (
                    "torch.tanh(scale * decoder_norms[:, None] * acts).sum((0, 2)).mean()",
                    "torch.tanh(scale * decoder_norms * acts.mean(1)).sum()",
                )
            ],
        ),
        Mistake(
            "no_norms",
            "You leave the decoder norms out: a latent could then shrink its activation and stretch its decoder, for nothing.",
            [("scale * decoder_norms[:, None] * acts", "scale * acts")],
        ),
        Mistake(
            "no_tanh",
            "You leave the tanh out: strong activations would be punished for being strong.",
            [("torch.tanh(scale * decoder_norms[:, None] * acts)", "(scale * decoder_norms[:, None] * acts)")],
        ),
        Mistake(
            "scale_outside",
            "Your scale multiplies the tanh: it belongs inside, where it says how soon a latent counts as one.",
            [
                (
                    "torch.tanh(scale * decoder_norms[:, None] * acts)",
                    "scale * torch.tanh(decoder_norms[:, None] * acts)",
                )
            ],
        ),
        Mistake(
            "norms_outside",
            "You multiply the tanh by the decoder norm: it belongs inside, with the activation.",
            [
                (
                    "torch.tanh(scale * decoder_norms[:, None] * acts)",
                    "decoder_norms[:, None] * torch.tanh(scale * acts)",
                )
            ],
        ),
        Mistake(
            "tokens_summed",
            "You sum over tokens: average over them, so that the size of the batch does not matter.",
            [(".sum((0, 2)).mean()", ".sum()")],
        ),
        Mistake(
            "all_averaged",
            "You average over latents: sum over them. What is counted is latents a token.",
            [(".sum((0, 2)).mean()", ".mean()")],
        ),
        Mistake(
            "layers_averaged",
            "You average over layers: sum over the latents of all of them.",
            [(".sum((0, 2)).mean()", ".sum(2).mean()")],
        ),
        Mistake(
            "acts_detached",
            "No gradient reaches the activations from your loss: the penalty is there to make them smaller. Detach nothing.",
            [("decoder_norms[:, None] * acts)", "decoder_norms[:, None] * acts.detach())")],
        ),
        Mistake(
            "norms_detached",
            "You detach the decoder norms: the penalty pulls at the decoders, too.",
            [("scale * decoder_norms[:, None] * acts", "scale * decoder_norms[:, None].detach() * acts")],
        ),
    ],
    "dead_latent_loss": [
        Mistake(
            "threshold_forgotten",
            "You measure how far pre-activations are below 0: what counts is how far they are below their thresholds.",
            [("(threshold[:, None] - pre).relu()", "(-pre).relu()")],
        ),
        Mistake(
            "upside_down",
            "You punish what is above the threshold: it is what lacks below that should cost.",
            [("(threshold[:, None] - pre).relu()", "(pre - threshold[:, None]).relu()")],
        ),
        Mistake(
            "no_relu",
            "Pre-activations above the threshold earn something in your loss: they should cost nothing, and earn nothing.",
            [("(threshold[:, None] - pre).relu()", "(threshold[:, None] - pre)")],
        ),
        Mistake(
            "no_norms",
            "You leave the decoder norms out: multiply what lacks by the length of the latent's decoders.",
            [(".relu() * decoder_norms[:, None]", ".relu()")],
        ),
        Mistake(
            "the_living_too",
            "You push latents that live: only where `dead` is true should anything be counted.",
            [("(below * dead[:, None])", "(below)")],
        ),
        Mistake(
            "only_the_living",
            "You push the living latents and leave the dead ones dead: the mask is upside down.",
            [("(below * dead[:, None])", "(below * ~dead[:, None])")],
        ),
        Mistake(
            "tokens_summed",
            "You sum over tokens: average over them.",
            [(".sum((0, 2)).mean()", ".sum()")],
        ),
        Mistake(
            "latents_averaged",
            "You average over latents: sum over them.",
            [(".sum((0, 2)).mean()", ".mean()")],
        ),
        Mistake(
            "layers_averaged",
            "You average over layers too: average over the tokens alone, and sum over layers and latents.",
            [(".sum((0, 2)).mean()", ".sum(2).mean()")],
        ),
        Mistake(
            "averaged_over_the_dead",
            "You average over the dead latents: sum over them, and average over the tokens alone.",
            [(".sum((0, 2)).mean()", ".sum((0, 2)).mean() / dead.sum()")],
        ),
        Mistake(
            "squared",
            "You square what a latent lacks: it counts as it is.",
            [("(threshold[:, None] - pre).relu()", "(threshold[:, None] - pre).relu().square()")],
        ),
        Mistake(
            "no_dimension_for_tokens",
            "Your thresholds, norms and `dead` have no dimension for the tokens, so that they meet the wrong numbers: write "
            "`threshold[:, None]`, and so on.",
            [
                ("threshold[:, None]", "threshold"),
                ("decoder_norms[:, None]", "decoder_norms"),
                ("dead[:, None]", "dead"),
            ],
        ),
        Mistake(
            "threshold_detached",
            "You detach the threshold: a dead latent's is to be lowered, too.",
            [("(threshold[:, None] - pre)", "(threshold[:, None].detach() - pre)")],
        ),
        Mistake(
            "norms_detached",
            "You detach the decoder norms: nothing is detached in the losses of this chapter.",
            [(".relu() * decoder_norms[:, None]", ".relu() * decoder_norms[:, None].detach()")],
        ),
        Mistake(
            "detached",
            "No gradient passes your loss: nobody would come back to life. Detach nothing.",
            [(".sum((0, 2)).mean()", ".sum((0, 2)).mean().detach()")],
        ),
    ],
    "train_cross_layer_transcoder": [
        Mistake(
            "full_strength_from_the_start",
            "Your sparsity has its full weight from the start: raise it in a straight line, `config.sparsity * step / config.steps`.",
            [("config.sparsity * share * sparsity", "config.sparsity * sparsity")],
        ),
        Mistake(
            "pre_activations_punished",
            "You give the sparsity loss the pre-activations: it counts activations, after the JumpReLU.",
            [("sparsity_loss(acts, norms,", "sparsity_loss(pre, norms,")],
        ),
        Mistake(
            "dead_left_dead",
            "Your loss for dead latents changes nothing: add it, times `config.dead_weight`, and give it `clt.threshold`, not the logarithm.",
            [(" + config.dead_weight * revival", "")],
        ),
        Mistake(
            "dead_after_the_step",
            "You count this step's activations before you decide who is dead: a latent is dead by what happened before the step.",
            [
                (
                    "norms, dead = clt.decoder_norms(), state.silent > config.dead_after",
                    "state.silent = torch.where((acts.detach() > 0).any(1), 0.0, state.silent + 1)\n"
                    "            norms, dead = clt.decoder_norms(), state.silent > config.dead_after",
                ),
                ("            fired = (acts.detach() > 0).any(1)\n", ""),
                ("            state.silent = torch.where(fired, 0.0, state.silent + 1)\n", ""),
            ],
        ),
        Mistake(
            "never_reset",
            "You count silent steps and never start again at 0: a latent that fired in this batch is not silent.",
            [("torch.where(fired, 0.0, state.silent + 1)", "state.silent + 1")],
        ),
        Mistake(
            "gradients_pile_up",
            "Your gradients pile up from step to step: call `optimizer.zero_grad()` before `backward`.",
            [("            optimizer.zero_grad()\n", "")],
        ),
        Mistake(
            "constant_rate",
            "Your learning rate stays the same: it warms up over 30 steps and falls to 0 over the last third.",
            [("config.learning_rate * min(1, (step + 1) / 30, 3 * (1 - share))", "config.learning_rate")],
        ),
        Mistake(
            "no_warm_up",
            "Your learning rate does not warm up: `min(1, (step + 1) / 30, ...)`.",
            [("min(1, (step + 1) / 30, 3 * (1 - share))", "min(1, 3 * (1 - share))")],
        ),
        Mistake(
            "begins_anew_after_a_break",
            "After a break you take the first batches again: a step's batch depends on its number, `store.batch(step, ...)`.",
            [("store.batch(step, config.batch_size)", "store.batch(step - steps.start, config.batch_size)")],
        ),
        Mistake(
            "active_in_a_layer",
            'Your "active" is the number for one layer: count the active latents of all layers together.',
            [
                (
                    "(acts > 0).sum().item() / config.batch_size",
                    "(acts > 0).sum().item() / config.batch_size / len(acts)",
                )
            ],
        ),
        Mistake(
            "weighted_in_the_history",
            "Your history has the weighted sparsity loss: note the loss itself, else nobody can compare two steps.",
            [('"sparsity": sparsity.item()', '"sparsity": config.sparsity * share * sparsity.item()')],
        ),
        Mistake(
            "no_history",
            "You append nothing to `state.history`: every step adds a row.",
            [("state.history.append(", "dict(")],
        ),
        Mistake(
            "counter_not_kept",
            "Nobody is ever counted as dead: keep the counts in `state.silent` (a name of your own is forgotten after the step), and "
            "compare them with `config.dead_after`.",
            [("state.silent = torch.where(", "silent = torch.where(")],
        ),
        Mistake(
            "dead_a_step_too_early",
            "You count a latent as dead one step too early: it must have been silent for *more* than `config.dead_after` steps.",
            [("state.silent > config.dead_after", "state.silent >= config.dead_after")],
        ),
        Mistake(
            "fixed_scale",
            "You use a sparsity scale of 4 whatever was asked for: it is `config.sparsity_scale`.",
            [("sparsity_loss(acts, norms, config.sparsity_scale)", "sparsity_loss(acts, norms, 4.0)")],
        ),
        Mistake(
            "first_step_stands_still",
            "Your first step has a learning rate of 0: the warm-up is `(s + 1) / 30`.",
            [("(step + 1) / 30", "step / 30")],
        ),
        Mistake(
            "no_fall",
            "Your learning rate does not fall at the end: `min(..., 3 * (1 - s / config.steps))`.",
            [("min(1, (step + 1) / 30, 3 * (1 - share))", "min(1, (step + 1) / 30)")],
        ),
        Mistake(
            "ramp_one_step_ahead",
            "Your weight of the sparsity is one step ahead: it is `config.sparsity * s / config.steps`, 0 in the first step.",
            [("config.sparsity * share * sparsity", "config.sparsity * (step + 1) / config.steps * sparsity")],
        ),
        Mistake(
            "tensors_in_the_history",
            "Your history holds tensors, and with them the graph of every step: note plain numbers (`.item()`).",
            [
                ('"reconstruction": error.item()', '"reconstruction": error'),
                ('"sparsity": sparsity.item()', '"sparsity": sparsity'),
            ],
        ),
        Mistake(
            "rate_without_a_cap",
            "Your learning rate rises above config.learning_rate: the warm-up ends at 1.",
            [("min(1, (step + 1) / 30, 3 * (1 - share))", "min((step + 1) / 30, 3 * (1 - share))")],
        ),
    ],
    "cross_layer_hooks": [
        Mistake(
            "own_layer_only",
            "In your replaced model each MLP is written by its own layer's latents only: keep the activations of all earlier layers, "
            "and give `decode` all of them.",
            [
                (
                    "output = clt.decode(layer, acts)",
                    "output = clt.b_dec[layer] + acts[layer] @ clt.W_dec[layer][0]",
                )
            ],
        ),
        Mistake(
            "added_to_the_mlp",
            "You add the reconstruction to what the MLP writes: it takes its place.",
            [("output = clt.decode(layer, acts)", "output = y + clt.decode(layer, acts)")],
        ),
        Mistake(
            "errors_forgotten",
            "You leave the errors out.",
            [("return output if errors is None else output + errors[layer]", "return output")],
        ),
        Mistake(
            "errors_subtracted",
            "You subtract the errors: an error is what is missing, so add it.",
            [("else output + errors[layer]", "else output - errors[layer]")],
        ),
        Mistake(
            "cutoff_for_activations",
            "You compare the activation itself with the cutoff: what counts is the activation times the latent's decoder norm.",
            [("(active * norms[layer] > cutoff)", "(active > cutoff)")],
        ),
        Mistake(
            "cutoff_ignored",
            "You ignore the cutoff.",
            [("acts[layer] = active * (active * norms[layer] > cutoff)", "acts[layer] = active")],
        ),
        Mistake(
            "weak_ones_kept",
            "You keep the weak latents and silence the strong ones: those *above* the cutoff stay.",
            [("(active * norms[layer] > cutoff)", "(active * norms[layer] <= cutoff)")],
        ),
        Mistake(
            "first_layer_left",
            "You leave the first layer's MLP in its place: all of them are replaced.",
            [
                ("for layer in range(clt.n_layers) for hook", "for layer in range(1, clt.n_layers) for hook"),
                (
                    "output = clt.decode(layer, acts)",
                    "acts.setdefault(0, acts[layer] * 0)\n            output = clt.decode(layer, acts)",
                ),
            ],
        ),
        Mistake(
            "before_the_norm",
            "Your latents read the residual stream before ln2: they read what the MLP reads, at `reading_hook(layer)`.",
            [("[(reading_hook(layer), read),", '[(f"blocks.{layer}.ln2.hook_in", read),')],
        ),
        Mistake(
            "kept_at_the_cutoff",
            "You keep a latent whose strength is just the cutoff: only what is *above* it stays. (`choose_cutoff` returns such a strength.)",
            [("(active * norms[layer] > cutoff)", "(active * norms[layer] >= cutoff)")],
        ),
        Mistake(
            "first_prompt_for_ever",
            "Your hooks keep the activations of the first prompt they see: whenever a layer reads, its activations are set anew.",
            [
                (
                    "acts[layer] = active * (active * norms[layer] > cutoff)",
                    "acts.setdefault(layer, active * (active * norms[layer] > cutoff))",
                )
            ],
        ),
        Mistake(
            "late_binding",
            "All your hooks work on the last layer: a function that is made in a loop looks up the loop's variable when it is called. Make the "
            "hooks of a layer inside a function `hooks_of(layer)`, as the second hint says.",
            source="""
def cross_layer_hooks(clt, errors=None, cutoff=0.0):
    norms = clt.decoder_norms()
    acts, hooks = {}, []
    for layer in range(clt.n_layers):

        def read(x, hook):
            active = clt.encode(layer, x)
            acts[layer] = active * (active * norms[layer] > cutoff)

        def write(y, hook):
            output = clt.decode(layer, acts)
            return output if errors is None else output + errors[layer]

        hooks += [(reading_hook(layer), read), (mlp_out_hook(layer), write)]
    return hooks
""",
        ),
    ],
    "choose_cutoff": [
        Mistake(
            "one_too_few",
            "Your cutoff is the smallest strength that should remain, so that it is silenced, too: take the next smaller one.",
            [("topk(n_kept + 1)", "topk(n_kept)")],
        ),
        Mistake(
            "tokens_forgotten",
            "You keep `active` latents of all tokens together: it is that many for each token, `active * len(strengths)`.",
            [("n_kept = int(active * len(strengths))", "n_kept = int(active)")],
        ),
        Mistake(
            "each_token_by_itself",
            "You let every token keep the same number: it is an average, and a token with much to say may keep more.",
            [
                (
                    "return strengths.flatten().topk(n_kept + 1).values[-1].item()",
                    "return strengths.topk(min(int(active) + 1, strengths.shape[1]), dim=1).values[:, -1].mean().item()",
                )
            ],
        ),
        Mistake(
            "fraction_dropped",
            "You round the number of latents a token: only their number over all tokens must be whole.",
            [("int(active * len(strengths))", "int(active) * len(strengths)")],
        ),
        Mistake(
            "the_weakest",
            "You count from the weakest: the strongest remain.",
            [("topk(n_kept + 1)", "topk(n_kept + 1, largest=False)")],
        ),
        Mistake(
            "too_few_to_choose",
            "Where no more than the wanted number are there, you fail or choose a strength: nothing need be silenced, the cutoff is 0.",
            [("        return 0.0\n", "        return strengths.max().item()\n")],
        ),
        Mistake(
            "a_share",
            "You take the number wanted for a share of the latents: it is a number of latents a token.",
            [("int(active * len(strengths))", "int(active / strengths.shape[1] * len(strengths))")],
        ),
    ],
    "collect_sources": [
        Mistake(
            "own_layer_only",
            "Only a layer's own latents write into it: those of all earlier layers do, too.",
            [("for source in clt.sources_of(target):", "for source in [target]:")],
        ),
        Mistake(
            "own_decoder_for_all",
            "You use the decoder into a latent's own layer for every layer: into layer m it writes with `W_dec[l][m - l]`.",
            [("clt.W_dec[source][target - source].detach()", "clt.W_dec[source][0].detach()")],
        ),
        Mistake(
            "decoder_without_activation",
            "You write the decoder itself: a latent writes its activation times its decoder.",
            [("written = acts[:, None] * clt", "written = torch.ones_like(acts)[:, None] * clt")],
        ),
        Mistake(
            "bias_in_the_error",
            "Your errors still contain `b_dec`: it is a constant of the dictionary, not an error.",
            [("error = y - b_dec", "error = y")],
        ),
        Mistake(
            "error_of_own_latents",
            "Your errors leave out what earlier layers' latents write into this layer: subtract what *all* of them write.",
            [
                (
                    "error = error.index_add(0, where, -written)",
                    "error = error.index_add(0, where, -written * (source == target))",
                )
            ],
        ),
        Mistake(
            "errors_are_all",
            "You subtract nothing from the errors: what latents write is then counted twice.",
            [("            error = error.index_add(0, where, -written)\n", "")],
        ),
        Mistake(
            "latents_added",
            "You add what latents write to the errors: subtract it.",
            [("index_add(0, where, -written)", "index_add(0, where, written)")],
        ),
        Mistake(
            "first_nodes_as_errors",
            "You take the first nodes of a layer for its errors: the latents come first, the errors are the last `seq_len`.",
            [
                (
                    "nodes.append(torch.arange(end - graph.seq_len, end, device=error.device))",
                    "end = graph.node_range_dict[target][0] + graph.seq_len\n"
                    "        nodes.append(torch.arange(end - graph.seq_len, end, device=error.device))",
                )
            ],
        ),
        Mistake(
            "left_out_decoders_too",
            "With `cross_layer=False` you let earlier layers' latents write, by decoders that are left out: `clt.sources_of(m)` says who writes.",
            [("for source in clt.sources_of(target):", "for source in range(target + 1):")],
        ),
    ],
    "compute_cross_layer_edges": [
        Mistake(
            "last_place_wins",
            "You count only what a source writes into its own layer, perhaps because every place overwrites the one before (`=` for `+=`): add "
            "up all the places it writes to.",
            [("rows[:, nodes] += effects", "rows[:, nodes] = effects")],
        ),
        Mistake(
            "only_the_last_place",
            "You count only the last place before the target: all places between source and target count.",
            [
                (
                    "            rows[:, nodes] += effects\n",
                    '            if place != "E" and place + 1 == (graph.n_layers if batch.layers[0] == "L" else batch.layers[0]):\n'
                    "                rows[:, nodes] += effects\n",
                )
            ],
        ),
        Mistake(
            "position_of_the_target",
            "You take the gradient at the target's position: a source meets it at its own, where it writes.",
            [
                (
                    "grad[:, positions].to(vectors) * vectors",
                    "grad[torch.arange(len(grad)), batch.positions][:, None].to(vectors) * vectors",
                )
            ],
        ),
        Mistake(
            "absolute_effects",
            "You lose the signs: an edge may be negative.",
            [(".sum(-1)  # (target, source)", ".sum(-1).abs()")],
        ),
        Mistake(
            "no_embeddings",
            'You leave out the place "E": embeddings are sources, too.',
            [
                (
                    "            rows[:, nodes] += effects\n",
                    '            if place != "E":\n                rows[:, nodes] += effects\n',
                )
            ],
        ),
        Mistake(
            "averaged_over_places",
            "You divide by the number of places a source writes to: an edge is the sum over them.",
            [
                (
                    "rows[:, nodes] += effects",
                    'rows[:, nodes] += effects / (1 if place == "E" else graph.n_layers)',
                )
            ],
        ),
    ],
    "path_lengths": [
        Mistake(
            "halves_of_paths",
            "You count every node that a path passes: whole paths begin at nodes that read nothing.",
            [("strengths.append(passing[begins].sum())", "strengths.append(passing.sum())")],
        ),
        Mistake(
            "not_normalised",
            "You multiply the edges as they are: normalise the matrix first.",
            [("shares = normalize_matrix(adjacency_matrix)", "shares = adjacency_matrix.abs()")],
        ),
        Mistake(
            "not_a_share",
            "Your numbers do not add up to 1: divide by their sum.",
            [("return torch.stack(strengths) / sum(strengths)", "return torch.stack(strengths)")],
        ),
        Mistake(
            "one_edge_more",
            "Your lengths are one too large: after the first product a path has one edge.",
            [
                (
                    "        passing = passing @ shares\n        strengths.append(passing[begins].sum())\n",
                    "        strengths.append(passing[begins].sum())\n        passing = passing @ shares\n",
                )
            ],
        ),
        Mistake(
            "one_length_short",
            "The longest paths are missing: they have `n_layers + 1` edges.",
            [("range(n_layers + 1)", "range(n_layers)")],
        ),
        Mistake(
            "nobodys_source",
            "No path arrives at your beginnings. Perhaps you take the nodes that are no one's source, which are the logits: a beginning reads "
            "nothing, its *row* is zero. Or you multiply from the wrong side (`passing @ matrix` leads from targets to sources), or do not "
            "begin at the logits, the last nodes.",
            [("(adjacency_matrix == 0).all(dim=1)", "(adjacency_matrix == 0).all(dim=0)")],
        ),
        Mistake(
            "logits_alike",
            "You let all logits count alike: weigh them by their probabilities.",
            [
                (
                    "weights_of_all_nodes(adjacency_matrix, logit_weights)",
                    "weights_of_all_nodes(adjacency_matrix, torch.ones_like(logit_weights))",
                )
            ],
        ),
    ],
    "attribute_mlp": [
        Mistake(
            "weights_alone",
            "Your edges are the weights: multiply each by what its source writes.",
            [("= weight * written\n", "= weight\n")],
        ),
        Mistake(
            "before_the_relu",
            "Your sources write what they read: a unit writes the ReLU of it, nothing if that is negative.",
            [("values[-1].relu(), end", "values[-1], end")],
        ),
        Mistake(
            "values_after_the_relu",
            "Your values are activations: a unit's value is what it reads, before the ReLU.",
            [
                ("values.append(weight @ written + bias)", "values.append((weight @ written + bias).relu())"),
            ],
        ),
        Mistake(
            "bias_forgotten",
            "You leave the biases out of what units read.",
            [("values.append(weight @ written + bias)", "values.append(weight @ written)")],
        ),
        Mistake(
            "slopes_only",
            "Your edges only ask whether a source is active: multiply the weight by what it writes.",
            [("= weight * written\n", "= weight * (written > 0)\n")],
        ),
        Mistake(
            "transposed",
            "Your matrix is [source, target]: it should be [target, source].",
            [
                (
                    "adjacency[end : end + len(bias), start:end] = weight * written",
                    "adjacency[start:end, end : end + len(bias)] = (weight * written).T",
                )
            ],
        ),
        Mistake(
            "bias_of_inputs_missing",
            "Your biases have no entries for the inputs: every node has one, inputs have 0.",
            [("torch.cat([torch.zeros_like(x), *biases])", "torch.cat([*biases])")],
        ),
        Mistake(
            "stays_at_the_inputs",
            "All your layers read from the inputs' columns: move on by one layer after each.",
            [("written, start = values[-1].relu(), end", "written = values[-1].relu()")],
        ),
        Mistake(
            "absolute_edges",
            "You lose the signs of the edges.",
            [("= weight * written\n", "= (weight * written).abs()\n")],
        ),
    ],
}
