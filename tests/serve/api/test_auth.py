# SPDX-License-Identifier: Apache-2.0
"""Keys: every route but one needs one, and nobody sees what another key made."""

import base64
import pathlib

import fakes
import pytest

from omnigen.serve.api import auth
from omnigen.serve.api.auth import Keys
from omnigen.serve.api.errors import ApiError

FIRST, SECOND = "sk-0123456789abcdef", "sk-fedcba9876543210"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def locked():
    with fakes.running(keys=Keys([FIRST, SECOND])) as server:
        yield server


def test_every_route_but_health_needs_a_key(locked: fakes.Running) -> None:
    """All routes that the router has, and paths that it has not."""
    paths = {
        (method, route.path.replace("{name}", "x"))
        for route in locked.app.routes
        for method in route.methods
    }
    assert len(paths) > 25
    for method, path in sorted(paths) + [("GET", "/nope"), ("PATCH", "/v1/models")]:
        status, answer, headers = locked.ask(method, path)
        if path == "/health":
            assert status == 200
            continue
        assert status == 401, (method, path)
        assert headers["www-authenticate"].startswith("Bearer")
        if method != "HEAD":
            assert answer["error"]["code"] == "invalid_api_key", path
        assert locked.ask(method, path, **bearer(FIRST))[0] not in (401, 500), (method, path)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        FIRST,
        f"Basic {FIRST}",
        f"Bearer {FIRST}x",
        f"Bearer {FIRST[:-1]}",
        f"Bearer {FIRST.upper()}",
        f"Token {FIRST}",
        "Bearer \u00e9",
        "Basic " + base64.b64encode(f"{FIRST}:".encode()).decode(),
    ],
)
def test_wrong_keys_are_refused(locked: fakes.Running, header: str) -> None:
    sent = {"authorization": header.encode("latin-1")} if header else {}
    assert locked.ask("GET", "/v1/models", **sent)[0] == 401  # type: ignore[arg-type]


def test_browsers_send_keys_as_passwords(locked: fakes.Running) -> None:
    header = "Basic " + base64.b64encode(f"anyone:{SECOND}".encode()).decode()
    assert locked.ask("GET", "/v1/models", authorization=header)[0] == 200


def test_all_keys_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time does not tell which key was near."""
    seen = []

    def compare(a: bytes, b: bytes) -> bool:
        seen.append(b)
        return a == b

    monkeypatch.setattr(auth.hmac, "compare_digest", compare)
    keys = Keys([FIRST, SECOND])
    first = keys.tenant(f"Bearer {FIRST}")
    assert len(seen) == 2
    assert keys.tenant(f"Bearer {SECOND}") != first and FIRST not in first
    with pytest.raises(ApiError):
        keys.tenant("Bearer x")
    assert len(seen) == 6


def test_keys_come_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\n  {FIRST}  \n{SECOND}\n")
    keys = Keys.load(path)
    assert keys.tenant(f"Bearer {FIRST}") == Keys([FIRST]).tenant(f"Bearer {FIRST}")
    for text, message in (
        ("# none\n", "has no key"),
        ("short\n", "key 1 is too short; allowed: 16"),
        (f"{FIRST}\n{SECOND} x\n", "key 2 is no plain text"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as raised:
            Keys.load(path)
        assert FIRST not in str(raised.value)
    with pytest.raises(ValueError, match="cannot be read"):
        Keys.load(tmp_path / "none")


def test_pages_of_other_sites_cannot_draw(server: fakes.Running) -> None:
    path, sent = "/v1/images/generations", {"prompt": "x"}
    assert server.ask("POST", path, sent, sec_fetch_site="cross-site")[0] == 403
    assert server.ask("POST", path, sent, sec_fetch_site="same-origin")[0] == 200


def turn(server: fakes.Running, key: str, **more) -> tuple[int, dict, dict]:
    sent = {"input": "x", "tools": [{"type": "image_generation"}], **more}
    return server.ask("POST", "/v1/responses", sent, **bearer(key))


def test_tenants_are_kept_apart(locked: fakes.Running) -> None:
    """Neither pictures by URL, nor turns, nor progress of another key can be had."""
    _, answer, _ = turn(locked, FIRST)
    sent = {"prompt": "x", "response_format": "url"}
    _, images, _ = locked.ask("POST", "/v1/images/generations", sent, **bearer(FIRST))
    picture = images["data"][0]["url"].removeprefix(locked.url)
    for method, path in (
        ("GET", f"/v1/responses/{answer['id']}"),
        ("GET", picture),
        ("DELETE", f"/v1/responses/{answer['id']}"),
    ):
        assert locked.ask(method, path, **bearer(SECOND))[0] == 404
    status, refused, _ = turn(locked, SECOND, previous_response_id=answer["id"])
    assert (status, refused["error"]["param"]) == (400, "previous_response_id")
    call = {"type": "image_generation_call", "id": answer["output"][0]["id"]}
    status, refused, _ = turn(locked, SECOND, input=[{"role": "user", "content": "x"}, call])
    assert (status, refused["error"]["param"]) == (400, "input")
    assert locked.ask("GET", picture, **bearer(FIRST))[0] == 200
    assert turn(locked, FIRST, previous_response_id=answer["id"])[0] == 200


def interleaved(server: fakes.Running, count: int) -> int:
    """Lets two tenants take turns; returns how often one saw what is not its own."""
    leaks, last = 0, {FIRST: "", SECOND: ""}
    keys = [FIRST, SECOND]
    for number in range(count):
        key = keys[number * 7919 % 11 % 2]
        other = keys[key == FIRST]
        more = {"previous_response_id": last[key]} if last[key] else {}
        status, answer, _ = turn(server, key, input=f"{key} {number}", seed=number, **more)
        assert status == 200
        leaks += other in str(answer)
        if last[other]:
            leaks += turn(server, key, previous_response_id=last[other])[0] != 400
        last[key] = answer["id"]
    return leaks


def test_interleaved_tenants_see_their_own_alone(locked: fakes.Running) -> None:
    assert interleaved(locked, 40) == 0


@pytest.mark.slow
def test_ten_thousand_interleaved_turns(locked: fakes.Running) -> None:
    """Takes minutes."""
    assert interleaved(locked, 10_000) == 0
