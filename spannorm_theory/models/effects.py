"""Effects of leaving a feature out, as measured on models of 256 coordinates and 32 tokens."""

from __future__ import annotations

SHORT = "below the noise of 16 networks at 32 tokens"
PARTIAL = f"{SHORT}; tokens further apart share less without"
ALIBI = (
    "token cosines up to .13 too large without and gradients up to 8 % too small (MPT); nothing measurable "
    "where branches are small beside the embedding (BLOOM)"
)
PATTERN = (
    "token cosines off by .08 to .42 and gradients by up to 19 % where windows are left out; little where "
    "only positions are"
)
SINK = (
    "token i gives about 1/(i+1) of its weights to the sink: without it attention's second moment is too "
    "large by ((i+1)/i)^2"
)
LATENT = (
    "without it second moments were 2.4 times too large and gradients 91 % too small (DeepSeek-V3, std .02), "
    "or 12 % too large and 2.6 times (MiniCPM3, std .1)"
)
ROTATED_PART = "logits of another variance: gradients of queries and keys in proportion, the rest hardly"
GAIN = "second moments are 90 % too small without (Nemotron)"
EPSILON_OF_BRANCHES = (
    "norms of branches divide by too little without: at width 4096 and std .02 an epsilon of 1e-5 leaves .88 "
    "of OLMo 2's attention at token 30 and .56 at 240"
)
GATES = {
    "softmax": "routed experts are too large without: the weights of the chosen add up to less than one",
    "sigmoid": "weights are less even without, and routed experts a little larger",
    "none": "routed experts are too small without: the sigmoids of the chosen add up to more than one",
    "inputs": "routed experts are too large without: a single expert has the weight one",
}
