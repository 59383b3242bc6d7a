import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    mo.ui.chat(lambda messages, config: f'you said {messages[-1].content}')
