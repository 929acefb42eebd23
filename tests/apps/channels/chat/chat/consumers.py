from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from chat.tasks import shout


class ChatConsumer(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        text = await sync_to_async(self.shouted)(content['text'])
        await self.send_json({'text': text})

    def shouted(self, text):
        return shout.delay(text).get(timeout=10)
