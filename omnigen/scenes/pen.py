# SPDX-License-Identifier: Apache-2.0
"""A small drawing interface over a skia surface: lengths are fractions of the canvas side."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from omnigen import extras
from omnigen.scenes.palette import RGB

skia = extras.load("skia", "scenes", "drawing scenes")
Point = tuple[float, float]


@functools.cache
def color(rgb: RGB, alpha: int = 255) -> int:
    """Returns the colour as skia's 32-bit integer."""
    return skia.ColorSetARGB(alpha, *rgb)


@functools.cache
def shader(start: Point, end: Point, colors: tuple[RGB, ...]) -> Any:
    """Returns an evenly spaced linear gradient."""
    ends = [skia.Point(*start), skia.Point(*end)]
    return skia.GradientShader.MakeLinear(ends, [color(rgb) for rgb in colors])


def _traced(points: Sequence[Point]) -> Any:
    builder = skia.PathBuilder()
    builder.moveTo(*points[0])
    line_to = builder.lineTo
    for x, y in points:
        line_to(x, y)
    return builder


class Pen:
    """Draws anti-aliased figures on a square canvas whose side is 1; belongs to one thread."""

    def __init__(self, size: int) -> None:
        """Makes a canvas of `size` pixels a side."""
        self.size = size
        self._pixels = np.full((size, size, 4), 255, np.uint8)
        self._surface = skia.Surface(self._pixels, colorType=skia.kRGBA_8888_ColorType)
        self._canvas = self._surface.getCanvas()
        self._canvas.scale(size, size)
        self._paint = skia.Paint(AntiAlias=True)

    def picture(self) -> np.ndarray:
        """Returns a copy of the pixels, uint8 `[size, size, 3]`."""
        rgb = np.empty((self.size, self.size, 3), np.uint8)
        for channel in range(3):
            rgb[..., channel] = self._pixels[..., channel]
        return rgb

    def _inked(self, ink: RGB, alpha: int = 255) -> Any:
        self._paint.setColor(color(ink, alpha))
        return self._paint

    def clear(self, ink: RGB) -> None:
        """Paints the whole canvas."""
        self._canvas.clear(color(ink))

    def clear_down(self, inks: Sequence[RGB], end: float) -> None:
        """Paints the whole canvas with an even gradient from the top down to `end`."""
        rows = (np.arange(self.size) + 0.5) / (self.size * end)
        stops = np.linspace(0, 1, len(inks))
        for channel, values in enumerate(zip(*inks, strict=True)):
            self._pixels[..., channel] = np.rint(np.interp(rows, stops, values))[:, None]

    def gradient(
        self,
        start: Point,
        end: Point,
        inks: Sequence[RGB],
        *,
        box: tuple[float, ...] | None = None,
    ) -> None:
        """Paints a linear gradient over a box (left, top, right, bottom) or everything."""
        paint = skia.Paint(Shader=shader(start, end, tuple(inks)))
        if box is None:
            self._canvas.drawPaint(paint)
        else:
            self._canvas.drawRect(skia.Rect(*box), paint)

    def rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        ink: RGB,
        *,
        round: float = 0.0,
        alpha: int = 255,
    ) -> None:
        """Draws a rectangle from its top left corner, with corners rounded by a radius."""
        box = skia.Rect(x, y, x + width, y + height)
        if round:
            self._canvas.drawRoundRect(box, round, round, self._inked(ink, alpha))
        else:
            self._canvas.drawRect(box, self._inked(ink, alpha))

    def circle(self, x: float, y: float, radius: float, ink: RGB, *, alpha: int = 255) -> None:
        """Draws a disk."""
        self._canvas.drawCircle(x, y, radius, self._inked(ink, alpha))

    def ellipse(
        self, x: float, y: float, width: float, height: float, ink: RGB, *, alpha: int = 255
    ) -> None:
        """Draws an ellipse about its centre."""
        box = skia.Rect(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        self._canvas.drawOval(box, self._inked(ink, alpha))

    def polygon(self, corners: Sequence[Point], ink: RGB) -> None:
        """Fills a polygon."""
        builder = _traced(corners)
        builder.close()
        self._canvas.drawPath(builder.detach(), self._inked(ink))

    def polygon_gradient(
        self, corners: Sequence[Point], start: Point, end: Point, inks: Sequence[RGB]
    ) -> None:
        """Fills a polygon with a linear gradient."""
        builder = _traced(corners)
        builder.close()
        paint = skia.Paint(AntiAlias=True, Shader=shader(start, end, tuple(inks)))
        self._canvas.drawPath(builder.detach(), paint)

    def stroke(self, points: Sequence[Point], width: float, ink: RGB) -> None:
        """Draws a line through the points."""
        builder = _traced(points)
        paint = self._inked(ink)
        paint.setStyle(skia.Paint.kStroke_Style)
        paint.setStrokeWidth(width)
        self._canvas.drawPath(builder.detach(), paint)
        paint.setStyle(skia.Paint.kFill_Style)

    def dots(self, centres: Sequence[Point], width: float, ink: RGB, *, alpha: int = 255) -> None:
        """Draws equal disks of a diameter."""
        paint = self._inked(ink, alpha)
        paint.setStrokeWidth(width)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
        mode = skia.Canvas.PointMode.kPoints_PointMode
        self._canvas.drawPoints(mode, [skia.Point(*centre) for centre in centres], paint)
        paint.setStrokeCap(skia.Paint.kButt_Cap)

    def path(self, path: Any, ink: RGB, *, x: float, y: float, scale: float) -> None:
        """Fills a skia path about a place."""
        self._canvas.save()
        self._canvas.translate(x, y)
        self._canvas.scale(scale, scale)
        self._canvas.drawPath(path, self._inked(ink))
        self._canvas.restore()

    def image(self, rgba: np.ndarray, *, x: float, y: float) -> None:
        """Draws a picture, uint8 `[H, W, 4]`, pixel by pixel, about a place."""
        height, width, _ = rgba.shape
        image = skia.Image.fromarray(rgba, colorType=skia.kRGBA_8888_ColorType)
        self._canvas.save()
        self._canvas.resetMatrix()
        left, top = round(x * self.size - width / 2), round(y * self.size - height / 2)
        self._canvas.drawImage(image, left, top)
        self._canvas.restore()

    def text(self, string: str, font: Any, ink: RGB, *, x: float, y: float) -> None:
        """Writes a line whose baseline starts at a place; the font's size is in pixels."""
        self._canvas.save()
        self._canvas.resetMatrix()
        self._canvas.drawString(string, x * self.size, y * self.size, font, self._inked(ink))
        self._canvas.restore()
