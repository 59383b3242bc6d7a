import os

import panel as pn


def answer(message, user, instance): return f'you said {message}'


pn.serve(lambda: pn.chat.ChatInterface(callback=answer), port=int(os.environ['PORT']), show=False, websocket_origin='*')
