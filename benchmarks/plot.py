"""Bars as SVG: no font of its own, and it reads on white and on black."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from msgspec import Struct

ROW, LEFT, WIDTH, RIGHT = 22, 470, 340, 230
GOOD, SHORT, OURS, OTHERS, TEXT = "#2f9e6e", "#c7722b", "#3569d4", "#8a93a3", "#7a7f87"


class Bar(Struct, frozen=True):
    """One line of a picture."""

    label: str
    length: float  #: from 0 to 1
    value: str
    colour: str


def bars(title: str, lines: Sequence[Bar], *, mark_at: float | None = None) -> str:
    """`mark_at`: where a dashed line stands, from 0 to 1."""
    height = ROW * (len(lines) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}"'
        f' font-family="system-ui, sans-serif" font-size="12" fill="{TEXT}">',
        f'<text x="{LEFT}" y="14" font-weight="600">{escape(title)}</text>',
    ]
    if mark_at is not None:
        x = LEFT + WIDTH * mark_at
        parts.append(f'<path d="M{x:.1f} 20V{height - ROW + 6}" stroke="{TEXT}" stroke-dasharray="3 3"/>')
    for number, line in enumerate(lines, 1):
        y, length = ROW * number + 4, WIDTH * max(0.0, min(1.0, line.length))
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(line.label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{max(length, 1.0):.1f}" height="{ROW - 7}" rx="2" fill="{line.colour}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 12}">{escape(line.value)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
