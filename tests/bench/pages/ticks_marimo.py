import marimo

app = marimo.App()


@app.cell
def _():
    from itertools import count

    import marimo as mo
    from figures import wave
    ticks, refresh = count(), mo.ui.refresh(default_interval=.01)
    refresh
    return mo, refresh, ticks, wave


@app.cell
def _(mo, refresh, ticks, wave):
    refresh
    mo.Html(wave(next(ticks), 'tick'))
