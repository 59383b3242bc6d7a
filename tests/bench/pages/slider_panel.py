import os

import panel as pn
from figures import wave


def page():
    n = pn.widgets.IntSlider(name='n', start=1, end=50, value=3)
    return pn.Column(n, pn.pane.HTML(pn.bind(wave, n), width=620))


pn.serve(page, port=int(os.environ['PORT']), show=False, websocket_origin='*')
