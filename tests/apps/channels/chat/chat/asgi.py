import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'chat.settings')
django_app = get_asgi_application()

from chat.consumers import ChatConsumer  # noqa: E402  # needs Django to be set up

application = ProtocolTypeRouter(
    {
        'http': django_app,
        'websocket': AllowedHostsOriginValidator(URLRouter([path('ws/chat', ChatConsumer.as_asgi())])),
    }
)
