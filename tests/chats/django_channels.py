"The chat as Django Channels has it, with channels_redis: `python django_channels.py PORT REDIS_URL`."
import sys

import uvicorn
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

port, redis = sys.argv[1:]
layer = {'BACKEND': 'channels_redis.pubsub.RedisPubSubChannelLayer', 'CONFIG': {'hosts': [redis]}}
settings.configure(CHANNEL_LAYERS={'default': layer})

class Chat(AsyncJsonWebsocketConsumer):
    groups = ['people']

    async def receive_json(self, content):
        await self.channel_layer.group_send('people', {'type': 'said', 'text': content['msg']})
        if content.get('asks'): await self.send('taken')

    async def said(self, event): await self.send(event['text'])

app = ProtocolTypeRouter({'websocket': URLRouter([path('ws', Chat.as_asgi())])})
uvicorn.run(app, port=int(port), log_level='error')
