"""How a long command is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support import SECONDS, wait_until
from wordtide.cli.signals import Interrupts
from wordtide.config import PROJECT_ROOT
from wordtide.system.process import ProcessId


@pytest.fixture
def hang_ups_count() -> Iterator[None]:
    """The tests themselves may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_ups_count")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_later_ones_do_not(number: signal.Signals) -> None:
    with Interrupts():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)


def test_an_interrupt_that_was_swallowed_comes_back_at_the_next_check() -> None:
    with Interrupts() as interrupts:
        interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_nothing_interrupts_the_end() -> None:
    with Interrupts() as interrupts:
        interrupts.end()
        os.kill(os.getpid(), signal.SIGINT)
        interrupts.check()


def test_an_ignored_ctrl_c_counts_again_but_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGHUP, before[1])


@contextmanager
def guarded(end: str) -> Iterator[tuple[subprocess.Popen[str], ProcessId]]:
    """Run a program that starts another and, interrupted, goes on for long; yield it and the one it started."""
    program = (
        "import subprocess, sys, time\n"
        "from wordtide.cli.signals import Guard, Interrupts, end_at_once\n"
        "Guard(end_at_once)\n"
        f"with Interrupts({end}) as interrupts:\n"
        "    child = subprocess.Popen(\n"
        "        [sys.executable, '-c', 'import time; time.sleep(600)'],\n"
        # Our pipe is not its: where the program ends, reading does.
        "        stdout=subprocess.DEVNULL, start_new_session=True)\n"
        "    try:\n"
        "        print(child.pid, flush=True)\n"
        "        time.sleep(600)\n"
        "    finally:\n"
        "        print('ending', flush=True)\n"
        "        time.sleep(600)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True, cwd=PROJECT_ROOT
    ) as run:
        try:
            assert run.stdout is not None
            child = ProcessId.of(int(run.stdout.readline()))
            assert child is not None
            run.send_signal(signal.SIGINT)
            assert run.stdout.readline() == "ending\n"
            yield run, child
        finally:
            run.kill()


def test_an_end_that_takes_too_long_is_cut_short_with_all_that_was_started() -> None:
    with guarded("seconds=0.2") as (run, child):
        _, said = run.communicate(timeout=SECONDS)
    assert (run.returncode, said) == (130, "")
    wait_until("what it started has ended", lambda: not child.alive())


def test_a_second_ctrl_c_ends_at_once() -> None:
    with guarded("seconds=600") as (run, child):
        # Others may pass the first one on, so a second within a tenth of a second is none.
        while run.poll() is None:
            run.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                run.wait(0.2)
        said = run.communicate(timeout=SECONDS)[1]
    assert (run.returncode, said) == (130, "")
    wait_until("what it started has ended", lambda: not child.alive())


def test_a_command_in_the_background_of_a_script_goes_on_ignoring_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts(ignored=True):
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)
