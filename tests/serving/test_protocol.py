"""uvicorn's protocol with time limits, in the place of whose parent a fake one stands: no sockets, no clock."""

import pytest

from tfvae.serving import server
from tfvae.serving.server import VersionWatcher, make_protocol


class Timer:
    def __init__(self, seconds, callback):
        self.seconds, self.callback, self.cancelled = seconds, callback, False

    def cancel(self):
        self.cancelled = True


class Loop:
    def __init__(self):
        self.timers = []

    def call_later(self, seconds, callback):
        self.timers.append(Timer(seconds, callback))
        return self.timers[-1]

    def running(self):
        return [timer for timer in self.timers if not timer.cancelled]


class Transport:
    aborted = False

    def abort(self):
        self.aborted = True


class Cycle:
    """A request that is being answered."""

    response_complete = False
    more_body = False


class Parent:
    """What is used of uvicorn's."""

    def __init__(self):
        self.loop, self.cycle, self.calls = Loop(), None, []

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data):
        self.calls.append(data[:9])

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append("lost")


@pytest.fixture
def protocol():
    protocol = make_protocol(Parent, 7.0)()
    protocol.connection_made(Transport())
    return protocol


def test_a_client_has_the_timeout_for_its_head(protocol):
    [timer] = protocol.loop.running()
    assert timer.seconds == 7.0
    protocol.data_received(b"POST /v1/")  # half a head: the same timer goes on
    assert protocol.loop.running() == [timer] and not protocol.transport.aborted
    timer.callback()
    assert protocol.transport.aborted


def test_a_whole_head_ends_the_timer_and_the_next_request_has_its_own(protocol):
    protocol.cycle = Cycle()
    protocol.data_received(b"GET / ...")
    assert protocol.loop.running() == []
    protocol.cycle.response_complete = True
    protocol.data_received(b"POST /v1/")
    [timer] = protocol.loop.running()
    assert timer.seconds == 7.0


def test_a_head_without_an_end_is_cut_off(protocol):
    for _ in range(2**18 // 1024):
        protocol.data_received(b"a" * 1024)
    assert not protocol.transport.aborted
    protocol.data_received(b"a")
    assert protocol.transport.aborted


def test_of_a_refused_body_more_is_taken_so_that_the_client_reads_the_refusal(protocol):
    protocol.cycle = Cycle()
    protocol.cycle.response_complete = protocol.cycle.more_body = True
    for _ in range(64):
        protocol.data_received(b"a" * 2**20)
    assert not protocol.transport.aborted
    protocol.data_received(b"a")
    assert protocol.transport.aborted


def test_a_client_has_the_timeout_to_take_the_answer(protocol):
    protocol.cycle = Cycle()
    protocol.data_received(b"GET / ...")
    protocol.pause_writing()
    [timer] = protocol.loop.running()
    assert timer.seconds == 7.0
    protocol.resume_writing()
    assert protocol.loop.running() == []
    protocol.pause_writing()
    [timer] = protocol.loop.running()
    timer.callback()
    assert protocol.transport.aborted


def test_no_timer_outlives_the_connection(protocol):
    protocol.pause_writing()
    assert len(protocol.loop.running()) == 2
    protocol.connection_lost(None)
    assert protocol.loop.running() == []


def test_uvicorn_s_own_methods_are_called(protocol):
    protocol.data_received(b"some data")
    protocol.pause_writing()
    protocol.resume_writing()
    protocol.connection_lost(None)
    assert protocol.calls == ["made", b"some data", "pause", "resume", "lost"]


def test_what_is_overridden_is_there_in_uvicorn_s():
    used = ("connection_made", "data_received", "pause_writing", "resume_writing", "connection_lost")
    assert all(hasattr(server.AutoHTTPProtocol, name) for name in used)
    own = set(vars(make_protocol(server.AutoHTTPProtocol, 1.0))) - set(used)
    clashes = {name for name in own if not name.startswith("__") and hasattr(server.AutoHTTPProtocol, name)}
    assert not clashes


class Polled:
    """A model whose third poll stops the watcher."""

    def __init__(self):
        self.polls = 0

    def poll(self):
        self.polls += 1
        if self.polls == 3:
            self.watcher.stop()


def test_the_watcher_polls_each_model_until_it_is_stopped():
    first, second = Polled(), Polled()
    watcher = first.watcher = second.watcher = VersionWatcher([first, second], seconds=0.001)
    watcher.watch()
    assert (first.polls, second.polls) == (3, 3)
    watcher.watch()
    assert first.polls == 3
