"""A headless Chromium for tests."""

import contextlib
import fcntl
import json
import os
import subprocess
import time

import numpy as np


class Browser:
    """A headless Chromium that resolves no name, spoken to by the DevTools protocol over two pipes."""

    def __init__(self, program, folder):
        ends = [*os.pipe(), *os.pipe()]
        read, write = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (ends[0], ends[3]))

        def at_three_and_four():  # where Chromium looks for them
            os.dup2(read, 3)
            os.dup2(write, 4)

        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--proxy-server=127.0.0.1:9",
        ]
        flags += [
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--disable-background-networking",
            f"--user-data-dir={folder}",
        ]
        self.process = subprocess.Popen(
            [program, *flags], preexec_fn=at_three_and_four, pass_fds=(3, 4), stderr=subprocess.DEVNULL
        )
        for fd in (read, write, ends[0], ends[3]):
            os.close(fd)
        self.replies, self.requests = os.fdopen(ends[2], "rb"), os.fdopen(ends[1], "wb")
        self.count, self.events, self.session = 0, [], {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.count += 1
        self.requests.write(
            json.dumps({"id": self.count, "method": method, "params": params, **self.session}).encode() + b"\0"
        )
        self.requests.flush()
        while True:
            message = bytearray()
            while (byte := self.replies.read(1)) != b"\0":
                assert byte, "Chromium has ended"
                message += byte
            reply = json.loads(message)
            if reply.get("id") == self.count:
                assert "error" not in reply, reply
                return reply["result"]
            self.events.append(reply)

    def run(self, expression):
        """Its value, awaited."""
        reply = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def wait(self, expression):
        end = time.monotonic() + 30
        while not self.run(expression):
            assert time.monotonic() < end, f"{expression}: {self.complaints()}"
            time.sleep(0.02)

    def open(self, path, width=1200, height=800, theme="light"):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        self.wait("Boolean(window.tfvae && tfvae.drawn('manifold'))")

    def complaints(self):
        names = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.events if event["method"] in names]

    def pixels(self, canvas):
        """[H, W, 3] of a canvas, given as a JavaScript expression."""
        copied = f"""(canvas => {{  // to one that is meant to be read: else Chromium warns
            const copy = document.createElement("canvas");
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const pen = copy.getContext("2d", {{willReadFrequently: true}});
            pen.drawImage(canvas, 0, 0);
            return [copy.width, copy.height, Array.from(pen.getImageData(0, 0, copy.width, copy.height).data)];
        }})({canvas})"""
        width, height, data = self.run(copied)
        return np.reshape(data, (height, width, 4))[..., :3]

    def mouse(self, kind, u, v):
        """On the map, at these shares of its width and height."""
        x, y = self.at(u, v)
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="none" if kind == "mouseMoved" else "left",
            clickCount=1,
        )

    def at(self, u, v):
        self.run("document.getElementById('map').scrollIntoView({block: 'center'})")
        box = self.run(
            "(({x, y, width, height}) => [x, y, width, height])(document.getElementById('map').getBoundingClientRect())"
        )
        return box[0] + u * box[2], box[1] + v * box[3]

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def choose(self, control, value):
        """In a list or with a slider."""
        control = f"document.querySelector({json.dumps(control)})"
        events = "for (const name of ['input', 'change']) c.dispatchEvent(new Event(name))"
        self.run(f"(c => {{ c.value = {json.dumps(value)}; {events}; }})({control})")

    def settle(self):
        """Until what has changed is drawn."""
        self.run(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
        )

    def close(self):
        self.process.kill()
        self.process.wait()
        for file in (self.replies, self.requests):
            with contextlib.suppress(OSError):
                file.close()
