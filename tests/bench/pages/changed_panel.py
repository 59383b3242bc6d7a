import panel as pn
from figures import wave


def figure(n): return wave(n, 'before')


n = pn.widgets.IntSlider(name='n', start=1, end=50, value=3)
pn.Column(n, pn.pane.HTML(pn.bind(figure, n), width=620), pn.widgets.TextInput(name='note')).servable()
