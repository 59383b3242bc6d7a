from itertools import count

from figures import wave
from nbws.common import *

app, rt = fast_app()
ticks = count()


@app.part
def figure(): return NotStr(wave(next(ticks), 'tick'))


@rt('/')
def index(): return Titled('Ticks', figure())


@app.every(.01)
async def tick(): figure.refresh()


serve()
