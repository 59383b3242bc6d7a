"""The figure that all of them show."""
from math import sin


def wave(n, name='n'):
    points = ' '.join(f'{x},{60 - 50 * sin(x * n / 60):.1f}' for x in range(400))
    return (f'<svg viewBox="0 0 400 120" width="600"><text x="5" y="15">{name} = {n}</text>'
            f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="2"/></svg>')


def plot(n):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(6, 2.5))
    axes = figure.subplots()
    axes.plot([sin(x * n / 60) for x in range(400)])
    axes.set_title(f'n = {n}')
    return figure
