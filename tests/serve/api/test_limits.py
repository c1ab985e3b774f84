# SPDX-License-Identifier: Apache-2.0
"""What is too large, too deep, too many or not what it says is refused: at once, in little memory.

Every refusal is a 4xx with the four keys. The server runs in this process, so that `tracemalloc`
sees what a refusal takes.
"""

import base64
import io
import json
import os
import struct
import time
import tracemalloc
import zlib

import fakes
import numpy as np
import pytest
from PIL import Image

GENERATE, EDIT, RESPOND = "/v1/images/generations", "/v1/images/edits", "/v1/responses"
MOST_SECONDS, MOST_BYTES = 0.05, 16 << 20  # of CPU: other processes do not count


def refused(server: fakes.Running, method: str, path: str, body, **headers: str):
    """Status and error of a refusal, which has its form and takes no memory; the better time."""
    times = []
    for _ in range(2):
        began = time.process_time()
        server.ask(method, path, body, **headers)
        times.append(time.process_time() - began)
    tracemalloc.start()
    status, answer, known = server.ask(method, path, body, **headers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 400 <= status < 500, (status, answer)
    error = answer["error"]
    assert {"message", "type", "param", "code"} == error.keys() - {"moderation_details"}
    assert error["message"] and "Traceback" not in json.dumps(answer)
    assert "x-request-id" in known and known["content-type"] == "application/json"
    size = len(body) if isinstance(body, bytes) else 0
    assert peak - size < MOST_BYTES, f"{peak >> 20} MiB"
    return status, error, min(times)


HUGE = 10**9
FIELDS = [
    ("prompt", None, "prompt"),
    ("prompt", "", "prompt"),
    ("prompt", " \n", "prompt"),
    ("prompt", "x" * 32_001, "prompt"),
    ("prompt", "x" * 4_001, "prompt"),
    ("prompt", ["x"], "prompt"),
    ("prompt", "\ud800", "prompt"),
    *[("n", value, "n") for value in (0, 11, HUGE, -1, 1.5, True, "2", [1], {})],
    *[
        ("size", value, "size")
        for value in (
            "0x0", "17x17", "100000x100000", "1e9x1", "６４x６４", "1024", "x", "1024x1024 ",
            "64X64", "-64x64", "64x64x64", "3840x3840", "16x64", "1024x16",
            1024, "4096x2048", "auto ",
        )
    ],
    *[("output_format", value, "output_format") for value in ("gif", "svg", "bmp", "PNG", 1)],
    *[("output_compression", value, "output_compression") for value in (-1, 101, 50, "1")],
    *[("partial_images", value, "partial_images") for value in (-1, 4, 1)],
    *[("quality", value, "quality") for value in ("best", 1)],
    *[("background", value, "background") for value in ("transparent", "red")],
    *[("moderation", value, "moderation") for value in ("off", False)],
    *[("seed", value, "seed") for value in (-1, 2**32, 0.5, "1")],
    *[("guidance_scale", value, "guidance_scale") for value in (-1, 31, "3", True)],
    *[("temperature", value, "temperature") for value in (-0.1, 2.1)],
    ("negative_prompt", "blur", "negative_prompt"),
    ("stream", "yes", "stream"),
    ("response_format", "file", "response_format"),
    ("style", "vivid", "style"),
    ("svg", {"model": "x"}, "svg"),
    ("frame_count", 2, "frame_count"),
    ("frame_duration_ms", 200, "frame_duration_ms"),
    ("complexity", "low", "complexity"),
    ("steps", 20, "steps"),
    ("num_inference_steps", 20, "num_inference_steps"),
    ("\x00\n\u202e", 1, "\\x00\\n\\u202e"),
    ("user", "x" * 513, "user"),
    ("model", "", "model"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "param"), FIELDS, ids=repr)
def test_wrong_values_are_named(server: fakes.Running, name: str, value, param: str) -> None:
    body = {"prompt": "x"} | {name: value}
    status, error, seconds = refused(server, "POST", GENERATE, body)
    assert (status, error["param"]) == (400, param)
    assert seconds < MOST_SECONDS


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "file:///etc/passwd", "..%2f", "a\0b"])
def test_names_of_models_are_no_paths(server: fakes.Running, name: str) -> None:
    status, error, _ = refused(server, "POST", GENERATE, {"prompt": "x", "model": name})
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")


BODIES = {
    "no JSON": (b"{", None),
    "nothing": (b"", None),
    "a list": (b"[]", None),
    "a number": (b"1", None),
    "no UTF-8": (b'{"prompt": "\xff"}', None),
    "UTF-16": ('{"prompt": "x"}'.encode("utf-16"), None),
    "NaN": (b'{"prompt": "x", "temperature": NaN}', None),
    "infinite": (b'{"prompt": "x", "temperature": 1e999}', "temperature"),
    "a long number": (b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}", None),
    "twice": (b'{"prompt": "x", "n": 1, "n": 2}', "n"),
    "twice within": (b'{"prompt": "x", "svg": {"a": 1, "a": 2}}', "a"),
    "deep lists": (b'{"prompt": ' + b"[" * 100_000, None),
    "deep objects": (b'{"a":' * 50_000, None),
    "an open text": (b'{"prompt": "' + b'\\"' * 200_000, None),
    "many keys": (json.dumps({f"k{i}": i for i in range(10_000)}).encode(), "k0"),
    "too much": (b'{"prompt": "' + b"x" * (2 << 20) + b'"}', None),
    "far too much": (b'{"prompt": "' + b"x" * (64 << 20) + b'"}', None),
}


@pytest.mark.parametrize("name", BODIES)
def test_odd_bodies_are_refused(server: fakes.Running, name: str) -> None:
    data, param = BODIES[name]
    status, error, seconds = refused(
        server, "POST", GENERATE, data, content_type="application/json"
    )
    assert (status, error["param"]) == (413 if name.endswith("too much") else 400, param)
    assert seconds < (MOST_SECONDS if len(data) < 1 << 24 else 2)  # sending takes its time


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "x" * 99])
def test_other_types_of_bodies_are_refused(server: fakes.Running, kind: str) -> None:
    for path in (GENERATE, EDIT, RESPOND, "/v1/content_provenance_checks"):
        status, error, _ = refused(server, "POST", path, b"prompt=x", content_type=kind)
        assert (status, error["code"]) == (415, "unsupported_media_type")


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return file.getvalue()


def bomb(width: int, height: int, packed: int = 100_000) -> bytes:
    """A PNG whose header announces more than anybody should decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(packed), 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    )


def moving() -> bytes:
    file, frames = io.BytesIO(), [Image.new("RGB", (64, 48), color) for color in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


def texts() -> bytes:
    """A small PNG with a compressed text of 100 MB."""
    good = png(8, 8)
    body = b"Comment\0\0" + zlib.compress(bytes(100 << 20), 9)
    text = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", 0)
    return good[:33] + text + good[33:]


FILES = {
    "empty": b"",
    "text": b"hello",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "gif": b"GIF89a" + bytes(100),
    "bmp": b"BM" + bytes(100),
    "tiff": b"II*\0" + bytes(100),
    "cut": png(64, 48)[:40],
    "wide": bomb(65_536, 65_536),
    "largest": bomb(2**31 - 1, 2**31 - 1),
    "just too large": bomb(4097, 4097),
    "nothing": bomb(0, 0),
    "line": bomb(2**24, 1),
    "moving": moving(),
    "riff": b"RIFF" + bytes(100),
    "jpeg": b"\xff\xd8\xff" + bytes(100),
}


def form(parts, boundary: bytes = b"bound") -> tuple[bytes, str]:
    """A form of (name, filename or None, data)."""
    body = b""
    for name, filename, data in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        body += b"--" + boundary + f"\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
        body += data + b"\r\n"
    return body + b"--" + boundary + b"--\r\n", f"multipart/form-data; boundary={boundary.decode()}"


GOOD = ("image", "a.png", png(64, 48))
PROMPT = ("prompt", None, b"x")


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_picture_for_us_are_refused(server: fakes.Running, name: str) -> None:
    data = FILES[name]
    body, kind = form([("image", "a.png", data), PROMPT])
    status, error, seconds = refused(server, "POST", EDIT, body, content_type=kind)
    assert (status, error["param"]) == (400, "image[0]") and seconds < MOST_SECONDS
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    sent = {"prompt": "x", "images": [{"image_url": url}]}
    status, error, _ = refused(server, "POST", EDIT, sent)
    assert (status, error["param"]) == (400, "images[0]")
    content = [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": url}]
    sent = {
        "input": [{"role": "user", "content": content}],
        "tools": [{"type": "image_generation"}],
    }
    status, error, _ = refused(server, "POST", RESPOND, sent)
    assert (status, error["param"]) == (400, "input[0].content[1].image_url")


def test_texts_of_a_picture_are_not_unpacked(server: fakes.Running) -> None:
    body, kind = form([("image", "a.png", texts()), PROMPT])
    tracemalloc.start()
    status, _, _ = server.ask("POST", EDIT, body, content_type=kind)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert status == 200 and peak < MOST_BYTES


URLS = [
    "http://169.254.169.254/latest/meta-data", "https://example.org/a.png", "file:///etc/passwd",
    "ftp://x/a.png", "//example.org/a.png", "gopher://x", "data:text/html;base64,aGk=",
    "data:image/svg+xml;base64,aGk=", "data:image/png,raw", "data:,", "/etc/passwd", "../a.png",
    "http://[::1]/", "\0", "data:image/png;base64,!!!!", "jar:http://x!/a.png",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_no_url_is_opened(server: fakes.Running, url: str, monkeypatch) -> None:
    """Nothing but base64 in the request itself is read; no connection is made."""
    import socket

    def refuse(*_, **__):
        raise AssertionError("a connection was made")

    connect = socket.socket.connect
    own = lambda self, address: (  # noqa: E731
        connect(self, address) if address[1] == server.port else refuse()
    )
    monkeypatch.setattr(socket.socket, "connect", own)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    sent = {"prompt": "x", "images": [{"image_url": url}]}
    status, error, seconds = refused(server, "POST", EDIT, sent)
    assert (status, error["param"]) in ((400, "images[0].image_url"), (400, "images[0]"))
    assert seconds < MOST_SECONDS


FORMS = {
    "no picture": ([PROMPT], 400, "image"),
    "no prompt": ([GOOD], 400, "prompt"),
    "17 pictures": ([("image[]", "a.png", png(8, 8))] * 17 + [PROMPT], 400, "image"),
    "many parts": ([PROMPT] + [(f"f{i}", None, b"x") for i in range(5000)], 400, None),
    "two prompts": ([GOOD, PROMPT, PROMPT], 400, "prompt"),
    "two masks": ([GOOD, PROMPT] + [("mask", "m.png", png(64, 48, "RGBA"))] * 2, 400, "mask"),
    "a small mask": ([GOOD, PROMPT, ("mask", "m.png", png(32, 32, "RGBA"))], 400, "mask"),
    "an opaque mask": ([GOOD, PROMPT, ("mask", "m.png", png(64, 48))], 400, "mask"),
    "no mask": ([GOOD, PROMPT, ("mask", "m.png", b"x")], 400, "mask"),
    "a mask of text": ([GOOD, PROMPT, ("mask", None, b"x")], 400, "mask"),
    "a large mask": ([GOOD, PROMPT, ("mask", "m.png", bytes(5 << 20))], 413, "mask"),
    "a bomb of a mask": ([GOOD, PROMPT, ("mask", "m.png", bomb(99_999, 99_999))], 400, "mask"),
    "markup": ([GOOD, PROMPT, ("markup", "m.png", png(64, 48, "RGBA"))], 400, "markup"),
    "a picture of text": ([PROMPT, ("image", None, b"x")], 400, "image"),
    "a file for n": ([GOOD, PROMPT, ("n", "n.txt", b"1")], 400, "n"),
    "n": ([GOOD, PROMPT, ("n", None, "１".encode())], 400, "n"),
    "n of 0": ([GOOD, PROMPT, ("n", None, b"0")], 400, "n"),
    "no truth": ([GOOD, PROMPT, ("stream", None, b"maybe")], 400, "stream"),
    "svg": ([GOOD, PROMPT, ("svg[model]", None, b"x")], 400, "svg"),
    "low fidelity": ([GOOD, PROMPT, ("input_fidelity", None, b"low")], 400, "input_fidelity"),
    "a long text": ([GOOD, ("prompt", None, b"x" * 200_000)], 400, "prompt"),
    "no text": ([GOOD, ("prompt", None, b"\xff")], 400, None),
    "unknown": ([GOOD, PROMPT, ("steps", None, b"1")], 400, "steps"),
}


@pytest.mark.parametrize("name", FORMS)
def test_odd_forms_are_refused(server: fakes.Running, name: str) -> None:
    parts, wanted, param = FORMS[name]
    body, kind = form(parts)
    status, error, seconds = refused(server, "POST", EDIT, body, content_type=kind)
    assert (status, error["param"]) == (wanted, param) and seconds < MOST_SECONDS


@pytest.mark.parametrize(
    "change",
    [
        lambda body, kind: (body[: len(body) // 2], kind),
        lambda body, kind: (body, "multipart/form-data"),
        lambda body, kind: (body, "multipart/form-data; boundary=other"),
        lambda body, kind: (body, f"multipart/form-data; boundary={'x' * 5000}"),
        lambda body, kind: (b"", kind),
        lambda body, kind: (body.replace(b"Content-Disposition", b"X-Nothing"), kind),
        lambda body, kind: (body.replace(b'name="prompt"', b""), kind),
        lambda body, kind: (body.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 100_000), kind),
        lambda body, kind: (body.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 5000), kind),
    ],
)
def test_broken_forms_are_refused(server: fakes.Running, change) -> None:
    body, kind = change(*form([GOOD, PROMPT]))
    status, error, seconds = refused(server, "POST", EDIT, body, content_type=kind)
    assert status == 400 and seconds < MOST_SECONDS


def test_a_picture_of_51_mb_is_refused(server: fakes.Running) -> None:
    body, kind = form([("image", "a.png", os.urandom(1 << 20) * 51), PROMPT])
    status, error, _ = refused(server, "POST", EDIT, body, content_type=kind)
    assert (status, error["code"]) == (413, "request_too_large")


def test_bombs_at_once_take_no_memory(server: fakes.Running) -> None:
    from concurrent.futures import ThreadPoolExecutor

    body, kind = form([("image", "a.png", bomb(50_000, 50_000, 10_000_000)), PROMPT])
    tracemalloc.start()
    with ThreadPoolExecutor(16) as pool:
        ask = lambda _: server.ask("POST", EDIT, body, content_type=kind)[0]  # noqa: E731
        assert set(pool.map(ask, range(16))) == {400}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * MOST_BYTES


PATHS = ["/../etc/passwd", "/v1/../../x", "/v1/images/files/..%2f..%2fetc%2fpasswd.png", "/%00"]
PATHS += ["//x/y", "/v1/images/files/img_x.png", "/v1/responses/..", "/web/../__main__.py"]
PATHS += ["/v1/images/files/x.exe"]


@pytest.mark.parametrize("path", PATHS)
def test_paths_lead_nowhere(server: fakes.Running, path: str) -> None:
    status, error, _ = refused(server, "GET", path, None)
    assert (status, error["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", GENERATE), ("PUT", EDIT), ("POST", "/health")]
)
def test_other_methods_are_refused(server: fakes.Running, method: str, path: str) -> None:
    status, error, _ = refused(server, method, path, None)
    assert (status, error["code"]) == (405, "method_not_allowed")
    assert "allow" in server.ask(method, path)[2]


def test_a_seed_leaves_room_for_n(server: fakes.Running) -> None:
    body = {"prompt": "x", "n": 2, "seed": 2**32 - 1}
    status, error, _ = refused(server, "POST", GENERATE, body)
    assert (status, error["param"]) == (400, "seed")
    assert server.ask("POST", GENERATE, body | {"seed": 2**32 - 2})[0] == 200


def test_large_pictures_are_read_if_they_are_allowed(server: fakes.Running) -> None:
    body, kind = form([("image", "a.png", png(4096, 4096, "L")), PROMPT, ("seed", None, b"1")])
    status, answer, _ = server.ask("POST", EDIT, body, content_type=kind)
    assert status == 200
    given = fakes.spans.Picture(np.zeros((48, 64, 3), np.uint8))
    wanted = fakes.picture(fakes.Request([given, "x"], seed=1))
    file = io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))
    np.testing.assert_array_equal(np.asarray(Image.open(file)), wanted)


def test_bodies_share_a_budget() -> None:
    limits = fakes.Limits(bodies_bytes=100_000)
    with fakes.running(limits=limits) as server:
        body = {"prompt": "x", "user": "y" * 200_000}
        status, answer, headers = server.ask("POST", GENERATE, body)
        assert (status, headers["retry-after"]) == (429, "1")
        assert server.ask("POST", GENERATE, {"prompt": "x"})[0] == 200
