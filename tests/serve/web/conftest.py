# SPDX-License-Identifier: Apache-2.0
"""A headless browser for all tests of the page, and a server of its own for each of them.

It needs Chromium with its driver, and selenium; where they are missing the tests are skipped.
"""

import base64
import io
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

T = TypeVar("T")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--window-size=1280,900",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


class Page:
    """The page in the browser, and the server behind it.

    Attributes:
        driver: Selenium's driver.
        stub: The server, or what runs it.
        url: Where the page is.
    """

    def __init__(self, driver: Any, stub: Any, url: str) -> None:
        self.driver, self.stub, self.url = driver, stub, url

    def open(self) -> None:
        """Loads the page, and hears what it says to screen readers from then on."""
        self.driver.get(self.url)
        self.wait(lambda: self.js("return 'ready' in document.documentElement.dataset"))
        self.js(
            "window.spoken = []; for (const id of ['announcer', 'alarm'])"
            " new MutationObserver((all) => all.forEach((m) => spoken.push(m.target.textContent)))"
            ".observe(document.getElementById(id), { childList: true })"
        )

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, ask: Callable[[], T], seconds: float = 20) -> T:
        """Returns the first true answer."""
        from selenium.common.exceptions import WebDriverException

        until, problem = time.monotonic() + seconds, None
        while time.monotonic() < until:
            try:
                if found := ask():
                    return found
            except WebDriverException as error:
                problem = error
            time.sleep(0.03)
        raise AssertionError(f"not in {seconds} s: {problem or 'the answer stays false'}")

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.wait(lambda: self.all(selector))[0]

    def button(self, text: str, within: str = "body") -> Any:
        """The visible button of that name: its label, or what stands on it."""
        script = (
            "return [...document.querySelectorAll(arguments[1] + ' button')].find((each) =>"
            " each.checkVisibility() && arguments[0] ==="
            " (each.getAttribute('aria-label') ?? each.textContent).trim())"
        )
        return self.wait(lambda: self.js(script, text, within))

    def press(self, text: str, within: str = "body") -> None:
        """Clicks a button wherever it is; that it can be reached is asked by other tests."""
        self.js("arguments[0].click()", self.button(text, within))

    def click(self, text: str, within: str) -> None:
        """Clicks a button with the mouse."""
        self.button(text, within).click()

    def ask(self, prompt: str, count: int | None = None) -> None:
        """Types a prompt and draws it."""
        if count:
            self.js(f"document.getElementById('count-{count}').click()")
        field = self.one("#prompt")
        field.clear()
        field.send_keys(prompt)
        self.one("#draw").click()

    def drawn(self, count: int) -> list[Any]:
        """Waits until so many pictures are in the conversation; returns their images."""
        self.wait(lambda: len(self.all(".frame.done img")) == count)
        return self.all(".frame.done img")

    def keys(self, *keys: str) -> None:
        """Types at what has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def pixels(self, image: Any) -> np.ndarray:
        """What an image shows, uint8 `[H, W, 3]`."""
        script = (
            "const [image, done] = arguments; image.decode().then(() => {"
            " const canvas = document.createElement('canvas');"
            " canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;"
            " const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);"
            " done(canvas.toDataURL().split(',')[1]); })"
        )
        data = base64.b64decode(self.driver.execute_async_script(script, image))
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def shows(self, image: Any, seed: int, scale: float = 1.0) -> bool:
        """Whether an image is the disk of a seed."""
        import page_stub

        return bool((self.pixels(image) == np.asarray(page_stub.disk(seed, scale=scale))).all())

    def spoken(self) -> list[str]:
        return self.js("return spoken")

    def size(self, width: int, height: int, *, dark: bool = False, still: bool = False) -> None:
        """Shows the page on a screen of that size, as those who want it dark or still see it."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        wishes = {"prefers-color-scheme": "dark" if dark else "light"}
        wishes["prefers-reduced-motion"] = "reduce" if still else "no-preference"
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def log(self) -> list[str]:
        """What the browser complains of, but for answers that are errors, as tests want some."""
        lines = [entry["message"] for entry in self.driver.get_log("browser")]
        return [line for line in lines if "Failed to load resource" not in line]


@pytest.fixture
def make_page() -> type[Page]:
    return Page


@pytest.fixture
def page(browser: Any, tmp_path: pathlib.Path) -> Iterator[Page]:
    """A page of an origin of its own, so that nothing is kept there yet."""
    import page_stub

    with page_stub.running(tmp_path) as (stub, url):
        opened = Page(browser, stub, url)
        opened.size(1280, 900)
        opened.log()
        opened.open()
        yield opened
        complaints = opened.log()
        browser.get("about:blank")
    assert not complaints
