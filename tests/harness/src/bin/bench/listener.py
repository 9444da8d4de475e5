"""An AMI listener as companies write them: it tells the CRM of inbound calls, by HTTP, as Asterisk's manager interface reports them.

The benchmark compares the module with it, and runs it with nothing but Python's own library. One thread reads the events, a
few threads make the requests on connections that are kept; each call belongs to one of them, so that its requests stay in
order. What the CRM does not take at the second try is lost, as is whatever happens while this does not run.
"""

import http.client
import os
import queue
import socket
import sys
import threading
import time
import urllib.parse

WORKERS = 4
TIMEOUT = 10
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Sender(threading.Thread):
    """Makes requests, one after another, on one connection."""

    def __init__(self, url, token):
        super().__init__(daemon=True)
        self.url = urllib.parse.urlsplit(url)
        self.token = token
        self.waiting = queue.SimpleQueue()
        self.connection = None

    def run(self):
        while True:
            fields = self.waiting.get()
            fields.append(("planfix_token", self.token))
            body = urllib.parse.urlencode(fields)
            # A connection that was kept may be closed by now, which shows only when it is used.
            for _ in range(2):
                try:
                    self.post(body)
                    break
                except (OSError, http.client.HTTPException) as error:
                    self.connection = None
                    print(f"the CRM cannot be reached: {error}", file=sys.stderr, flush=True)

    def post(self, body):
        if self.connection is None:
            secure = self.url.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            self.connection = kind(self.url.netloc, timeout=TIMEOUT)
        self.connection.request("POST", self.url.path, body, FORM)
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 200:
            print(f"the CRM answers {answer.status} to {body}", file=sys.stderr, flush=True)


class Call:
    """A client's call: who is called for it, and since when he talks."""

    def __init__(self, phone, diversion):
        self.phone = phone
        self.diversion = diversion
        self.ringing = set()
        self.talker = None
        self.since = 0.0


class Listener:
    """Follows the calls that come from the trunks."""

    def __init__(self, trunk, senders):
        self.trunk = f"PJSIP/{trunk}-"
        self.senders = senders
        self.calls = {}

    def tell(self, linkedid, call, event, ext, **more):
        fields = [("cmd", "event"), ("type", "in"), ("event", event), ("phone", call.phone)]
        fields += [("diversion", call.diversion), ("ext", ext), ("callid", linkedid), *more.items()]
        self.senders[hash(linkedid) % len(self.senders)].waiting.put(fields)

    def close(self, linkedid, call, ext, status, duration=0):
        self.tell(linkedid, call, "COMPLETED", ext, duration=duration, is_recorded=0, status=status)

    def newchannel(self, event):
        if event["Channel"].startswith(self.trunk) and event["Uniqueid"] == event["Linkedid"]:
            self.calls[event["Linkedid"]] = Call(event["CallerIDNum"], event["Exten"])

    def newstate(self, event):
        """A phone rings."""
        call = self.calls.get(event["Linkedid"])
        if call and event["ChannelStateDesc"] == "Ringing":
            ext = extension(event["Channel"])
            if ext not in call.ringing and call.talker is None:
                call.ringing.add(ext)
                self.tell(event["Linkedid"], call, "INCOMING", ext)

    def bridgeenter(self, event):
        """An employee is joined with the client."""
        call = self.calls.get(event["Linkedid"])
        ext = extension(event["Channel"])
        if call and call.talker is None and ext in call.ringing:
            call.talker = ext
            call.since = time.monotonic()
            self.tell(event["Linkedid"], call, "ACCEPTED", ext)
            for other in call.ringing - {ext}:
                self.close(event["Linkedid"], call, other, "Cancelled")
            call.ringing = {ext}

    def hangup(self, event):
        """The client is gone."""
        if event["Uniqueid"] != event["Linkedid"]:
            return
        call = self.calls.pop(event["Linkedid"], None)
        if call is None:
            return
        if call.talker is not None:
            duration = round(time.monotonic() - call.since)
            self.close(event["Linkedid"], call, call.talker, "Success", duration)
            return
        # One lost client is one missed call.
        for number, ext in enumerate(sorted(call.ringing)):
            self.close(event["Linkedid"], call, ext, "Cancelled" if number else "Missed")

    def listen(self, stream):
        followed = {
            "Newchannel": self.newchannel,
            "Newstate": self.newstate,
            "BridgeEnter": self.bridgeenter,
            "Hangup": self.hangup,
        }
        event = {}
        for line in stream:
            line = line.rstrip("\r\n")
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
                continue
            follow = followed.get(event.get("Event"))
            if follow:
                follow(event)
            elif event.get("Response") == "Error":
                sys.exit(f"Asterisk refuses: {event.get('Message')}")
            elif event.get("Response") == "Success":
                print("listening", flush=True)
            event = {}


def extension(channel):
    """101 of PJSIP/101-00000002."""
    return channel.partition("/")[2].rpartition("-")[0]


def main():
    setting = os.environ.__getitem__
    senders = [Sender(setting("CRM_URL"), setting("CRM_TOKEN")) for _ in range(WORKERS)]
    for sender in senders:
        sender.start()
    with socket.create_connection((setting("AMI_HOST"), int(setting("AMI_PORT")))) as manager:
        stream = manager.makefile("r", encoding="utf-8", errors="replace", newline="\n")
        # Only events of calls, of which there are few enough.
        login = ["Action: Login", f"Username: {setting('AMI_USER')}", f"Secret: {setting('AMI_SECRET')}", "Events: call", "", ""]
        manager.sendall("\r\n".join(login).encode())
        Listener(setting("TRUNK"), senders).listen(stream)
    sys.exit("Asterisk has ended the session")


if __name__ == "__main__":
    main()
