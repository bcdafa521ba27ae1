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
LATENT_QUERIES = "not measured; hardly the logits where norms over heads follow, but the gradients of queries"
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

SHORTCUT = (
    "computed of LongCat-Flash: those that hand on what they read, a third of all, make the stream's second "
    "moment twice as large at the top; the others add 4 % to a dense branch"
)
MIXER = "not measured; what they put out has another second moment and other token cosines"
PICKED = "not measured; attention's second moment of late tokens is too small without, as over more tokens"

#: what every model of a type has and no architecture: (feature, effect)
RANDOM_MIXING = (
    "maps of streams drawn at random: connections of mHC whose logits start at random, not at their bases",
    "the stream's variance was 116 where the bases alone give 93 (96 branches, width 512)",
)
KEYS_ARE_VALUES = (
    "one head whose keys are its values, normed, and rotated back behind the weights",
    "not measured; attention's second moment hardly, as values and queries stay independent",
)
LOW_RANK_HEADS = (
    "heads that are put together through a matrix of low rank, in groups",
    "not measured; its second moment is that of one matrix where both are at fan-in",
)
SOFTPLUS_GATES = (
    "gates of experts that are roots of a softplus, for which renormalised sigmoids stand",
    "not measured; at a router of small logits both are even",
)
HASHED_EXPERTS = (
    "experts of the first blocks chosen by the token's id, not by a router",
    "none for tokens of different ids",
)
TWO_HEAD_WIDTHS = (
    "heads of layers that see all tokens of twice the width of the others",
    "attention's logits and second moment of those layers are off; behind norms over heads logits go as the "
    "root of the width",
)
ZERO_ROUTER = (
    "a router that starts at zero, which sends all tokens to the same experts",
    "the tokens' cosine behind routed experts is too small without: those of all tokens are the same",
)
ONE_GATE_A_HEAD = (
    "one gate for all coordinates of a head, for which one for each stands",
    "none in size; gradients of the gate's matrix are other ones",
)
SHORT_CONVOLUTIONS = (
    "short convolutions behind keys, values and branches, which start as a division by the root of 5",
    "logits' variance is 5 times the model's without; norms of sums divide it away behind branches",
)
NORMED_VALUES = (
    "norms over each head's values, and none over queries and keys, whose length is clipped",
    "attention's second moment is off by the gain of a matrix, width x std^2",
)
RANDOM_SINKS = (
    "sinks that are a small map of the token, for which logits of 0 stand",
    "not measured; the share of the sink differs from token to token",
)
RELATIVE_POSITIONS = (
    "positions as a bias on logits that is a map of the query",
    "not measured; logits differ a little more from key to key",
)
SOFT_CAPPED_GATE = (
    "a gate and an up projection that are softly capped",
    "the hidden layer's second moment is a little too large without",
)
NORMED_HEADS = (
    "a norm on what each head puts out",
    "none where a norm follows the branch, but for tokens whose heads attend differently",
)
NARROW_EXPERTS = (
    "experts between a matrix that narrows the stream and one that widens it, with norms on both sides",
    "none in size where a norm follows the branch; its derivative is another",
)

#: keys that say, where they are neither zero, false nor empty, what no architecture has: (feature, effect)
UNMODELLED = {
    "attention_k_eq_v": ("values that are the keys of layers that see all tokens", "not measured"),
    "enable_moe_block": ("experts beside the dense branch, each with norms of its own", "not measured"),
    "num_kv_shared_layers": ("last blocks that read keys and values of an earlier one", "not measured"),
    "use_double_wide_mlp": ("feed-forward branches of two widths", "not measured"),
    "ple_layer_ids": ("embeddings of n-grams that some blocks add", "not measured"),
    "hidden_size_per_layer_input": (
        "an embedding of each block's own, gated into the stream",
        "not measured; each block adds a third, normed branch, which is as large as its others",
    ),
}
