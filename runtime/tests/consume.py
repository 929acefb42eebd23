"""A consumer to be killed: writes each message that it gets into a file, then acknowledges the message.

Usage: consume.py TRANSPORT URL LEDGER QUEUE
"""

import os
import sys

from kombu import Connection, Queue

transport, url, ledger, queue = sys.argv[1:]
lines = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
options = {"visibility_timeout": 2, "unacked_restore_throttle": 1}

with Connection(url, transport=transport, transport_options=options) as connection:

    def finish(body, message):
        os.write(lines, f"{body}\n".encode())
        message.ack()

    channel = connection.default_channel
    channel.basic_qos(0, 4, False)
    with connection.Consumer([Queue(queue)], callbacks=[finish], channel=channel):
        print("ready", flush=True)
        while True:
            connection.drain_events()
