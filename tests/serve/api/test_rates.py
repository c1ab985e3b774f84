# SPDX-License-Identifier: Apache-2.0
"""Limits of keys: what is left, what is refused, and when it comes back, by a clock of our own."""

import time

import fakes
import pytest

from omnigen.serve.api import rates
from omnigen.serve.api.auth import Keys
from omnigen.serve.api.errors import ApiError
from omnigen.serve.api.limits import Limits

GENERATE = "/v1/images/generations"
FIRST, SECOND = "sk-0123456789abcdef", "sk-fedcba9876543210"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_is_left_grows_steadily_up_to_the_limit() -> None:
    """At 6 a minute one comes back in 10 s: 6 at once, then none, then one every 10 s."""
    clock = Clock()
    account = rates.Rates(Limits(key_requests=6), clock).account("x")
    for _ in range(6):
        account.check("requests", 1)
        account.take("requests", 1)
    for waited, wait in ((0.0, "10"), (2.5, "8"), (9.75, "1")):
        clock.now = 1000 + waited
        with pytest.raises(ApiError) as refused:
            account.check("requests", 1)
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, wait)
        assert refused.value.headers["Retry-After-Ms"] == str(round((10 - waited) * 1000))
        assert refused.value.error["code"] == "rate_limit_exceeded"
    assert account.headers() == {
        "X-RateLimit-Limit-Requests": "6",
        "X-RateLimit-Remaining-Requests": "0",
        "X-RateLimit-Reset-Requests": "50.25s",
    }
    clock.now = 1010.0
    account.check("requests", 1)
    clock.now = 1e6
    assert account.headers()["X-RateLimit-Remaining-Requests"] == "6"
    assert account.headers()["X-RateLimit-Reset-Requests"] == "0s"


def test_a_minute_that_never_has_so_many_is_no_reason_to_wait() -> None:
    account = rates.Rates(Limits(key_pictures=3), Clock()).account("x")
    account.check("images", 3)
    with pytest.raises(ApiError, match="3 images a minute, never 4 at once") as refused:
        account.check("images", 4)
    assert refused.value.status == 400
    account.check("requests", 1000)  # which have no limit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (7, "7s"), (1.5, "1.5s"), (59.9999, "1m0s"), (60, "1m0s")],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert rates.duration(seconds) == text


def test_each_key_has_its_own_limits() -> None:
    limits = Limits(key_requests=1000, key_pictures=3)
    with fakes.running(keys=Keys([FIRST, SECOND]), limits=limits) as server:

        def ask(count: int, key: str):
            sent = {"authorization": f"Bearer {key}"}
            body = {"prompt": "x", "n": count}
            status, _, headers = server.ask("POST", GENERATE, body, **sent)
            return status, headers

        status, headers = ask(2, FIRST)
        assert (status, headers["x-ratelimit-limit-images"]) == (200, "3")
        assert headers["x-ratelimit-remaining-images"] == "1"
        assert headers["x-ratelimit-limit-requests"] == "1000"
        status, headers = ask(2, FIRST)
        assert status == 429 and 15 <= int(headers["retry-after"]) <= 20
        assert ask(1, FIRST)[0] == 200  # what was refused was not counted
        assert ask(3, SECOND)[0] == 200
        assert ask(4, SECOND)[0] == 400


def test_without_limits_no_answer_speaks_of_them(server: fakes.Running) -> None:
    headers = server.ask("POST", GENERATE, {"prompt": "x"})[2]
    assert not [name for name in headers if "ratelimit" in name]


def test_the_client_of_openai_waits_as_it_is_told() -> None:
    """At 60 requests a minute the 61st comes a second later."""
    openai = pytest.importorskip("openai")
    limits = Limits(key_requests=60)
    with fakes.running(keys=Keys([FIRST]), limits=limits) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=FIRST, max_retries=0) as once:
            raw = once.images.with_raw_response.generate(prompt="x")
            assert raw.headers["x-ratelimit-limit-requests"] == "60"
            assert raw.headers["x-ratelimit-remaining-requests"] == "59"
            with pytest.raises(openai.RateLimitError) as full:
                for _ in range(500):
                    once.moderations.create(input="x")
            assert full.value.code == "rate_limit_exceeded"
            assert full.value.response.headers["retry-after"] == "1"
            assert full.value.response.headers["x-ratelimit-remaining-requests"] == "0"
            began = time.monotonic()
            assert once.with_options(max_retries=2).images.generate(prompt="x").data
            assert time.monotonic() - began > 0.1
