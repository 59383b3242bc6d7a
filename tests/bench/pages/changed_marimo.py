import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    from figures import wave
    n = mo.ui.slider(1, 50, value=3, label='n')
    note = mo.ui.text(label='note')
    mo.hstack([n, note])
    return mo, n, wave


@app.cell
def _(mo, n, wave):
    mo.Html(wave(n.value, 'before'))
