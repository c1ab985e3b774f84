# SPDX-License-Identifier: Apache-2.0
"""How much a client may send, how long it may take, and how long it may have to wait."""

import dataclasses

MEBI = 1 << 20


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of requests and of what is kept of them.

    Attributes:
        prompt: Characters of a prompt.
        pictures: Pictures of an edit.
        json_bytes: Bytes of a body in JSON.
        data_url_bytes: Bytes of a body in JSON that may hold pictures.
        form_bytes: Bytes of a form, all its pictures together.
        picture_bytes: Bytes of one picture.
        mask_bytes: Bytes of a mask.
        pixels: Pixels of a picture that is decoded.
        text_bytes: Bytes of a form's text field.
        parts: Parts of a form.
        depth: Nesting of JSON.
        bodies_bytes: Bytes of all bodies that are being read.
        header_bytes: Bytes of a request's headers.
        header_s: Seconds until the headers are there.
        body_s: Seconds until the body is there.
        write_s: Seconds until the client has read an answer, or the next part of a stream.
        linger_s: Seconds for which the rest of a body that nobody wants is thrown away.
        ping_s: Seconds between signs of life of a stream.
        deadline_s: Seconds until a picture is drawn.
        drain_s: Seconds that pictures have when the server is told to end.
        kept_bytes: Bytes of pictures and turns that are kept, of all clients.
        kept_s: Seconds for which they are kept.
        key_requests: POST requests of a key in a minute; None for any number.
        key_pictures: Pictures of a key in a minute; None for any number.
    """

    prompt: int = 32_000
    pictures: int = 16
    json_bytes: int = MEBI
    data_url_bytes: int = 28 * MEBI
    form_bytes: int = 50_000_000 + MEBI
    picture_bytes: int = 50_000_000
    mask_bytes: int = 4 * MEBI
    pixels: int = 1 << 24
    text_bytes: int = 1 << 17
    parts: int = 64
    depth: int = 32
    bodies_bytes: int = 256 * MEBI
    header_bytes: int = 1 << 15
    header_s: float = 10.0
    body_s: float = 60.0
    write_s: float = 60.0
    linger_s: float = 5.0
    ping_s: float = 10.0
    deadline_s: float = 300.0
    drain_s: float = 25.0
    kept_bytes: int = 256 * MEBI
    kept_s: float = 3600.0
    key_requests: int | None = None
    key_pictures: int | None = None
