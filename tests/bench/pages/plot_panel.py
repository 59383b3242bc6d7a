import os

import panel as pn
from figures import plot


def page():
    n = pn.widgets.IntSlider(name='n', start=1, end=50, value=3)
    return pn.Column(n, pn.pane.Matplotlib(pn.bind(plot, n), format='svg'))


pn.serve(page, port=int(os.environ['PORT']), show=False, websocket_origin='*')
