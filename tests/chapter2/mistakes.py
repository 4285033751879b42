"""Planted mistakes of chapter 2: patches of the reference answers, and the sentence for a student who made them."""

from utils.grading import Mistake

MISTAKES = {
    "unexplained_variance": [
        Mistake(
            "distance_from_zero",
            "You measure the target from zero; its variance is measured from its mean over the tokens.",
            [("(target - target.mean(0)).pow(2)", "target.pow(2)")],
        ),
        Mistake(
            "error_without_its_mean",
            "You take the mean away from the error too, so that a constant offset costs nothing.",
            [
                (
                    "error = (target - reconstruction).pow(2).sum()",
                    "error = target - reconstruction\n    error = (error - error.mean(0)).pow(2).sum()",
                )
            ],
        ),
        Mistake(
            "one_mean_for_all",
            "You take one mean over all tokens and dimensions; every dimension has a mean of its own.",
            [("target.mean(0)", "target.mean()")],
        ),
        Mistake(
            "mean_over_dimensions",
            "Your mean runs over the dimensions of a token; it must run over the tokens.",
            [("target.mean(0)", "target.mean(1, keepdim=True)")],
        ),
        Mistake(
            "variance_of_reconstruction",
            "You divide by the variance of the reconstruction; it is the target's variance that has to be explained.",
            [("(target - target.mean(0))", "(reconstruction - reconstruction.mean(0))")],
        ),
        Mistake(
            "average_of_ratios",
            "You average one ratio for each dimension; sum over all dimensions before you divide, so that large ones count more.",
            [
                ("(target - reconstruction).pow(2).sum()", "(target - reconstruction).pow(2).sum(0)"),
                ("(target - target.mean(0)).pow(2).sum()", "(target - target.mean(0)).pow(2).sum(0)"),
                ("(error / total).item()", "(error / total).mean().item()"),
            ],
        ),
        Mistake(
            "root",
            "You took a square root; variances are compared, not lengths.",
            [("(error / total).item()", "(error / total).sqrt().item()")],
        ),
        Mistake(
            "explained",
            "You return the explained share; asked for is the unexplained one.",
            [("(error / total).item()", "1 - (error / total).item()")],
        ),
    ],
    "compare_dictionaries": [
        Mistake(
            "sae_reads_input",
            "You let the SAE read the MLP's input; an SAE reads what it rebuilds, the MLP's output.",
            [("sae.encode(y)", "sae.encode(x)")],
        ),
        Mistake(
            "transcoder_reads_output",
            "You let the transcoder read the MLP's output; it reads the MLP's input and predicts the output.",
            [("transcoder.encode(x)", "transcoder.encode(y)"), ("score(transcoder(x)", "score(transcoder(y)")],
        ),
        Mistake(
            "without_skip",
            "Your transcoder's reconstruction has no skip: decode() leaves it out, calling the transcoder adds it.",
            [("score(transcoder(x), transcoder_acts)", "score(transcoder.decode(transcoder_acts), transcoder_acts)")],
        ),
        Mistake(
            "share_of_latents",
            "You return the share of all latents that is active; asked for is their number on a token.",
            [(".sum(-1).mean()", ".mean()")],
        ),
        Mistake(
            "sum_over_tokens",
            "You count active latents over all tokens together; average over the tokens.",
            [(".sum(-1).mean()", ".sum()")],
        ),
        Mistake(
            "strength_not_count",
            "You add up how strongly latents are active; asked for is how many are.",
            [("(acts > 0).float().sum(-1)", "acts.sum(-1)")],
        ),
        Mistake(
            "latents_that_ever_fire",
            "You count the latents that fire on at least one token; asked for is how many fire on a token, on average.",
            [("(acts > 0).float().sum(-1).mean()", "(acts > 0).any(0).float().sum()")],
        ),
        Mistake(
            "explains_the_input",
            "You measure how well the MLP's input is rebuilt; both dictionaries have to explain its output.",
            [("unexplained_variance(y, reconstruction)", "unexplained_variance(x, reconstruction)")],
        ),
        Mistake(
            "skip_taken_for_granted",
            "Your function fails on a transcoder without W_skip; call the transcoder, which knows whether it has one.",
            [
                (
                    "score(transcoder(x), transcoder_acts)",
                    "score(transcoder.decode(transcoder_acts) + x @ transcoder.W_skip.T, transcoder_acts)",
                )
            ],
        ),
    ],
    "input_gradients": [
        Mistake(
            "mean_of_readings",
            "You differentiate the mean of the readings, so each gradient is too small by the number of tokens; take their sum.",
            [("read(live).sum()", "read(live).mean()")],
        ),
        Mistake(
            "records_on_input",
            "You let gradients be recorded on the caller's tensor; work on a detached copy of it.",
            [("x.detach().clone().requires_grad_()", "x.requires_grad_()")],
        ),
        Mistake(
            "keeps_the_graph",
            "Your result is not detached: it still drags its own history behind it (create_graph is not needed here).",
            [("read(live).sum(), live)", "read(live).sum(), live, create_graph=True)")],
        ),
        Mistake(
            "gradient_mode_left_off",
            "Your function fails where gradients are switched off; switch them on inside with torch.enable_grad().",
            [("torch.enable_grad()", "torch.set_grad_enabled(torch.is_grad_enabled())")],
        ),
        Mistake(
            "one_gradient_for_all",
            "You give every token the average gradient; each token has a gradient of its own.",
            [("return gradients", "return gradients.mean(0).expand_as(gradients)")],
        ),
        Mistake(
            "unit_length",
            "You scaled the gradients to length 1; how steep the slope is gets lost.",
            [("return gradients", "return torch.nn.functional.normalize(gradients, dim=1)")],
        ),
        Mistake(
            "times_input",
            "You multiplied the gradients by the input; asked for is the slope alone.",
            [("return gradients", "return gradients * x")],
        ),
        Mistake(
            "gradient_mode_left_on",
            "You switch gradients on and leave them on; `with torch.enable_grad():` puts back what was before.",
            [("    with torch.enable_grad():\n", "    torch.set_grad_enabled(True)\n    if True:\n")],
        ),
    ],
    "split_mlp_output": [
        Mistake(
            "skip_counted_twice",
            "Your error still contains the skip: decode() leaves the skip out, so y - decode(a) counts it in the error as well.",
            [("error=y - latents - skip - bias", "error=y - transcoder.decode(transcoder.encode(x))")],
        ),
        Mistake(
            "skip_not_transposed",
            "Your skip uses W_skip the wrong way round: it is stored as (d_out, d_in), so the skip is x @ W_skip.T.",
            [("else x @ W_skip.T", "else x @ W_skip")],
        ),
        Mistake(
            "bias_with_latents",
            "Your latents contain b_dec (decode() adds it), and the bias counts it again.",
            [("transcoder.encode(x) @ transcoder.W_dec", "transcoder.decode(transcoder.encode(x))")],
        ),
        Mistake(
            "bias_in_error",
            "You left b_dec in the error and count it as the bias, too: the parts add up to more than the output.",
            [("- skip - bias", "- skip")],
        ),
        Mistake(
            "sign_of_error",
            "Your error has the wrong sign: it is what must be added to the transcoder's output to get the MLP's.",
            [("error=y - latents - skip - bias", "error=latents + skip + bias - y")],
        ),
        Mistake(
            "skip_of_output",
            "Your skip reads the MLP's output; it is a linear map of the MLP's input.",
            [("else x @ W_skip.T", "else y @ W_skip.T")],
        ),
        Mistake(
            "skip_missing",
            "You left the skip out, so that all of it lies in the error.",
            [("torch.zeros_like(y) if W_skip is None else x @ W_skip.T", "torch.zeros_like(y)")],
        ),
        Mistake(
            "skip_taken_for_granted",
            "Your function fails on a transcoder without W_skip; its skip is zero.",
            [
                ('getattr(transcoder, "W_skip", None)', "transcoder.W_skip"),
            ],
        ),
    ],
    "transcoder_hooks": [
        Mistake(
            "last_transcoder_everywhere",
            "All your hooks use the last layer's transcoder: a function made in a loop sees the loop's variables as they are in the "
            "end. Make the hooks in a function that takes the layer and the transcoder.",
            source="""
def transcoder_hooks(transcoders, errors=None, with_skip=True):
    inputs, hooks = {}, []
    for layer, transcoder in transcoders.items():
        def read(x, hook):
            inputs[hook.name] = x

        def write(y, hook):
            x = inputs[reading_hook(int(hook.name.split(".")[1]))]
            output = transcoder(x) if with_skip else transcoder.decode(transcoder.encode(x))
            return output if errors is None else output + errors[layer]

        hooks += [(reading_hook(layer), read), (mlp_out_hook(layer), write)]
    return hooks
""",
        ),
        Mistake(
            "first_input_kept",
            "Your hooks keep the first input they ever saw; a transcoder must read the live input of the present run.",
            [("inputs[layer] = x", "inputs.setdefault(layer, x)")],
        ),
        Mistake(
            "skip_always",
            "You ignore with_skip: the skip is written even when it should be left out.",
            [("transcoder(x) if with_skip else transcoder.decode(transcoder.encode(x))", "transcoder(x)")],
        ),
        Mistake(
            "skip_never",
            "Your replacement has no skip: decode() leaves it out, calling the transcoder adds it.",
            [
                (
                    "transcoder(x) if with_skip else transcoder.decode(transcoder.encode(x))",
                    "transcoder.decode(transcoder.encode(x))",
                )
            ],
        ),
        Mistake(
            "errors_forgotten",
            "You leave the errors out: with them added the model must be itself again.",
            [("output if errors is None else output + errors[layer]", "output")],
        ),
        Mistake(
            "errors_subtracted",
            "You take the errors away; they are what the transcoder misses and have to be added.",
            [("output + errors[layer]", "output - errors[layer]")],
        ),
        Mistake(
            "errors_written_over",
            "You write into the errors that you were given, so that a second run adds them wrongly; make a new tensor.",
            [("output + errors[layer]", "errors[layer].add_(output)")],
        ),
        Mistake(
            "output_written_over",
            "You write into the MLP's own output; whoever has kept it finds something else there. Return a new tensor.",
            [
                (
                    "return output if errors is None else output + errors[layer]",
                    "return y.copy_(output if errors is None else output + errors[layer])",
                )
            ],
        ),
        Mistake(
            "added_to_the_mlp",
            "You add the transcoder's output to the MLP's; it must take its place.",
            [("output if errors is None", "y + output if errors is None")],
        ),
        Mistake(
            "before_the_norm",
            "You write before the norm that follows the MLP; the transcoder's output is what reaches the residual stream, at "
            "mlp_out_hook(layer).",
            [("(mlp_out_hook(layer), write)", '(f"blocks.{layer}.mlp.hook_out", write)')],
        ),
        Mistake(
            "reads_the_output",
            "Your transcoder reads the MLP's output; it reads the MLP's input, which another hook has to keep.",
            [("x = inputs[layer]", "x = y")],
        ),
        Mistake(
            "errors_with_the_skip_only",
            "You add the errors only where the skip is written; they are added whatever with_skip says.",
            [("output if errors is None else", "output if errors is None or not with_skip else")],
        ),
        Mistake(
            "detached",
            "No gradient passes through your hooks; let the transcoder read the live input, not a detached copy.",
            [("inputs[layer] = x", "inputs[layer] = x.detach()")],
        ),
    ],
    "replacement_scores": [
        Mistake(
            "kl_reversed",
            "Your KL goes the wrong way: the original's probabilities weigh the differences, KL(original || changed).",
            [("log_p.exp() * (log_p - log_q)", "log_q.exp() * (log_q - log_p)")],
        ),
        Mistake(
            "not_shifted",
            "You compare the logits at a position with the token at that position; they predict the next one.",
            [("tokens[:, 1:][used]", "tokens[:, :-1][used]")],
        ),
        Mistake(
            "everything_counts",
            "You average over all positions; only those in `counted` count.",
            [("used = counted[:, :-1]", "used = torch.ones_like(counted[:, :-1])")],
        ),
        Mistake(
            "counted_shifted",
            "You moved `counted` by one: it already says at which positions a prediction counts.",
            [("counted[:, :-1]", "counted[:, 1:]")],
        ),
        Mistake(
            "loss_of_the_original",
            "Your loss is the original model's; asked for is that of the changed one.",
            [("cross_entropy(replaced,", "cross_entropy(original,")],
        ),
        Mistake(
            "right_instead_of_kept",
            "You count where the changed model is right; kept are the answers that are the original's, right or wrong.",
            [("original.argmax(-1) == replaced.argmax(-1)", "tokens[:, 1:][used] == replaced.argmax(-1)")],
        ),
        Mistake(
            "kl_over_the_vocabulary",
            "You average the KL over the vocabulary; it is a sum over all tokens, averaged over the positions.",
            [("(log_p.exp() * (log_p - log_q)).sum(-1).mean()", "(log_p.exp() * (log_p - log_q)).mean()")],
        ),
    ],
    "fit_linear": [
        Mistake(
            "not_centred",
            "You fit without taking the means away first, so that the map has to explain the mean as well.",
            [("x.double() - mean_x, y.double() - mean_y", "x.double(), y.double()")],
        ),
        Mistake(
            "transposed",
            "You return the map as (d_in, d_out); asked for is (d_out, d_in), as SAELens stores a skip.",
            [("return W.to(y), b.to(y)", "return W.T.to(y), b.to(y)")],
        ),
        Mistake(
            "transposed_before_the_bias",
            "Your W is (d_in, d_out), which does not fit the mean input: transpose it to (d_out, d_in) before you compute the bias.",
            [
                (
                    "centred_x.T @ centred_y).T\n    b = mean_y - W @ mean_x",
                    "centred_x.T @ centred_y)\n    b = mean_y - W @ mean_x",
                )
            ],
        ),
        Mistake(
            "bias_is_the_mean",
            "Your bias is the mean of the outputs; what the map makes of the mean input has to be taken away from it.",
            [("b = mean_y - W @ mean_x", "b = mean_y")],
        ),
        Mistake(
            "correlation_only",
            "You left out the covariance of the inputs: x.T @ y alone says how they vary together, not which map does it.",
            [
                ("torch.linalg.pinv(centred_x.T @ centred_x, hermitian=True) @ ", ""),
                ("centred_x.T @ centred_y)", "centred_x.T @ centred_y / len(x))"),
            ],
        ),
        Mistake(
            "plain_inverse",
            "Your solution breaks down where an input dimension never varies; use a pseudo-inverse.",
            [
                (
                    "torch.linalg.pinv(centred_x.T @ centred_x, hermitian=True)",
                    "torch.linalg.inv(centred_x.T @ centred_x)",
                )
            ],
        ),
        Mistake(
            "ridge",
            "You shrink the map (a ridge on the diagonal); asked for is the least squared error itself.",
            [
                (
                    "centred_x.T @ centred_x, hermitian=True",
                    "centred_x.T @ centred_x + len(x) * torch.eye(x.shape[1]).to(centred_x), hermitian=True",
                )
            ],
        ),
        Mistake(
            "single_precision",
            "You add up squares in float32: the square of a small number is lost in rounding. Compute in float64.",
            source="""
@torch.no_grad()
def fit_linear(x, y):
    centred_x, centred_y = x - x.mean(0), y - y.mean(0)
    W = (torch.linalg.pinv(centred_x.T @ centred_x, hermitian=True) @ centred_x.T @ centred_y).T
    return W, y.mean(0) - W @ x.mean(0)
""",
        ),
        Mistake(
            "float64_returned",
            "You return float64; the results must have the dtype of the outputs.",
            [("return W.to(y), b.to(y)", "return W, b")],
        ),
        Mistake(
            "coarse_tolerance",
            "Your pseudo-inverse throws away input dimensions that vary little; leave its tolerance as it is.",
            [("hermitian=True)", "hermitian=True, rtol=1e-6)")],
        ),
    ],
    "orient_skip": [
        Mistake(
            "the_worse_one",
            "You return the orientation that leaves more unexplained; less is better.",
            [("W if as_it_is <= turned else W.T", "W.T if as_it_is <= turned else W")],
        ),
        Mistake(
            "as_found",
            "You trust the file: a matrix that was stored the other way round is used as it is.",
            [("return W if as_it_is <= turned else W.T", "return W")],
        ),
        Mistake(
            "always_turned",
            "You always turn the matrix, also where it was right.",
            [("return W if as_it_is <= turned else W.T", "return W.T")],
        ),
        Mistake(
            "output_not_matrix",
            "You return what the skip writes; asked for is its matrix.",
            [("return W if as_it_is <= turned else W.T", "return x @ W.T if as_it_is <= turned else x @ W")],
        ),
        Mistake(
            "both_mixed",
            "You mix both orientations; one of them is right.",
            [("return W if as_it_is <= turned else W.T", "return (W + W.T) / 2")],
        ),
    ],
    "deembedding": [
        Mistake(
            "without_norm",
            "You skip ln2: a latent reads what the norm makes of the residual stream, not the stream itself.",
            [("model.blocks[layer].ln2(embedding[None])[0]", "embedding")],
        ),
        Mistake(
            "norm_before_attention",
            "You use ln1, the norm before the attention; the MLP reads after ln2.",
            [(".ln2(", ".ln1(")],
        ),
        Mistake(
            "norm_of_layer_0",
            "You use the first layer's norm; the latent reads after the norm of its own layer.",
            [("x = model.blocks[layer]", "x = model.blocks[0]")],
        ),
        Mistake(
            "without_bias",
            "You left out b_enc: the pre-activation contains it, and the threshold is compared with both.",
            [(" + transcoder.b_enc[latents]", "")],
        ),
        Mistake(
            "writing_vectors",
            "You used W_dec, what the latents write; what they read is W_enc.",
            [("transcoder.W_enc[:, latents]", "transcoder.W_dec[latents].T")],
        ),
        Mistake(
            "activations",
            "You return activations, which are zero below the threshold; asked for is the pre-activation, of which nothing is lost.",
            [
                (
                    "return x @ transcoder.W_enc[:, latents] + transcoder.b_enc[latents]",
                    "return transcoder.encode(x)[:, latents]",
                )
            ],
        ),
    ],
    "extended_embedding": [
        Mistake(
            "without_mlp",
            "You left the MLP out: the extended embedding is the embedding and what the first MLP adds to it.",
            [("embedding + mlp_output(model, 0, x)", "embedding")],
        ),
        Mistake(
            "mlp_alone",
            "You return what the MLP writes alone; the embedding stays in the residual stream beside it.",
            [("embedding + mlp_output(model, 0, x)", "mlp_output(model, 0, x)")],
        ),
        Mistake(
            "without_norm",
            "You let the MLP read the embedding itself; it reads what ln2 makes of it.",
            [("model.blocks[0].ln2(embedding[None])[0]", "embedding")],
        ),
        Mistake(
            "norm_before_attention",
            "You use ln1, the norm before the attention; the MLP reads after ln2.",
            [(".ln2(", ".ln1(")],
        ),
        Mistake(
            "added_to_the_normed",
            "You add the MLP's output to the normed embedding; the residual stream holds the embedding as it is.",
            [("embedding + mlp_output", "x + mlp_output")],
        ),
        Mistake(
            "next_layer",
            "You use the MLP of the layer after the first.",
            [("+ mlp_output(model, 0, x)", "+ mlp_output(model, 1, x)")],
        ),
        Mistake(
            "standardised",
            "You scale the result to mean 0 and standard deviation 1; the next norm does its own scaling, asked for is the residual "
            "stream.",
            [
                (
                    "return embedding + mlp_output(model, 0, x)",
                    "e = embedding + mlp_output(model, 0, x)\n    return (e - e.mean(1, keepdim=True)) / e.std(1, keepdim=True)",
                )
            ],
        ),
    ],
    "pull_through_norm": [
        Mistake(
            "without_weight",
            "You left out the norm's weight.",
            [("vectors * weight / scale", "vectors / scale")],
        ),
        Mistake(
            "scale_multiplied",
            "You multiply by the scale; a norm divides by it.",
            [("vectors * weight / scale", "vectors * weight * scale")],
        ),
        Mistake(
            "without_scale",
            "You left out the norm's scale, without which layers cannot be compared.",
            [("vectors * weight / scale", "vectors * weight")],
        ),
        Mistake(
            "never_centred",
            "You ignore `centred`: a LayerNorm takes the mean away, and a vector before it cannot read the mean either.",
            [("pulled - pulled.mean(-1, keepdim=True) if centred else pulled", "pulled")],
        ),
        Mistake(
            "always_centred",
            "You take the mean away for every norm; an RMSNorm leaves it.",
            [
                (
                    "pulled - pulled.mean(-1, keepdim=True) if centred else pulled",
                    "pulled - pulled.mean(-1, keepdim=True)",
                )
            ],
        ),
        Mistake(
            "centred_too_late",
            "You take the mean away before the weight. Walking back, the order turns round: first weight and scale, then the mean.",
            [
                ("pulled = vectors", "pulled = (vectors - vectors.mean(-1, keepdim=True) if centred else vectors)"),
                ("pulled - pulled.mean(-1, keepdim=True) if centred else pulled", "pulled"),
            ],
        ),
        Mistake(
            "weight_divided",
            "You divide by the norm's weight. A reading vector is multiplied by it, just as the residual stream is.",
            [("vectors * weight / scale", "vectors / weight / scale")],
        ),
    ],
    "latent_pullback": [
        Mistake(
            "without_norm",
            "You left ln2 out: between what a latent writes and what another reads lie the norm's weight and scale.",
            [
                (
                    "pull_through_norm(reading, norm_weight(ln2, model.cfg.d_model), scale, is_centred(ln2))[0]",
                    "reading[0]",
                )
            ],
        ),
        Mistake(
            "norm_before_attention",
            "You use ln1, the norm before the attention; a latent reads after ln2.",
            [(".ln2", ".ln1")],
        ),
        Mistake(
            "encoders_of_the_sources",
            "You contract with the sources' encoders; what a source writes is its row of W_dec.",
            [("transcoders[source].W_dec @ pulled", "transcoders[source].W_enc.T @ pulled")],
        ),
        Mistake(
            "writing_of_the_target",
            "You start from what the latent writes; what it reads is its column of W_enc.",
            [("transcoders[layer].W_enc[:, latent]", "transcoders[layer].W_dec[latent]")],
        ),
        Mistake(
            "own_layer_too",
            "You let latents of its own layer feed the latent; they write after it has read.",
            [("source < layer", "source <= layer")],
        ),
        Mistake(
            "later_layers",
            "You look at later layers; what a latent reads was written in earlier ones.",
            [("source < layer", "source > layer")],
        ),
        Mistake(
            "scale_ignored",
            "You ignore the scale that ln2 divides by.",
            [("scale, is_centred(ln2)", "1.0, is_centred(ln2)")],
        ),
    ],
    "head_pullback": [
        Mistake(
            "without_ln1",
            "You left out ln1: the head reads the residual stream through that norm.",
            [
                (
                    "return pull_through_norm(vectors, norm_weight(block.ln1, d_model), scale, is_centred(block.ln1))",
                    "return vectors",
                )
            ],
        ),
        Mistake(
            "wrong_norm",
            "You use ln2, the norm before the MLP; a head reads after ln1.",
            [
                (
                    "norm_weight(block.ln1, d_model), scale, is_centred(block.ln1)",
                    "norm_weight(block.ln2, d_model), scale, is_centred(block.ln2)",
                )
            ],
        ),
        Mistake(
            "wrong_group",
            "You gave the head the wrong W_V: neighbouring heads share one, so it is number head // (heads per W_V).",
            [("W_V[head // shared_by]", "W_V[head % len(block.attn.W_V)]")],
        ),
        Mistake(
            "group_for_both",
            "You chose W_O by the group; W_V is shared by neighbouring heads, W_O is each head's own.",
            [("block.attn.W_O[head]", "block.attn.W_O[head // shared_by]")],
        ),
        Mistake(
            "post_norm_forgotten",
            "You left out the norm after the attention, ln1_post, which some models have.",
            [('if hasattr(block, "ln1_post")', "if False")],
        ),
        Mistake(
            "wrong_order",
            "You walk from the input to the output. A reading vector goes backwards: first W_O, then W_V, both transposed.",
            [("vectors @ W_O.T @ W_V.T", "vectors @ W_V @ W_O")],
        ),
        Mistake(
            "scale_ignored",
            "You ignore the scale that ln1 divides by.",
            [("scale, is_centred(block.ln1))", "1.0, is_centred(block.ln1))")],
        ),
        Mistake(
            "scale_for_norm",
            "You take a given post_scale for a sign that there is a norm after the attention; look whether the block has `ln1_post`.",
            [('if hasattr(block, "ln1_post"):', "if post_scale is not None:")],
        ),
    ],
    "logit_lens": [
        Mistake(
            "without_final_norm",
            "You left out ln_final: logits read after the last norm, with its weight and scale.",
            [
                (
                    "pull_through_norm(model.W_U.T, norm_weight(norm, model.cfg.d_model), scale, is_centred(norm))",
                    "model.W_U.T",
                )
            ],
        ),
        Mistake(
            "without_the_norms_weight",
            "You left out the weight of ln_final; the scale alone is not the norm.",
            [("norm_weight(norm, model.cfg.d_model)", "torch.ones(model.cfg.d_model).to(model.W_U)")],
        ),
        Mistake(
            "not_demeaned",
            "You left the mean in: what raises all logits alike changes no probability.",
            [("logits - logits.mean(-1, keepdim=True)", "logits")],
        ),
        Mistake(
            "mean_over_latents",
            "You take the mean over the latents; it is over the vocabulary, for each latent.",
            [("logits.mean(-1, keepdim=True)", "logits.mean(0, keepdim=True)")],
        ),
        Mistake(
            "reading_vectors",
            "You used W_enc, what the latents read; what they write is W_dec.",
            [("transcoder.W_dec[latents]", "transcoder.W_enc[:, latents].T")],
        ),
        Mistake(
            "scale_ignored",
            "You ignore the scale that ln_final divides by.",
            [("scale, is_centred(norm)", "1.0, is_centred(norm)")],
        ),
        Mistake(
            "embedding_instead",
            "You used the embedding; logits are read off by the unembedding W_U.",
            [("model.W_U.T", "model.W_E")],
        ),
        Mistake(
            "as_probabilities",
            "You return probabilities; asked for is the change of the logits.",
            [("logits - logits.mean(-1, keepdim=True)", "logits.softmax(-1)")],
        ),
    ],
    "top_examples": [
        Mistake(
            "tokens_not_sentences",
            "You show a sentence as often as the latent fires in it; show each one once, at its strongest position.",
            source="""
def top_examples(activations, k):
    values, places = activations.flatten().topk(min(k, activations.numel()))
    width = activations.shape[1]
    return [
        Example(place // width, place % width, value)
        for place, value in zip(places.tolist(), values.tolist())
        if value > 0
    ]
""",
        ),
        Mistake(
            "more_than_there_are",
            "You ask `topk` for k sentences where there may be fewer: ask for no more than there are.",
            [("min(k, len(strongest))", "k")],
        ),
        Mistake(
            "over_the_sentences",
            "Your maximum runs over the sentences, one for each position: take it over the positions of each sentence, `dim=1`.",
            [
                ("activations.max(1)", "activations.max(0)"),
                # this changes nothing, so that no pair with "swapped" is the next mistake under two other sentences
                ("Example(row, int(positions[row]), value)", "Example(row, int(positions[row]), float(value))"),
            ],
        ),
        Mistake(
            "strongest_at_each_position",
            "You look for the strongest sentence at each position, so that a sentence can come twice: look for the strongest position "
            "in each sentence.",
            [
                ("activations.max(1)", "activations.max(0)"),
                ("Example(row, int(positions[row]), value)", "Example(int(positions[row]), row, value)"),
            ],
        ),
        Mistake(
            "silent_sentences",
            "You show sentences on which the latent is silent.",
            [("if value > 0", "if value >= 0")],
        ),
        Mistake(
            "weakest_first",
            "You show the weakest examples; the strongest come first.",
            [
                ("min(k, len(strongest))", "min(k, int((strongest > 0).sum())), largest=False"),
                ("activations.max(1)", "activations.masked_fill(activations == 0, 1e9).min(1)"),
            ],
        ),
        Mistake(
            "last_position",
            "You give the last position of the sentence; give the one where the latent fires most.",
            [("int(positions[row])", "activations.shape[1] - 1")],
        ),
        Mistake(
            "by_sum",
            "You rank sentences by the sum over their tokens, which favours long ones; the strongest token counts.",
            [
                (
                    "strongest, positions = activations.max(1)",
                    "strongest, positions = activations.sum(1), activations.argmax(1)",
                )
            ],
        ),
        Mistake(
            "swapped",
            "You swapped row and position.",
            [("Example(row, int(positions[row]), value)", "Example(int(positions[row]), row, value)")],
        ),
        Mistake(
            "first_position",
            "You give the first position at which the latent fires; give the one where it fires most.",
            [("int(positions[row])", "int((activations[row] > 0).float().argmax())")],
        ),
    ],
    "hypothesis_f1": [
        Mistake(
            "swapped",
            "You swapped precision and recall: precision is a share of what was predicted, recall a share of what happens.",
            [("F1Score(precision, recall, f1)", "F1Score(recall, precision, f1)")],
        ),
        Mistake(
            "plain_mean",
            "Your F1 is the plain mean of precision and recall; the harmonic mean is low when either of them is.",
            [("2 * precision * recall / (precision + recall)", "(precision + recall) / 2")],
        ),
        Mistake(
            "accuracy",
            "Your F1 counts sentences on which nothing was predicted and nothing fires; on those everybody is right.",
            [
                (
                    "2 * precision * recall / (precision + recall) if both else 0.0",
                    "(predicted == fires).float().mean().item()",
                )
            ],
        ),
        Mistake(
            "division_by_zero",
            "Your function fails where nothing is predicted, or nothing right; F1 is 0 there.",
            [(" if n_predicted else 0.0", ""), (" if both else 0.0", "")],
        ),
        Mistake(
            "share_of_all",
            "Your precision is a share of all sentences; it is a share of those that were predicted.",
            [("both / n_predicted if", "both / len(fires) if")],
        ),
        Mistake(
            "either",
            "You count the sentences that were predicted or fire; what is right is both at once.",
            [("predicted & fires", "predicted | fires")],
        ),
        Mistake(
            "nothing_fires",
            "Your recall fails where the latent never fires; it is 0 there.",
            [("both / n_fires if n_fires else 0.0", "both / n_fires")],
        ),
    ],
    "case_study": [
        Mistake(
            "nothing",
            "Your hypothesis names nothing: it predicts that the latent never fires.",
            [("return {best}", "return set()")],
        ),
        Mistake(
            "everything",
            "Your hypothesis names every fact that ever occurs where the latent fires: it never misses, and it is nearly always wrong.",
            [("return {best}", "return set(together)")],
        ),
        Mistake(
            "silent_instead",
            "Your hypothesis names something that many sentences have in common, but none of those on which the latent fires.",
            [("return {best}", "return {max(sorted(total.keys() - together.keys()), key=total.get)}")],
        ),
        Mistake(
            "strongest_example_only",
            "Your hypothesis is the whole of one example: you looked at the strongest sentence and took its first token for the cause.",
            [("return {best}", 'return {("token", max(case.study, key=lambda o: max(o.activations)).tokens[0])}')],
        ),
        Mistake(
            "rare_but_sure",
            "Your hypothesis trusts a fact that was seen once or twice: where it holds the latent fires, but it misses nearly all the rest.",
            [
                (
                    "(2 * together[fact] / (total[fact] + firing), total[fact])",
                    "(together[fact] / total[fact], -together[fact])",
                )
            ],
        ),
        Mistake(
            "what_is_common",
            "Your hypothesis names what is common in all sentences: where the latent fires, it is common too, but no more than elsewhere.",
            [("(2 * together[fact] / (total[fact] + firing), total[fact])", "total[fact]")],
        ),
    ],
    "batch_topk": [
        Mistake(
            "for_each_token",
            "You keep the same number for every token; BatchTopK chooses among the whole batch, so that a token may use more or fewer.",
            source="""
def batch_topk(pre, active):
    pre = pre.relu()
    best = pre.topk(max(1, int(active)), dim=1)
    return torch.zeros_like(pre).scatter(1, best.indices, best.values)
""",
        ),
        Mistake(
            "so_many_in_all",
            "You keep `active` pre-activations in the whole batch; it is `active` for each token, on average.",
            [("int(active * len(pre))", "max(1, int(active))")],
        ),
        Mistake(
            "rounded_too_early",
            "You round `active` before you multiply: one and a half a token are three for two tokens, not two.",
            [("int(active * len(pre))", "max(1, int(active) * len(pre))")],
        ),
        Mistake(
            "cut_taken_away",
            "You take the cut away from what you keep; a JumpReLU leaves the values above it as they are.",
            [("return pre * (pre >= lowest)", "return (pre - lowest) * (pre >= lowest)")],
        ),
        Mistake(
            "negative_kept",
            "You keep negative pre-activations where too few are positive.",
            [("pre = pre.relu()", "pre = pre")],
        ),
        Mistake(
            "mask_only",
            "You return which ones are kept; return their values.",
            [("return pre * (pre >= lowest)", "return (pre >= lowest).to(pre) * (pre > 0)")],
        ),
        Mistake(
            "for_each_latent",
            "You keep the largest of every latent; the largest of the whole batch are kept.",
            source="""
def batch_topk(pre, active):
    pre = pre.relu()
    best = pre.topk(max(1, int(active * len(pre) / pre.shape[1])), dim=0)
    return torch.zeros_like(pre).scatter(0, best.indices, best.values)
""",
        ),
        Mistake(
            "no_gradient",
            "No gradient flows through what you keep: only the choice may be detached, not the values.",
            [("return pre * (pre >= lowest)", "return pre.detach() * (pre >= lowest)")],
        ),
        Mistake(
            "one_too_few",
            "You drop the smallest one of those that should be kept (> instead of >=).",
            [("pre >= lowest", "pre > lowest")],
        ),
    ],
    "train_transcoder": [
        Mistake(
            "gradients_pile_up",
            "You never clear the gradients, so that each step is taken along the sum of all gradients so far.",
            [("            optimizer.zero_grad()\n", "")],
        ),
        Mistake(
            "no_step",
            "You never let the optimizer take a step: nothing is learned.",
            [("            optimizer.step()\n", "")],
        ),
        Mistake(
            "target_not_scaled",
            "You compare with outputs that are not scaled; the transcoder works with y / y_scale.",
            [("y[index] / transcoder.y_scale", "y[index]")],
        ),
        Mistake(
            "input_not_scaled",
            "You feed inputs that are not scaled; the transcoder works with x / x_scale.",
            [("x[index] / transcoder.x_scale", "x[index]")],
        ),
        Mistake(
            "always_the_same_batch",
            "You train on the same first tokens at every step; draw new ones each time.",
            [("torch.randint(len(x), (config.batch_size,))", "torch.arange(config.batch_size)")],
        ),
        Mistake(
            "rate_constant",
            "Your learning rate stays the same; it must go linearly to 0, or the weights never settle.",
            [("config.learning_rate * (1 - step / config.steps)", "config.learning_rate")],
        ),
        Mistake(
            "dead_left_alone",
            "You left out the auxiliary loss: latents that are never chosen get no gradient and stay dead.",
            [(" + config.auxiliary * transcoder.auxiliary_loss(error, pre)", "")],
        ),
        Mistake(
            "after_step_forgotten",
            "You never call after_step: decoders grow, the threshold stays at zero, and nobody notices who is dead.",
            [("            transcoder.after_step(acts.detach())\n", "")],
        ),
        Mistake(
            "gradient_mode_left_off",
            "Your function fails where gradients are switched off; switch them on inside with torch.enable_grad().",
            [("torch.enable_grad()", "torch.set_grad_enabled(torch.is_grad_enabled())")],
        ),
        Mistake(
            "adamw",
            "Your optimizer also shrinks the weights (AdamW, or weight_decay); the recipe names torch.optim.Adam.",
            [("torch.optim.Adam(", "torch.optim.AdamW(")],
        ),
        Mistake(
            "other_betas",
            "You leave Adam's betas as PyTorch sets them; the recipe says 0.9 and 0.99.",
            [(", betas=(0.9, 0.99)", "")],
        ),
        Mistake(
            "auxiliary_at_full_weight",
            "Your auxiliary loss counts in full; it is multiplied by config.auxiliary.",
            [("config.auxiliary * transcoder", "transcoder")],
        ),
        Mistake(
            "auxiliary_of_the_target",
            "You let dead latents explain the whole target; they explain what is left, the error.",
            [("auxiliary_loss(error, pre)", "auxiliary_loss(target, pre)")],
        ),
    ],
}
