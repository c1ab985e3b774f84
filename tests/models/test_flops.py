# SPDX-License-Identifier: Apache-2.0
"""Oracles: XLA's cost analysis within 2 %, and the dot products of the traced program exactly.

XLA counts the body of a scan once, so it sees nets of one layer, and elementwise operations, so
widths are such that products dominate. It is asked before optimisation, which would drop what the
last block of the decoder computes for nobody. The traced program is walked with the lengths of its
scans, so it checks depth.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from omnigen.models import flops
from omnigen.models.ar import AR, ARConfig
from omnigen.models.decoder import Decoder, DecoderConfig
from omnigen.models.encoder import Encoder, EncoderConfig
from omnigen.models.heads.flow import FlowHead, FlowHeadConfig
from omnigen.nn.layers import SMALL_TABLE
from omnigen.nn.module import Net
from omnigen.sequence import padding

LENGTH = 96


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def xla_flops(function, *args):
    return jax.jit(function).lower(*args).cost_analysis()["flops"]


def dot_flops(jaxpr):
    """Two for each multiply-add of every dot product, scans by their length."""
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            inner = math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
            total += 2.0 * eqn.outvars[0].aval.size * inner
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        total += times * sum(dot_flops(sub) for sub in core.jaxprs_in_params(eqn.params))
    return total


def traced_flops(function, *args):
    return dot_flops(jax.make_jaxpr(function)(*args).jaxpr)


def encoder_case(layers, **fields):
    config = EncoderConfig(
        merge=2, latent_dim=32, embed_dim=256, num_layers=layers, num_heads=2, mlp_dim=640, **fields
    )
    net = Net(lambda rngs: Encoder(config, rngs=rngs))
    run = lambda params, image: net.bind(params)(image)  # noqa: E731
    return flops.encoder(config, 128), run, (net.shapes(), floats(1, 128, 128, 3))


def decoder_case(layers):
    config = DecoderConfig(
        latent_dim=32, embed_dim=256, num_layers=layers, num_heads=2, mlp_dim=640
    )
    net = Net(lambda rngs: Decoder(config, rngs=rngs))
    run = lambda params, *args: net.bind(params)(*args)  # noqa: E731
    args = net.shapes(), floats(1, 128, 128, 3), floats(1), floats(1, 64, 32)
    return flops.decoder(config, 128), run, args


def head_case(layers):
    config = FlowHeadConfig(
        latent_dim=32, cond_dim=320, embed_dim=256, num_blocks=layers, mlp_dim=640
    )
    net = Net(lambda rngs: FlowHead(config, rngs=rngs))
    run = lambda params, *args: net.bind(params).loss(*args)  # noqa: E731
    tokens = floats(2, 50, 32), floats(2, 50, 320), floats(3, 2, 50), floats(3, 2, 50, 32)
    return flops.flow_head(config, 100, draws=3), run, (net.shapes(), *tokens)


def average_head_case(layers):
    config = FlowHeadConfig(
        latent_dim=32, cond_dim=320, embed_dim=256, num_blocks=layers, mlp_dim=640, average=True
    )
    net = Net(lambda rngs: FlowHead(config, rngs=rngs))
    run = lambda params, *args: net.bind(params)(*args)  # noqa: E731
    times = [floats(3, 2, 50)] * 2
    tokens = floats(3, 2, 50, 32), times[0], floats(1, 2, 50, 320), *times
    return flops.flow_head(config, 100, draws=3), run, (net.shapes(), *tokens)


def ar_case(layers):
    """Both programs compute the whole square of attention, of which the formula counts half.

    The vocabulary is one that is looked up by a gather; smaller ones take a product, which the
    formula leaves out as a lookup.
    """
    config = ARConfig(
        vocab_size=SMALL_TABLE + 8,
        latent_dim=32,
        embed_dim=256,
        num_layers=layers,
        num_heads=4,
        num_kv_heads=2,
        head_dim=48,
        mlp_dim=640,
    )
    net = Net(lambda rngs: AR(config, rngs=rngs))

    def run(params, vectors, sequence):
        model = net.bind(params)
        return model.logits(model.hidden(sequence, vectors))

    rows = padding(LENGTH, 256).map(lambda field: jnp.asarray(np.stack([field] * 2)))
    args = net.shapes(), floats(2, LENGTH, 32), jax.eval_shape(lambda: rows)
    tokens = 2.0 * LENGTH
    counted = flops.ar(config, np.array([LENGTH, LENGTH]), text_tokens=tokens, image_tokens=tokens)
    other_half = 2 * layers * 4 * 48 * LENGTH**2 * 2.0
    return counted + other_half, run, args


local_encoder_case = functools.partial(encoder_case, local=True)
CASES = [encoder_case, local_encoder_case, decoder_case, head_case, average_head_case, ar_case]


@pytest.mark.parametrize("case", CASES)
def test_formula_is_xla_s_count(case):
    counted, run, args = case(1)
    np.testing.assert_allclose(counted, xla_flops(run, *args), rtol=0.02)


@pytest.mark.parametrize("case", CASES)
def test_formula_is_the_sum_of_dot_products_at_any_depth(case):
    for layers in (1, 3):
        counted, run, args = case(layers)
        np.testing.assert_allclose(counted, traced_flops(run, *args), rtol=1e-9)


def test_packing_costs_the_squares_of_the_samples():
    config = ARConfig()
    count = lambda *lengths: flops.ar(  # noqa: E731
        config, np.array(lengths), text_tokens=0, image_tokens=0
    )
    saved = count(100) - count(60, 40, 0)
    # 2 products x 2 operations x half of the square, in 8 layers of 8 heads of 64.
    assert saved == pytest.approx(2 * 8 * 8 * 64 * (100**2 - 60**2 - 40**2))
    assert flops.ar(config, np.array([5]), text_tokens=5, image_tokens=0) - count(5) == (
        pytest.approx(2 * 5 * 512 * 264)
    )
    assert flops.ar(config, np.array([5]), text_tokens=0, image_tokens=3) - count(5) == (
        pytest.approx(2 * 3 * 512 * 48)
    )
