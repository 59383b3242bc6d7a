import gradio as gr
from figures import wave


def figure(n): return wave(n, 'before')


with gr.Blocks() as demo:
    n = gr.Slider(1, 50, value=3, step=1, label='n')
    shown = gr.HTML(figure(3))
    gr.Textbox(label='note')
    n.change(figure, n, shown, show_progress='hidden')
demo.launch()
