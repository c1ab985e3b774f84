# SPDX-License-Identifier: Apache-2.0
"""Lets stand-ins for models draw: what has `prompts` and `generate` of its own is asked itself."""

import pytest

from omnigen.generation.generate import Drawn, drawn, generate
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.settings import Sampling


def asked_prompts(omni, texts):
    return omni.prompts(texts) if hasattr(omni, "prompts") else prompt_rows(omni, texts)


def asked_generate(omni, weights, rows, keys, sampling=None):
    sampling = sampling or Sampling()
    if hasattr(omni, "generate"):
        return omni.generate(weights, rows, keys, sampling)
    return generate(omni, weights, rows, keys, sampling)


def asked_drawn(omni, weights, rows, keys, sampling):
    if hasattr(omni, "generate"):
        return Drawn(omni.generate(weights, rows, keys, sampling), None)
    return drawn(omni, weights, rows, keys, sampling)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    for module in ("external", "prompted", "suites.corpus", "suites.samples"):
        monkeypatch.setattr(f"omnigen.evals.{module}.prompt_rows", asked_prompts)
    for module in ("external", "suites.corpus", "suites.samples"):
        monkeypatch.setattr(f"omnigen.evals.{module}.generate", asked_generate)
    monkeypatch.setattr("omnigen.evals.prompted.drawn", asked_drawn)
