import os
from itertools import count

import panel as pn
from figures import wave


def page():
    ticks, figure = count(), pn.pane.HTML(wave(0, 'tick'), width=620)
    def tick(): figure.object = wave(next(ticks), 'tick')
    pn.state.add_periodic_callback(tick, period=10)
    return figure


pn.serve(page, port=int(os.environ['PORT']), show=False, websocket_origin='*')
