import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    from figures import plot
    n = mo.ui.slider(1, 50, value=3, label='n')
    n
    return mo, n, plot


@app.cell
def _(mo, n, plot):
    plot(n.value)
