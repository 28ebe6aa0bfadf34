"""Line charts as SVG, one line a competitor, x by powers of two. Only the standard library."""
import math

COLOURS = ("#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#64473a")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 60, 190, 40, 40


def ticks(largest, smallest, log):
    if log:
        return [10.0 ** e for e in range(math.floor(math.log10(smallest)), math.ceil(math.log10(largest)) + 1)]
    step = 10 ** math.floor(math.log10(largest))
    step = next(step * f for f in (0.1, 0.2, 0.5, 1, 2) if largest / (step * f) <= 6)
    return [step * i for i in range(math.ceil(largest / step) + 1)]


def write(path, title, x_name, y_name, lines, log=False):
    """lines: [(label, [(x, y), ...])]; log: the y axis too is logarithmic."""
    xs = sorted({x for _, points in lines for x, _ in points})
    ys = [y for _, points in lines for _, y in points]
    marks = ticks(max(ys), min(ys), log)
    scale = (lambda y: math.log10(y)) if log else (lambda y: y)
    low, high = scale(marks[0]), scale(marks[-1])

    def at_x(x):
        span = math.log2(xs[-1] / xs[0]) or 1
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log2(x / xs[0]) / span

    def at_y(y):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (scale(y) - low) / (high - low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/><text x="{LEFT}" y="22" font-size="15">{title}</text>']
    for y in marks:
        out.append(f'<path d="M{LEFT} {at_y(y):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{at_y(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in xs:
        out.append(f'<text x="{at_x(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x}</text>')
    out.append(f'<text x="{LEFT}" y="{TOP - 6}" text-anchor="end">{y_name}</text>'
               f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{x_name}</text>')
    for i, (label, points) in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        path_data = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in points)
        out.append(f'<path d="M{path_data}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        y = TOP + 12 + 20 * i
        out.append(f'<path d="M{WIDTH - RIGHT + 12} {y}h18" stroke="{colour}" stroke-width="2"/>'
                   f'<text x="{WIDTH - RIGHT + 36}" y="{y + 4}">{label}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(out) + "\n</svg>\n")
