# SPDX-License-Identifier: Apache-2.0
"""A server with a toy engine, shared by the tests of a file."""

from collections.abc import Iterator
from typing import Any

import fakes
import pytest


@pytest.fixture(scope="module")
def server() -> Iterator[fakes.Running]:
    with fakes.running() as found:
        yield found


@pytest.fixture(scope="module")
def client(server: fakes.Running) -> Iterator[Any]:
    """The official client, which asks once."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found
