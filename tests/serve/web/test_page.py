# SPDX-License-Identifier: Apache-2.0
"""What else the page does in a browser: pictures of others, masks, history, keys, small screens."""

import base64
import hashlib
import io
import json
import os
import pathlib
import random

import numpy as np
import page_stub
import pytest
from PIL import Image

pytestmark = pytest.mark.slow  # with axe-core, all of the page take two minutes

AXE = os.environ.get("OMNIGEN_AXE", "axe.min.js")
DROP = """
const [name, type, data, kind] = arguments;
const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], name, { type }));
const event = kind === "paste"
  ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
  : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""


def drop(page, data: bytes, *, name: str = "x.png", kind: str = "drop") -> None:
    page.js(DROP, name, "image/png", base64.b64encode(data).decode(), kind)


def mask_of(page) -> np.ndarray:
    """Where the last edit may change, bool `[H, W]`."""
    path, fields = page.stub.asked[-1]
    assert path == "/v1/images/edits"
    image = Image.open(io.BytesIO(fields["mask"]))
    assert (image.format, image.mode) == ("PNG", "RGBA")
    return np.asarray(image)[..., 3] == 0


def paint(page) -> None:
    """Leaves the editor with what is painted."""
    page.press("Change this part")
    page.wait(lambda: not page.all("#mask[open]"))


def test_a_brush_changes_a_part(page) -> None:
    from selenium.webdriver import ActionChains

    page.ask("a disk")
    page.drawn(1)
    page.press("Change a part of it")
    view = page.one(".mask-view")
    side = view.size["width"]
    move = ActionChains(page.driver, duration=10).move_to_element_with_offset(view, -side // 4, 0)
    move.click_and_hold().move_by_offset(side // 2, 0).release().perform()
    page.click("Change this part", "#mask")
    page.wait(lambda: not page.all("#mask[open]"))
    page.keys("a stripe there")  # the prompt has the focus, and its caret
    page.one("#prompt").send_keys("\ue009\ue007")
    page.drawn(2)
    fields = page.stub.asked[-1][1]
    assert fields["image"] == page_stub.drawn("a disk", 0)
    given = {name: fields[name] for name in ("prompt", "n", "seed", "stream", "partial_images")}
    assert list(given.values()) == ["a stripe there", "1", "1", "true", "3"]
    mask = mask_of(page)
    assert mask.shape == (page_stub.SIDE, page_stub.SIDE)
    rows, columns = np.nonzero(mask)
    brush = 0.14 * page_stub.SIDE  # the brush that is set at first
    assert abs(np.ptp(rows) + 1 - brush) < 3 and abs(rows.mean() - 63.5) < 2
    assert abs(np.ptp(columns) + 1 - (64 + brush)) < 3 and abs(columns.mean() - 63.5) < 2
    assert "a part of" in page.one("li:last-child .given").text


def test_a_mask_by_keyboard_undo_invert_and_the_same_again(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.press("Change a part of it")
    assert page.js("return document.activeElement.className") == "mask-view"
    right, down, enter, delete = "\ue014", "\ue015", "\ue007", "\ue017"
    page.keys(right, right, down, enter)  # 32 pixels from the edge, and 4 for each press
    assert "Rectangle 31 percent from the left, 28 from the top" in page.spoken()[-2]
    page.keys(*[right] * 8, delete)  # wipes the right half, where the edge stops the rectangle
    page.keys("i", enter, "z")  # inverts; what is painted next is undone
    paint(page)
    page.ask("more")
    page.drawn(2)
    expected = np.ones((128, 128), bool)
    expected[36:100, 40:64] = False
    assert (mask_of(page) == expected).all()
    page.press("Change a part of it", "li:last-child")
    page.press("Same part as before")
    paint(page)
    page.ask("more again")
    page.drawn(3)
    assert (mask_of(page) == expected).all()


def test_what_was_painted_outlives_a_slip(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.press("Change a part of it")
    page.keys("\ue007", "\ue00c")  # paints, then closes the editor
    page.wait(lambda: not page.all("#mask[open]"))
    page.press("Whole picture", "#sources")
    paint(page)
    page.ask("more")
    page.drawn(2)
    assert mask_of(page).sum() == 64 * 64


def test_a_mask_is_kept_between_prompts(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.press("Change a part of it")
    page.keys("\ue007")
    paint(page)
    page.ask("red")
    page.drawn(2)
    page.press("Undo")
    page.wait(lambda: page.one("#sources li button").text == "Painted part")
    page.ask("green")
    page.drawn(2)
    first, second = page.stub.asked[-2][1], page.stub.asked[-1][1]
    assert first["mask"] == second["mask"] and mask_of(page).sum() == 64 * 64


def test_pictures_of_others_are_given(page) -> None:
    plain = [page_stub.png(page_stub.disk(seed, size=(60, 40))) for seed in (1, 2)]
    drop(page, plain[0])
    page.wait(lambda: len(page.all("#sources li")) == 1)
    drop(page, plain[1], kind="paste")
    page.wait(lambda: len(page.all("#sources li")) == 2)
    page.ask("both together")
    page.drawn(1)
    path, fields = page.stub.asked[0]
    assert (path, fields["image[]"], fields["size"]) == ("/v1/images/edits", plain, "auto")
    drop(page, b"no picture", name="notes.png")
    page.wait(lambda: "notes.png is no picture" in page.one("#notice").text)


def test_a_photo_is_given(page) -> None:
    page.press("Take a photo")
    page.wait(lambda: page.js("return document.querySelector('video')?.videoWidth"))
    page.press("Take it")
    page.wait(lambda: len(page.all("#sources li")) == 1)
    page.ask("as a drawing")
    page.drawn(1)
    photo = Image.open(io.BytesIO(page.stub.asked[0][1]["image"]))
    assert photo.format == "JPEG" and min(photo.size) > 100


@pytest.mark.parametrize("kind", ["iTXt", "tEXt", "packed"])
def test_settings_come_back_from_a_png(kind: str, page, tmp_path: pathlib.Path) -> None:
    prompt = 'a sign with "Grüße"'
    settings = {**page_stub.SETTINGS, "temperature": 0.25}
    texts = {"prompt": prompt, "settings": json.dumps(settings), "seed": "4294967295"}
    file = tmp_path / "drawn.png"
    file.write_bytes(page_stub.png(page_stub.disk(1), {**texts, "model": "abc"}, kind=kind))
    page.one("#prompt").send_keys("mine")
    page.js("document.getElementById('file').hidden = false")
    page.one("#file").send_keys(str(file))
    page.wait(lambda: page.all("#found[open]"))
    shown = page.one("#found").text
    assert prompt in shown and "4294967295" in shown and "2.5" in shown and "abc" in shown
    page.press("Close", "#found")
    assert page.one("#prompt").get_property("value") == "mine"  # looked at, not taken
    drop(page, file.read_bytes())
    page.press("Use its settings", "#found")
    values = {i: page.one(f"#{i}").get_property("value") for i in ("prompt", "seed", "guidance")}
    assert values == {"prompt": prompt, "seed": "4294967295", "guidance": "2.5"}
    assert page.one("#temperature").get_property("value") == "0.25"


def test_damaged_pngs_say_nothing(page) -> None:
    """Whatever is cut or changed, the reader of texts ends and throws nothing."""
    whole, dice = page_stub.drawn("a disk", 3), random.Random(0)
    cases = [whole[:length] for length in range(0, len(whole), 37)]
    for _ in range(200):
        changed = bytearray(whole)
        for _ in range(4):
            changed[dice.randrange(8, 400)] = dice.randrange(256)
        cases.append(bytes(changed))
    bomb = page_stub.png(page_stub.disk(1), {"prompt": "x" * 10_000_000}, kind="packed")
    script = (
        "const done = arguments[1]; import('/page/png.js').then(async ({ settingsOf }) => {"
        " const found = []; for (const data of arguments[0]) { const bytes ="
        " Uint8Array.from(atob(data), (c) => c.charCodeAt(0));"
        " found.push(await settingsOf(new Blob([bytes]))); } done(found);"
        "}).catch((error) => done(String(error)))"
    )
    sent = [base64.b64encode(data).decode() for data in [*cases, bomb, whole]]
    found = page.driver.execute_async_script(script, sent)
    assert isinstance(found, list), found
    assert found[-1]["prompt"] == "a disk" and found[-2] is None and found[0] is None


def test_hashes_are_those_of_the_standard(page) -> None:
    script = (
        "const done = arguments[1]; import('/page/sha256.js').then(({ sha256 }) =>"
        " done(arguments[0].map((n) => sha256(Uint8Array.from({ length: n }, (_, i) => i * 7)))))"
    )
    lengths = [*range(0, 200), 1000, 100_003]
    expected = [hashlib.sha256(bytes(7 * i % 256 for i in range(n))).hexdigest() for n in lengths]
    assert page.driver.execute_async_script(script, lengths) == expected


def test_a_model_that_cannot_edit_is_explained(page) -> None:
    page.stub.can_edit = False
    page.open()
    page.ask("a disk")
    page.drawn(1)
    assert not page.all("#sources li")
    page.press("Go on from here")
    assert "has not learnt to read pictures" in page.one("#found").text
    page.press("Close", "#found")
    page.ask("a green disk")
    page.drawn(2)
    assert {path for path, _ in page.stub.asked} == {"/v1/images/generations"}
    drop(page, page_stub.png(page_stub.disk(1)))
    page.wait(lambda: "has not learnt to read pictures" in page.one("#found").text)


def test_history_is_kept_searched_and_deleted(page) -> None:
    page.ask("a red disk")
    page.drawn(1)
    page.press("New")
    page.ask("a blue disk")
    page.drawn(1)
    page.open()
    assert [each.text for each in page.all("#thread .said")] == ["a blue disk"]
    page.press("Gallery")
    alts = lambda: [i.get_attribute("alt") for i in page.all("#gallery .tiles img")]  # noqa: E731
    assert alts() == ["a blue disk", "a red disk"]
    page.one("#search").send_keys("RED")
    assert alts() == ["a red disk"]
    page.one("#search").send_keys("\ue003" * 3)  # backspace
    page.js("document.getElementById('kind-conversations').click()")
    page.js("document.querySelectorAll('#gallery .row')[1].click()")
    page.wait(lambda: [each.text for each in page.all("#thread .said")] == ["a red disk"])
    page.js("document.querySelector('#thread .open').click()")
    page.press("Delete", "#viewer")
    page.press("Delete for good?", "#viewer")
    page.wait(lambda: not page.all("#thread .frame.done"))
    page.open()
    page.press("Gallery")
    page.js("document.getElementById('kind-pictures').click()")
    assert alts() == ["a blue disk"]
    page.press("Delete all")
    page.press("Delete everything for good?")
    page.wait(lambda: not alts())


def test_two_pictures_are_compared(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.ask("larger")
    page.drawn(2)
    page.js("document.querySelectorAll('#thread .open')[1].click()")
    page.keys("c")
    under, over = page.all("#viewer .pair img")
    assert (under.get_attribute("alt"), over.get_attribute("alt")) == ("a disk", "larger")
    assert "50%" in page.js("return arguments[0].style.clipPath", over)
    page.one("#compare").send_keys("\ue014" * 10)
    assert page.js("return arguments[0].style.clipPath", over) == "inset(0px 40% 0px 0px)"
    assert page.one("#viewer .facts").text == "2 of 2"  # arrows moved the slider alone


def test_who_made_this(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.js("document.querySelector('#thread .open').click()")
    page.press("Who made this?", "#viewer")
    page.wait(lambda: "A machine made this" in page.one("#viewer").text)
    assert "omnigen (self-made)" in page.one("#viewer .origin").text
    page.keys("\ue00c")
    page.stub.can_edit = False
    page.open()
    drop(page, page_stub.png(page_stub.disk(1)))
    page.press("Who made this?", "#found")
    page.wait(lambda: "Nobody can say" in page.one("#found").text)


def test_a_key_is_asked_for_and_kept_for_the_session_alone(page) -> None:
    page.stub.key = "a-good-key"
    page.driver.get(page.url)
    page.wait(lambda: page.all("#key[open]"))
    page.one("#api-key").send_keys("a-bad-key", "\ue007")
    page.wait(lambda: page.one("#key-error").text == "This is not the key.")
    page.one("#api-key").send_keys("a-good-key", "\ue007")
    page.wait(lambda: page.one("#server-text").text == "omnigen-test")
    page.ask("a disk")
    page.drawn(1)
    assert page.js("return Object.values(sessionStorage)") == ["a-good-key"]
    assert "a-good-key" not in page.js("return JSON.stringify(Object.values(localStorage))")


def test_a_server_that_is_away(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    page.driver.set_network_conditions(offline=True, latency=0, throughput=-1)
    try:
        page.ask("another")
        page.wait(lambda: page.one("#away").is_displayed())
        assert "The server cannot be reached" in page.one(".error").text
        assert page.one("#server-text").text == "Server away"
        page.press("Gallery")
        assert len(page.all("#gallery .tiles img")) == 1
        page.press("Close", "#gallery")
    finally:
        page.driver.delete_network_conditions()
    page.wait(lambda: not page.one("#away").is_displayed())
    page.press("Try again")
    page.drawn(2)


def test_letters_go_to_the_prompt_when_a_dialog_closes(page) -> None:
    page.one("#prompt").send_keys("a ")
    page.js("document.getElementById('help').showModal()")
    page.click("Close", "#help")
    page.keys("disk")
    assert page.one("#prompt").get_property("value") == "a disk"


def test_keys(page) -> None:
    page.one("#prompt").send_keys("a sunny disk")  # letters are letters in a field
    assert page.one("#lock").get_attribute("aria-pressed") == "false"
    page.one("#prompt").send_keys("\ue009\ue007")  # Ctrl+Enter
    page.drawn(1)
    page.js("document.activeElement.blur()")
    page.keys("s")
    assert page.one("#lock").get_attribute("aria-pressed") == "true"
    page.keys("v")
    assert page.all("#viewer[open]")
    page.keys("\ue00c", "g")
    assert page.all("#gallery[open]")
    page.keys("\ue00c", "?")
    page.js("document.getElementById('single-keys').click()")
    page.keys("\ue00c", "s", "g")
    assert page.one("#lock").get_attribute("aria-pressed") == "true"
    assert not page.all("#gallery[open]")


def test_nothing_is_asked_of_anybody_else(page) -> None:
    page.ask("a disk")
    page.drawn(1)
    asked = page.js("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert len(asked) > 15
    assert all(url.startswith((page.url, "blob:" + page.url)) for url in asked), asked


def sideways(page) -> int:
    """Pixels by which something is wider than the screen, or than what it lies in."""
    return page.js(
        "const all = document.querySelectorAll('html, dialog[open]');"
        "return Math.max(...Array.from(all, (each) => each.scrollWidth - each.clientWidth))"
    )


def states(page):
    """Goes through the page; yields the name of each state."""
    yield "welcome"
    page.one("#open-more").click()
    yield "settings"
    page.one("#open-more").click()
    page.ask("two disks of a rather long and windingdescriptionwithoutaspace and a cat", count=2)
    page.drawn(2)
    yield "turn"
    page.ask("a forbidden thing")
    page.one(".error")
    yield "error"
    page.js("document.querySelector('#thread .open').click()")
    page.press("Who made this?", "#viewer")
    page.one(".origin")
    yield "viewer"
    page.press("Compare", "#viewer")
    yield "compare"
    page.keys("\ue00c")
    page.press("Change a part of it")
    yield "mask"
    page.press("Close", "#mask")
    page.press("Gallery")
    yield "gallery"
    page.press("Close", "#gallery")
    page.press("Help")
    yield "help"
    page.press("Close", "#help")
    drop(page, page_stub.drawn("a disk", 3))
    page.wait(lambda: page.all("#found[open]"))
    yield "found"


@pytest.mark.parametrize("width", [320, 390, 768])
def test_no_screen_scrolls_sideways(width: int, page) -> None:
    page.size(width, 800)
    page.open()
    assert {state: sideways(page) for state in states(page)} == dict.fromkeys(
        ("welcome", "settings", "turn", "error", "viewer", "compare", "mask", "gallery", "help")
        + ("found",),
        0,
    )


def test_a_swipe_shows_the_next_picture(page) -> None:
    page.ask("disks", count=2)
    page.drawn(2)
    page.size(390, 800)
    page.js("document.querySelector('#thread .open').click()")
    touch = lambda kind, *points: page.driver.execute_cdp_cmd(  # noqa: E731
        "Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)}
    )
    touch("touchStart", {"x": 300, "y": 150})
    touch("touchMove", {"x": 120, "y": 150})
    touch("touchEnd")
    page.wait(lambda: page.one("#viewer .facts").text == "2 of 2")


def test_those_who_want_stillness_get_it(page) -> None:
    moving = "return document.getAnimations().length"
    page.ask("a slow disk")
    page.js("document.querySelector('.frame').className = 'frame sent'")
    assert page.wait(lambda: page.js(moving)) >= 1
    page.size(1280, 900, still=True)
    page.wait(lambda: page.js(moving) == 0)
    page.stub.go.set()
    page.drawn(1)


@pytest.mark.skipif(not pathlib.Path(AXE).is_file(), reason="needs axe-core: OMNIGEN_AXE names it")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_accessibility(width: int, dark: bool, page) -> None:
    page.size(width, 900, dark=dark, still=True)
    page.open()
    page.js(pathlib.Path(AXE).read_text(encoding="utf-8"))
    script = (
        "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then((r) =>"
        " done(r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' | ')}`)))"
    )
    found = {state: page.driver.execute_async_script(script) for state in states(page)}
    assert found == dict.fromkeys(found, [])
