# SPDX-License-Identifier: Apache-2.0
"""What a change of each setting of the model means for weights that are there already.

Every setting stands in one of three groups; a test fails for one that is in none. All else that
weights depend on (rotary bases of encoder and decoder, the sphere of the latents, conventions of
the flow) is no setting: it is the same for all models of a checkpoint format.
"""

UNSEEN = {
    "text": "ar",  # which id stands for which text
    "block": "ar",  # which tokens see each other, and what a hidden state predicts
    "encoder.local": "encoder",  # what a token tells of
    "head.prediction": "head",  # what its output is
    "ar.text_vocab": "ar",  # which rows are the specials
    "ar.rope.theta": "ar",  # what a distance does to a score
    "ar.rope.counts": "ar",
    "ar.rope.sections": "ar",
    "ar.text_axes": "ar",  # where elements stand
    "ar.norm_eps": "ar",
}
"""Weights look the same but mean something else: the part of the model to which they belong."""

SHAPES = {
    *("encoder.patch_size", "encoder.merge", "encoder.latent_dim", "encoder.embed_dim"),
    *("encoder.num_layers", "encoder.num_heads", "encoder.mlp_dim"),
    *("decoder.patch_size", "decoder.embed_dim", "decoder.num_layers", "decoder.num_heads"),
    "decoder.mlp_dim",
    *("ar.vocab_size", "ar.embed_dim", "ar.num_layers", "ar.num_heads", "ar.num_kv_heads"),
    *("ar.head_dim", "ar.mlp_dim"),
    *("head.embed_dim", "head.num_blocks", "head.mlp_dim"),
    *("ar.qk_norm", "ar.qkv_bias", "ar.tied"),
    *("head.kind", "head.average"),  # they bring layers of their own
}
"""Weights have other shapes, or are others, and do not fit."""

FREE = {
    "image_size",  # positions are rotary and count tokens: other sizes are learnt on
    "sketch_length",  # how long what it writes may be
    "reads_pictures",  # what it was trained on
    *("encoder.noise_max", "encoder.dtype", "encoder.remat", "encoder.unroll"),
    *("decoder.num_steps", "decoder.noise_scale"),  # of drawing
    *("decoder.dtype", "decoder.remat", "decoder.unroll"),
    *("ar.dtype", "ar.remat", "ar.unroll"),
    *("head.num_steps", "head.dtype"),
}
"""Weights mean the same."""
