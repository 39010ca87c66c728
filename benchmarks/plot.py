"""The figures that have a target, as a picture: each bar is measured / target, so that 1 is where it should be."""

from xml.sax.saxutils import escape

from benchmarks.results import Figure, show

ROW, LEFT, WIDTH, RIGHT = 22, 470, 360, 190
TIMES_MAX = 3.0


def plot(figures: list[Figure]) -> str:
    """An SVG that needs no font of its own and reads on white and on black."""
    by_name = {figure.name: figure for figure in figures}
    shown = [
        (figure, times)
        for figure in figures
        if figure.rounds and (times := _times(figure, by_name.get(figure.floor or ""))) is not None
    ]
    height = ROW * (len(shown) + 2)
    unit = WIDTH / TIMES_MAX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}"'
        ' font-family="system-ui, sans-serif" font-size="12" fill="#7a7f87">',
        f'<text x="{LEFT + unit}" y="14" text-anchor="middle">target</text>',
        f'<path d="M{LEFT + unit} 20V{height - ROW}" stroke="#7a7f87" stroke-dasharray="3 3"/>',
    ]
    for number, (figure, times) in enumerate(shown, 1):
        y = ROW * number + 4
        colour = "#2f9e6e" if times >= 1 else "#c7722b"
        length = unit * min(times, TIMES_MAX)
        value = f"{show(figure.median)} {figure.unit}"
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(figure.name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 7}" rx="2" fill="{colour}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 12}">{escape(value)} ({times:.2g}×)</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _times(figure: Figure, floor: Figure | None) -> float | None:
    """How many times better than its target: of several bounds the worst, or the best where either is enough."""
    found = []
    if figure.at_least is not None:
        found.append(figure.median / figure.at_least)
    if figure.share_at_least is not None and floor is not None and floor.rounds:
        found.append(figure.median / (figure.share_at_least * floor.median))
    if figure.at_most is not None:
        found.append(figure.at_most / max(figure.median, 1e-9))
    if figure.cpu_at_most is not None and figure.cpu_us is not None:
        found.append(figure.cpu_at_most / figure.cpu_us)
    return (max(found) if figure.either else min(found)) if found else None
