"""Plots as SVG text: bars in groups, and lines over a logarithmic axis. Readable on white and on black."""

import html
import math

COLORS = ["#2f6fde", "#e0822c", "#5a9e4b", "#b14fa8", "#8a8f98", "#c8463c", "#3aa3a3"]
WIDTH, HEIGHT = 860, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 44, 64
STYLE = "text{font:12px sans-serif;fill:#222}.title{font-weight:bold;font-size:14px}.axis{stroke:#999}.grid{stroke:#e3e3e3}"


def nice_top(value):
    """The next 1, 2, 2.5 or 5 times a power of ten: where an axis may end."""
    if value <= 0:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999999)


def short(value):
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{sign}"
    return f"{value:g}"


class Plot:
    def __init__(self, title, unit, top):
        self.top = nice_top(top)
        self.body = [f'<text class="title" x="{LEFT}" y="18">{html.escape(title)}</text>']
        self.body.append(f'<text x="{LEFT}" y="36">{html.escape(unit)}</text>')
        for n in range(6):
            value = self.top * n / 5
            y = self.y(value)
            self.body.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.body.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(round(value, 6))}</text>')

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / self.top

    def label(self, x, text):
        self.body.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{html.escape(str(text))}</text>')

    def legend(self, names):
        x = LEFT
        for n, name in enumerate(names):
            self.body.append(f'<rect x="{x}" y="{HEIGHT - 22}" width="11" height="11" fill="{COLORS[n % len(COLORS)]}"/>')
            self.body.append(f'<text x="{x + 15}" y="{HEIGHT - 12}">{html.escape(name)}</text>')
            x += 34 + 7 * len(name)

    def text(self):
        base = self.y(0)
        axis = f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
                f'<style>{STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n' + "\n".join([*self.body, axis]) + "\n</svg>\n")


def bars(title, unit, groups, names, values):
    """`values[name][group]`, None where there is none."""
    known = [value for row in values.values() for value in row.values() if value is not None]
    plot = Plot(title, unit, max(known, default=1))
    room = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    width = room * 0.84 / max(len(names), 1)
    for g, group in enumerate(groups):
        start = LEFT + room * g + room * 0.08
        plot.label(LEFT + room * (g + 0.5), group)
        for n, name in enumerate(names):
            value = values.get(name, {}).get(group)
            if value is None:
                continue
            y = plot.y(value)
            plot.body.append(f'<rect x="{start + width * n:.1f}" y="{y:.1f}" width="{width * 0.92:.1f}" height="{plot.y(0) - y:.1f}" '
                             f'fill="{COLORS[n % len(COLORS)]}"><title>{html.escape(f"{name}, {group}: {short(round(value, 1))}")}</title></rect>')
    plot.legend(names)
    return plot.text()


def lines(title, unit, ticks, series):
    """`series[name]`: one value for each tick, None where there is none. The ticks are evenly apart."""
    known = [value for row in series.values() for value in row if value is not None]
    plot = Plot(title, unit, max(known, default=1))
    step = (WIDTH - LEFT - RIGHT - 60) / max(len(ticks) - 1, 1)
    places = [LEFT + 30 + step * n for n in range(len(ticks))]
    for x, tick in zip(places, ticks):
        plot.label(x, tick)
    for n, (name, row) in enumerate(series.items()):
        color = COLORS[n % len(COLORS)]
        points = [(x, plot.y(value)) for x, value in zip(places, row) if value is not None]
        plot.body.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
        plot.body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>' for x, y in points]
    plot.legend(list(series))
    return plot.text()


def columns(title, values):
    """One bar beside each name, downward, with its figure; 1 is marked."""
    high = 26 * len(values) + TOP + 30
    top = nice_top(max([*values.values(), 1]))
    start, end = 300, WIDTH - 70
    at = lambda value: start + (end - start) * value / top
    body = [f'<text class="title" x="20" y="18">{html.escape(title)}</text>']
    for n, (name, value) in enumerate(values.items()):
        y = TOP + 26 * n
        body.append(f'<text x="{start - 8}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>')
        body.append(f'<rect x="{start}" y="{y}" width="{at(value) - start:.1f}" height="19" fill="{COLORS[0]}"/>')
        body.append(f'<text x="{at(value) + 6:.1f}" y="{y + 14}">{value:.2f}</text>')
    body.append(f'<line stroke="#c8463c" stroke-dasharray="4 3" x1="{at(1):.1f}" x2="{at(1):.1f}" y1="{TOP - 8}" y2="{high - 20}"/>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" width="{WIDTH}" height="{high}">'
            f'<style>{STYLE}</style><rect width="{WIDTH}" height="{high}" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n")
