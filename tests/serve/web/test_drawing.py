# SPDX-License-Identifier: Apache-2.0
"""Drawing on the page in a browser: streams, seeds, turns, errors, cancelling."""

import base64
import hashlib
import json

import page_stub
import pytest

pytestmark = pytest.mark.slow  # with axe-core, all of the page take two minutes


def test_draw_with_previews_and_the_next_seed(page) -> None:
    page.js("document.getElementById('seed').value = 7")
    page.ask("a slow blue disk")
    page.wait(lambda: "50 %" in page.one(".state").text)
    assert page.one("progress").get_property("value") == 0.5
    preview = page.one(".frame.drawing img.preview")
    assert preview.get_attribute("alt") == ""
    assert page.shows(preview, 7, scale=0.6)
    page.stub.go.set()
    (image,) = page.drawn(1)
    assert image.get_attribute("alt") == "a slow blue disk"
    assert page.shows(image, 7)
    ((path, fields),) = page.stub.asked
    assert path == "/v1/images/generations"
    assert fields == {
        "prompt": "a slow blue disk",
        "model": "omnigen-test",
        "seed": 7,
        "size": "128x128",
        "n": 1,
        "stream": True,
        "partial_images": 3,
    }
    assert page.one("#seed").get_property("value") == "8"
    spoken = page.spoken()
    assert "The picture: 2 ahead of it in the queue" in spoken
    assert "The picture: Next in the queue" in spoken
    assert spoken[-1] == "The picture is drawn: a slow blue disk"
    assert "seed 7" in page.one(".facts").text and "128x128" in page.one(".facts").text


def test_a_locked_seed_stays_and_settings_are_sent(page) -> None:
    page.js("document.getElementById('seed').value = 42")
    page.press("Keep the seed")
    assert page.one("#lock").get_attribute("aria-pressed") == "true"
    page.one("#open-more").click()
    page.one("#guidance").send_keys("2.5")
    page.one("#temperature").send_keys("0")
    page.js("document.getElementById('ratio-landscape').click()")
    hint = "This model draws 128x128; its borders are drawn out to make 192x128."
    assert page.one("#shape-hint").text == hint
    for number in (1, 2):
        page.ask("a disk")
        page.drawn(number)
        page.press("Leave this picture out")
    assert [fields["seed"] for _, fields in page.stub.asked] == [42, 42]
    fields = page.stub.asked[0][1]
    assert (fields["guidance_scale"], fields["temperature"]) == (2.5, 0)
    assert fields["size"] == "192x128"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("prompt", " ", "Say what to draw."),
        ("seed", "4294967296", "The seed is a whole number from 0 to 4294967295."),
        ("seed", "x", "The seed is a whole number from 0 to 4294967295."),
        ("guidance", "31", "Guidance lies between 0 and 30."),
    ],
)
def test_what_cannot_be_asked_is_said_at_its_field(name, value, message, page) -> None:
    page.js("document.getElementById('prompt').value = 'a disk'")
    page.js("document.getElementById(arguments[0]).value = arguments[1]", name, value)
    page.one("#draw").click()
    assert page.one("#prompt-error").text == message
    assert page.one(f"#{name}").get_attribute("aria-invalid") == "true"
    assert page.one("#prompt").get_attribute("aria-describedby") == "prompt-error"
    assert not page.stub.asked


def test_four_at_once_are_a_gallery(page) -> None:
    page.ask("disks", count=4)
    images = page.drawn(4)
    assert sorted(fields["seed"] for _, fields in page.stub.asked) == [0, 1, 2, 3]
    assert all(page.shows(image, seed) for seed, image in enumerate(images))
    page.js("arguments[0].closest('button').click()", images[1])
    seen = lambda: page.one("#viewer .facts").text  # noqa: E731
    assert seen() == "2 of 4"
    page.keys("\ue014", "\ue014")  # right, twice
    assert seen() == "4 of 4"
    page.keys("\ue014")
    assert seen() == "1 of 4"
    page.keys("\ue012")  # left
    assert seen() == "4 of 4"
    assert page.shows(page.one("#viewer .stage img"), 3)
    page.keys("\ue00c")  # escape
    assert not page.all("#viewer[open]")


def test_cancelling_one_frees_the_server_and_hurts_no_other(page) -> None:
    page.ask("slow disks", count=2)
    page.wait(lambda: len(page.all("img.preview")) == 2)
    page.press("Cancel", "figure:first-child")
    page.wait(lambda: page.stub.left == ["slow disks"])
    assert page.one("figure:first-child .state").text == "Not drawn"
    page.stub.go.set()
    (image,) = page.drawn(1)
    assert page.shows(image, 1)
    page.press("Draw it")
    first, _ = page.drawn(2)
    assert page.shows(first, 0)


def test_escape_cancels_and_gives_the_words_back(page) -> None:
    page.ask("a slow disk")
    page.one("img.preview")
    page.keys("\ue00c")
    page.wait(lambda: page.stub.left == ["a slow disk"])
    assert page.one("#prompt").get_property("value") == "a slow disk"
    page.stub.go.set()
    page.ask("a disk")
    page.drawn(1)
    assert page.one(".branches").text == "2 of 2"  # beside what was cancelled, not after it


def test_an_error_shows_its_four_fields(page) -> None:
    page.ask("a forbidden disk")
    box = page.one(".error").text
    assert "The server does not draw this" in box
    assert "The prompt is against the rules of this server." in box
    assert "moderation_blocked" in box and "invalid_request_error" in box and "prompt" in box
    assert "violence" in box
    assert page.one("#prompt").get_attribute("aria-invalid") == "true"
    assert page.one("#prompt-error").text == "The prompt is against the rules of this server."
    assert page.one("#prompt").get_property("value") == "a forbidden disk"
    assert "The prompt is against the rules" in page.spoken()[-1]
    page.one("#prompt").send_keys("s")
    assert page.one("#prompt").get_attribute("aria-invalid") is None


def test_a_full_server_is_asked_again_when_it_says(page) -> None:
    page.ask("a busy disk")
    page.wait(lambda: page.one(".state").text == "The server is full; asking again in 1 s")
    page.drawn(1)
    assert len(page.stub.asked) == 2
    assert page.stub.asked[0] == page.stub.asked[1]


def test_a_stream_that_breaks_off_is_told(page) -> None:
    page.ask("a broken disk")
    assert "The stream ended before the picture was there." in page.one(".error").text
    assert "cut" in page.one(".error").text
    assert page.button("Try again").is_displayed()


def test_what_is_missing_in_a_picture_is_told(page) -> None:
    page.ask("a disk and a cat")
    page.drawn(1)
    assert page.one(".warnings").text == "no cat"


def test_turns_go_on_undo_and_branch(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.ask("a larger one")
    page.drawn(2)
    page.ask("now green")
    page.drawn(3)
    paths = [path for path, _ in page.stub.asked]
    assert paths == ["/v1/images/generations", "/v1/responses", "/v1/responses"]
    second, third = page.stub.asked[1][1], page.stub.asked[2][1]
    words, image = second["input"][0]["content"]
    assert words == {"type": "input_text", "text": "a larger one"}
    sent = base64.b64decode(image["image_url"].removeprefix("data:image/png;base64,"))
    assert sent == page_stub.drawn("a disk", 0)
    assert third["input"] == "now green" and third["previous_response_id"] == "resp_2"
    assert third["tools"] == [{"type": "image_generation", "size": "128x128", "partial_images": 3}]
    said = lambda: [each.text for each in page.all("#thread .said")]  # noqa: E731
    page.press("Undo")
    page.wait(lambda: said() == ["a disk", "a larger one"])
    assert page.one("#prompt").get_property("value") == "now green"
    page.ask("now yellow")
    page.drawn(3)
    assert page.stub.asked[3][1]["previous_response_id"] == "resp_2"
    assert said() == ["a disk", "a larger one", "now yellow"]
    page.press("Version before")
    page.wait(lambda: said()[-1] == "now green")
    page.press("Go on from here", "li:first-child")
    page.wait(lambda: said() == ["a disk"])
    assert page.button("a larger one", "#later").is_displayed()
    page.press("a larger one", "#later")
    page.wait(lambda: said() == ["a disk", "a larger one", "now yellow"])


def test_a_server_that_forgot_a_turn_is_shown_the_picture(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.ask("larger")
    page.drawn(2)
    page.stub.forget()
    page.ask("green")
    page.drawn(3)
    forgotten, shown = page.stub.asked[2][1], page.stub.asked[3][1]
    assert forgotten["previous_response_id"] == "resp_2"
    image = shown["input"][0]["content"][1]["image_url"]
    assert base64.b64decode(image.partition(",")[2]) == page_stub.drawn("larger", 1)


def test_again_draws_the_next_seed_beside_it(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.press("Again, next seed")
    page.wait(lambda: page.one(".branches").text == "2 of 2")
    page.drawn(1)
    page.press("Again, next seed")
    page.wait(lambda: page.one(".branches").text == "3 of 3")
    assert [fields["seed"] for _, fields in page.stub.asked] == [0, 1, 2]


def test_feedback_names_the_pictures_by_their_hashes(page) -> None:
    page.ask("disks", count=2)
    page.drawn(2)
    page.press("Good", "figure:first-child")
    page.press("This one is better", "figure:last-child")
    lines = lambda: page.stub.feedback.path.read_text().splitlines()  # noqa: E731
    page.wait(lambda: len(lines()) == 2)
    page.press("Good", "figure:first-child")
    page.wait(lambda: len(lines()) == 3)
    up, best, taken_back = map(json.loads, lines())
    digests = [hashlib.sha256(page_stub.drawn("disks", seed)).hexdigest() for seed in (0, 1)]
    assert up["pictures"] == [{"sha256": digests[0], "seed": 0}]
    assert (up["rating"], taken_back["rating"]) == ("up", "none")
    chosen = best["pictures"][best["best"]]
    assert chosen == {"sha256": digests[1], "seed": 1}
    assert {each["sha256"] for each in best["pictures"]} == set(digests)
    assert (best["prompt"], best["model"]) == ("disks", "omnigen-test")
    assert page.button("Best of these", "figure:last-child").text == "Best"
