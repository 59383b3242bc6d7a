from figures import wave
from nbws.common import *

app, rt = fast_app()


@app.part
def figure(n: int = 3): return NotStr(wave(n, 'before'))


@rt('/')
def index(): return Titled('A change', figure(n=Slider(1, 50)), Input(id='note'))


serve()
