import os

import gradio as gr
from figures import wave

with gr.Blocks() as page:
    n = gr.Slider(1, 50, value=3, step=1, label='n')
    figure = gr.HTML(wave(3))
    n.change(wave, n, figure, show_progress='hidden')
page.launch(server_port=int(os.environ['PORT']), quiet=True)
