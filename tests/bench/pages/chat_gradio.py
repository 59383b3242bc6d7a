import os

import gradio as gr


def answer(message, history): return f'you said {message}'


gr.ChatInterface(answer).launch(server_port=int(os.environ['PORT']), quiet=True)
