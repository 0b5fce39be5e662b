"""The outbox: publishers go on while the queue fails or says nothing, in order, and nothing of it is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from catchment.errors import Malformed, QueueFull, Retry, StorageError
from catchment.queues import Queue
from catchment.queues.outbox import Outbox
from catchment.queues.outbox_config import OutboxConfig
from catchment.queues.outbox_lanes import Lane, adopt, new_lane, waiting
from catchment.queues.sqlite import Config, SqliteQueue
from catchment.testing.queues import MANY_BYTES, Factory, QueueConformance

QUICK = OutboxConfig(patience_s=0.3)
PATIENCE_S = 30.0


def open_with_outbox(folder: Path, config: OutboxConfig = QUICK) -> Outbox:
    return Outbox(SqliteQueue(Config(), folder / "broker"), folder / "outbox", config)


class TestOutboxInFrontOfAQueue(QueueConformance):
    """It is a queue like any other."""

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return partial(open_with_outbox, tmp_path, OutboxConfig())


class Line(SqliteQueue):
    """A queue that can be told to fail, or to say nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Config(), folder / "broker")
        self.error: Exception | None = None
        self.silent = threading.Event()
        self.asked = 0

    def publish(self, messages: Sequence[bytes]) -> None:
        self.asked += 1
        while self.silent.is_set():
            time.sleep(0.01)
        if self.error is not None:
            raise self.error
        super().publish(messages)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


@pytest.fixture
def box(line: Line, tmp_path: Path) -> Iterator[Outbox]:
    with contextlib.closing(Outbox(line, tmp_path / "outbox", QUICK)) as opened:
        yield opened
        line.silent.clear()
        line.error = None


def until(condition: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def received(queue: Queue) -> list[bytes]:
    """What the queue has, each once: what comes twice is a copy."""
    bodies: dict[bytes, None] = {}
    while delivery := queue.receive(MANY_BYTES, 0.1):
        bodies.update(dict.fromkeys(message.body for message in delivery.messages))
        queue.ack([delivery])
    return list(bodies)


def test_without_trouble_nothing_touches_the_disk(box: Outbox, tmp_path: Path) -> None:
    box.publish([b"1", b"2"])
    assert received(box) == [b"1", b"2"]
    assert not (tmp_path / "outbox").exists()
    assert box.trouble == ""


@pytest.mark.parametrize("error", [Retry("down"), StorageError("wrong password"), QueueFull("full")])
def test_what_fails_waits_on_disk_and_comes_in_order(box: Outbox, line: Line, error: Exception) -> None:
    box.publish([b"0"])
    line.error = error
    for number in range(1, 6):
        box.publish([b"%d" % number])
    assert box.trouble == str(error)
    assert box.waiting().messages == 5
    assert received(line) == [b"0"]
    assert (box.stats().messages, box.stats().bytes) == (5, 5)
    line.error = None
    box.publish([b"6"])
    until(lambda: not box.trouble)
    box.publish([b"7"])
    assert received(line) == [b"%d" % number for number in range(1, 8)]
    assert box.waiting().messages == 0


def test_nobody_waits_for_a_silent_queue_for_longer_than_the_patience(box: Outbox, line: Line) -> None:
    line.silent.set()
    began_s = time.monotonic()
    box.publish([b"1"])
    assert 0.25 < time.monotonic() - began_s < PATIENCE_S / 3
    asked = line.asked
    for number in range(2, 20):
        box.publish([b"%d" % number])
    assert line.asked <= asked + 1, "everyone asks it, rather than one thread alone"
    assert "has said nothing for 0.3 s" in box.trouble
    line.silent.clear()
    until(lambda: not box.trouble)
    box.publish([b"20"])
    assert received(line) == [b"%d" % number for number in range(1, 21)]


def test_a_busy_publisher_comes_back_to_the_queue_and_keeps_its_order(box: Outbox, line: Line) -> None:
    sent: list[list[bytes]] = [[] for _ in range(3)]
    done = threading.Event()

    def publish(of: int) -> None:
        while not done.is_set():
            body = b"%d:%06d" % (of, len(sent[of]))
            box.publish([body])
            sent[of].append(body)

    threads = [threading.Thread(target=publish, args=(of,)) for of in range(3)]
    for thread in threads:
        thread.start()
    for trouble in range(6):
        time.sleep(0.1)
        line.error = Retry("down")
        until(lambda: box.trouble)
        time.sleep(0.05 * trouble)
        line.error = None
        until(lambda: not box.trouble)  # although nobody pauses
    done.set()
    for thread in threads:
        thread.join()
    came = received(line)
    for of in range(3):
        assert [body for body in came if body.startswith(b"%d:" % of)] == sent[of]


def test_a_full_outbox_holds_publishers_back(line: Line, tmp_path: Path) -> None:
    line.error = Retry("down")
    small = OutboxConfig(patience_s=0.3, max_bytes=1_000_000)

    def fill(box: Outbox) -> None:
        for number in range(30):
            box.publish([b"%02d" % number * 50_000])

    with contextlib.closing(Outbox(line, tmp_path / "outbox", small)) as box:
        with pytest.raises(QueueFull, match=r"outbox in .* maximum of 1,000,000 bytes") as caught:
            fill(box)
        assert "[outbox]" in caught.value.hint
        line.error = None
        until(lambda: not box.trouble)
        box.publish([b"goes on"])


def test_what_is_wrong_with_a_message_is_the_publishers_to_hear(box: Outbox, line: Line) -> None:
    line.error = Malformed("oversized", "too large")
    with pytest.raises(Malformed):
        box.publish([b"1"])
    assert box.trouble == ""


def test_a_full_disk_is_said(line: Line, tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("no folder")
    line.error = Retry("down")
    with contextlib.closing(Outbox(line, tmp_path / "outbox", QUICK)) as box:
        with pytest.raises(StorageError, match="outbox"):
            box.publish([b"1"])
        line.error = None
        until(lambda: _has_published(box, b"2"))
        assert received(line) == [b"2"]


def _has_published(box: Outbox, body: bytes) -> bool:
    with contextlib.suppress(StorageError):
        box.publish([body])
        return True
    return False


CHILD = """
import sys
from pathlib import Path
from catchment.errors import Retry
from tests.queues.test_outbox import QUICK, Line
from catchment.queues.outbox import Outbox
folder, name = Path(sys.argv[1]), sys.argv[2].encode()
line = Line(folder)
line.error = Retry("down")
box = Outbox(line, folder / "outbox", QUICK)
number = 0
while True:
    box.publish([b"%b:%06d" % (name, number)])
    print(number, flush=True)
    number += 1
"""


def test_what_a_killed_publisher_left_is_drained_by_another_before_its_own(tmp_path: Path, line: Line) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), name],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for name in "ab"
    ]
    confirmed = []
    for child in children:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(30)]
        child.send_signal(signal.SIGKILL)
        said += [int(each) for each in child.stdout.read().split(b"\n")[:-1]]
        child.wait()
        child.stdout.close()
        confirmed.append(said)
    assert (waiting(tmp_path / "outbox").messages or 0) >= 60
    with contextlib.closing(Outbox(line, tmp_path / "outbox", QUICK)) as box:
        box.publish([b"mine"])
        until(lambda: not box.trouble)
    with contextlib.closing(SqliteQueue(Config(), tmp_path / "broker")) as broker:
        came = received(broker)
    assert came[-1] == b"mine"
    for name, said in zip(b"ab", confirmed, strict=True):
        of_this = [int(body[2:]) for body in came if body[0] == name]
        assert of_this[: len(said)] == said
        assert of_this == list(range(len(of_this)))
    assert [*(tmp_path / "outbox").iterdir()] == [], "drained lanes are removed"


def test_counting_what_waits_outlives_lanes_that_go_meanwhile(tmp_path: Path) -> None:
    """As `catchment status` does while another process drains."""
    ended = threading.Event()
    counted: list[int] = []

    def count() -> None:
        while not ended.is_set():
            counted.append(waiting(tmp_path).messages or 0)

    with ThreadPoolExecutor() as threads:
        counting = threads.submit(count)
        for _ in range(60):
            lane = new_lane(tmp_path, 1_000_000)
            lane.publish([b"x"])
            delivery = lane.receive(1)
            assert delivery is not None
            lane.ack(delivery)
            lane.leave()
            if counting.done():
                break
        ended.set()
        counting.result()
    assert set(counted) == {0, 1}


def test_a_process_adopts_what_another_leaves_while_it_runs(
    box: Outbox, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []

    def looking(folder: Path, max_bytes: int) -> list[Lane]:
        found = adopt(folder, max_bytes)
        looks.append(folder)
        return found

    monkeypatch.setattr("catchment.queues.outbox._ADOPT_EVERY_S", 0.1)
    monkeypatch.setattr("catchment.queues.outbox.adopt", looking)
    box.start()
    other = Line(tmp_path)
    other.error = Retry("down")
    leaving = Outbox(other, tmp_path / "outbox", QUICK)
    leaving.publish([b"left"])
    before = len(looks)
    until(lambda: len(looks) > before + 2)
    assert received(line) == [], "a lane of a process that lives is its own"
    leaving.close()
    until(lambda: waiting(tmp_path / "outbox").messages == 0)
    assert received(line) == [b"left"]
    assert box.trouble == ""
