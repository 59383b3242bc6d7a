from figures import plot
from nbws.common import *

app, rt = fast_app()


@app.part
def figure(n: int = 3): return plot(n)


@rt('/')
def index(): return Titled('A plot', figure(n=Slider(1, 50)))


serve()
