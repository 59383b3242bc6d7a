"The chat as nbws has it: `nbws run ours.py`."
from nbws.common import *

app, rt = fast_app(exts='ws')
people = app.room('people')

@app.ws('/ws', conn=people.join)
async def say(msg: str): people.send(msg)
