import os

import gradio as gr
from figures import plot

with gr.Blocks() as page:
    n = gr.Slider(1, 50, value=3, step=1, label='n')
    figure = gr.Plot(plot(3))
    n.change(plot, n, figure, show_progress='hidden')
page.launch(server_port=int(os.environ['PORT']), quiet=True)
