import os
from itertools import count

import gradio as gr
from figures import wave

ticks = count()
with gr.Blocks() as page:
    figure = gr.HTML(wave(0, 'tick'))
    gr.Timer(.01).tick(lambda: wave(next(ticks), 'tick'), None, figure, show_progress='hidden')
page.launch(server_port=int(os.environ['PORT']), quiet=True)
