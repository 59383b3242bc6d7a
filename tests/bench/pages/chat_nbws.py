from nbws.common import *

app, rt = fast_app(exts='ws')


@rt('/')
def index():
    form = Form(Input(name='msg', id='msg'), ws_send=True, hx_on__ws_after_send='this.reset()')
    return Titled('A chat', Ul(id='talk'), form, hx_ext='ws', ws_connect='/ws')


@app.ws('/ws')
async def ws(msg: str): return Ul(Li(msg), Li(f'you said {msg}'), id='talk', hx_swap_oob='beforeend')


serve()
