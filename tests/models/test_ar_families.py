# SPDX-License-Identifier: Apache-2.0
"""With its flags the transformer is that of public language models, as numpy computes them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.models.ar import AR, ARConfig
from omnigen.models.omni import Omni, OmniConfig
from omnigen.nn.attention import Rope
from omnigen.nn.module import Net
from omnigen.sequence import ImageSpan, TextSpan, gather_slots, layout

SMALL = ARConfig(
    vocab_size=300, latent_dim=6, embed_dim=40, num_layers=3, num_heads=4, num_kv_heads=2,
    head_dim=12, mlp_dim=56,
)  # fmt: skip
ONE_AXIS = Rope(theta=(1e6, 1e6, 1e6), counts=(6, 0, 0))
QWEN3 = dataclasses.replace(SMALL, rope=ONE_AXIS, tied=True)
QWEN2 = dataclasses.replace(SMALL, rope=ONE_AXIS, qk_norm=False, qkv_bias=True)
LLAMA = dataclasses.replace(SMALL, rope=ONE_AXIS, qk_norm=False, norm_eps=1e-2)
SECTIONS = Rope(theta=(1e6, 1e6, 1e6), counts=(2, 2, 2), sections=True)
FAMILIES = {
    "qwen3": QWEN3,
    "qwen2": QWEN2,
    "llama": LLAMA,
    "sections": dataclasses.replace(QWEN3, rope=SECTIONS, text_axes=True),
}


def weights(config, seed=0):
    """Random weights; norms around 1 and biases away from 0, so that each of them counts."""
    net, generator = Net(lambda rngs: AR(config, rngs=rngs)), np.random.default_rng(seed)

    def draw(path, leaf):
        is_gain = path[-1].key == "scale"
        scale = 1.0 if leaf.ndim < 2 or path[-1].key == "b" else leaf.shape[-2] ** -0.5
        value = generator.standard_normal(leaf.shape) * (0.3 if is_gain else scale) + is_gain
        return value.astype(np.float32)

    return net, jax.tree_util.tree_map_with_path(draw, net.shapes())


def norm(x, gain, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def expected(c, params, ids):
    """Logits of a text, `[L, V]`: a language model with one rotary table, in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x, length, layers = params["token"][ids], len(ids), params["stack"]["layers"]
    angle = np.outer(np.arange(length), 1e6 ** (-np.arange(0, c.head_dim, 2) / c.head_dim))
    turn = np.exp(1j * angle)[:, None]

    def heads(x, part, gain):
        y = x @ part["w"] + part.get("b", 0.0)
        y = y.reshape(length, -1, c.head_dim)
        if gain is None:
            return y
        y = norm(y, gain["scale"], c.norm_eps) if gain else y
        a, b = np.split(y, 2, axis=-1)
        turned = (a + 1j * b) * turn
        return np.concatenate([turned.real, turned.imag], -1)

    for number in range(c.num_layers):
        layer = jax.tree.map(lambda leaf, n=number: leaf[n], layers)
        part, y = layer["attention"], norm(x, layer["attention_norm"]["scale"], c.norm_eps)
        q = heads(y, part["q"], part.get("q_norm", {}))
        k = heads(y, part["k"], part.get("k_norm", {}))
        k, v = (np.repeat(z, c.num_heads // c.num_kv_heads, axis=1)
                for z in (k, heads(y, part["v"], None)))  # fmt: skip
        scores = np.einsum("tnh,snh->nts", q, k) / np.sqrt(c.head_dim)
        scores = np.exp(np.where(np.tri(length, dtype=bool), scores, -np.inf))
        found = np.einsum("nts,snh->tnh", scores / scores.sum(-1, keepdims=True), v)
        x = x + found.reshape(length, -1) @ part["o"]["w"]
        part, y = layer["mlp"], norm(x, layer["mlp_norm"]["scale"], c.norm_eps)
        gate = y @ part["gate"]["w"]
        x = x + (gate / (1 + np.exp(-gate)) * (y @ part["up"]["w"])) @ part["down"]["w"]
    x = norm(x, params["norm"]["scale"], c.norm_eps)
    return x @ (params["token"].T if c.tied else params["logits_out"]["w"])


def rows(spans):
    omni = Omni(OmniConfig())
    return layout(spans, omni.config.specials, omni.text.encode).map(lambda x: jnp.asarray(x)[None])


@pytest.mark.parametrize("name", FAMILIES)
def test_text_alone_is_read_as_the_family_does(name):
    config = FAMILIES[name]
    net, params = weights(config)
    row = rows([TextSpan(b"what is in the picture")])
    vectors = jnp.zeros((*row.token.shape, config.latent_dim))
    model = net.bind(params)
    found = model.logits(model.hidden(row, vectors))[0]
    wanted = expected(config, params, np.asarray(row.token[0]))
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_each_flag_matters():
    """The reference tells the families from each other, so agreement means something."""
    net, params = weights(QWEN3)
    row = rows([TextSpan(b"what is in the picture")])
    wanted = expected(QWEN3, params, np.asarray(row.token[0]))
    vectors = jnp.zeros((*row.token.shape, QWEN3.latent_dim))
    for change in ({"rope": Rope()}, {"norm_eps": 1e-2}):
        other = dataclasses.replace(QWEN3, **change)
        model = Net(lambda rngs, c=other: AR(c, rngs=rngs)).bind(params)
        found = model.logits(model.hidden(row, vectors))[0]
        assert np.abs(found - wanted).max() > 1e-2, change


@pytest.mark.parametrize("name", FAMILIES)
def test_cached_decoding_is_the_whole_row(name):
    config = FAMILIES[name]
    net, params = weights(config)
    row = rows([TextSpan(b"two"), ImageSpan(2, 3), TextSpan(b"dots")])
    latents = np.random.default_rng(1).standard_normal((1, 6, config.latent_dim))
    vectors, model = gather_slots(jnp.asarray(latents, jnp.float32), row.slot), net.bind(params)
    whole, begin = model.hidden(row, vectors), 5
    head = row.map(lambda field: field[:, :begin])
    _, cache = model.prefill(head, vectors[:, :begin], cache_length=row.token.shape[1])
    stepper, caches = model.stepper(), (cache,)
    for i in range(begin, row.token.shape[1]):
        element = row.map(lambda field, i=i: field[:, i : i + 1])
        hidden, caches = stepper(caches, element, vectors[:, i : i + 1])
        np.testing.assert_allclose(hidden[:, 0], whole[:, i], atol=2e-5)


def test_rows_and_columns_count_from_the_place_in_the_sequence():
    net, params = weights(FAMILIES["sections"])
    row = rows([TextSpan(b"a"), ImageSpan(2, 2)])
    s, r, c = np.asarray(row.position[0]).T
    found = net.bind(params).positions(row)[0]
    np.testing.assert_array_equal(found, np.stack([s, s + r, s + c], axis=-1))
    net, params = weights(QWEN3)
    np.testing.assert_array_equal(net.bind(params).positions(row), row.position)


def test_spare_rows_of_the_vocabulary_stand_behind_the_specials():
    padded = dataclasses.replace(OmniConfig().ar, vocab_size=300, text_vocab=256)
    config = dataclasses.replace(OmniConfig(), ar=padded)
    assert Omni(config).config.specials == Omni(OmniConfig()).config.specials
    wrong = {300: None, 263: 256, 264: 255}
    for size, told in wrong.items():
        ar = dataclasses.replace(padded, vocab_size=size, text_vocab=told)
        with pytest.raises(ValueError, match="ar (vocab_size|text_vocab) is .*text tokenizer"):
            Omni(dataclasses.replace(config, ar=ar))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: {"rope": Rope(theta=(1.0, 2.0, 2.0))}, "theta"),
        (lambda: {"rope": Rope(counts=(-1, 3, 4))}, "counts"),
        (lambda: {"rope": Rope(counts=(6, 1, 0))}, "add up to 6"),
        (lambda: {"norm_eps": 0.0}, "norm_eps is 0.0"),
        (lambda: {"text_vocab": 301}, r"text_vocab is 301; it must be in 1 \.\.\. 300"),
    ],
)
def test_impossible_flags_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change())
