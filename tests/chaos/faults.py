"""Deals the blows of a schedule: to the API server and etcd, and to the operator and its line."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from chaos.schedule import Blow, Fault
from chaos.truth import REPAIR_SECONDS, TIMEOUT_SECONDS
from controlplane.ports import free_port
from support.background import BackgroundLoop
from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.proxy import HOST, TcpProxy

FLAGS = (
    f"--resync-interval={REPAIR_SECONDS:g}",
    f"--heartbeat-timeout={TIMEOUT_SECONDS:g}",
)


class Stage:
    """The processes of one run. Its methods block; those of one lane come one after another.

    ``on_end`` is called when the operator has ended. ``operator_out`` is true while it is not
    expected to answer.
    """

    def __init__(
        self,
        cluster: Cluster,
        background: BackgroundLoop,
        start_operator: Start,
        on_end: Callable[[], None],
        options: Mapping[str, Any],
    ) -> None:
        self._plane = cluster.plane
        self._cluster = cluster
        self._background = background
        self._line = background.enter(TcpProxy(HOST, cluster.plane.port))
        self._port = free_port()
        self._start = start_operator
        self._options = options
        self._on_end = on_end
        self.operator_out = True
        self.out_until = 0.0
        self.logs: list[Callable[[], str]] = []
        self.operator = self._started()

    @property
    def url(self) -> str:
        """The operator's endpoint, the same over all its restarts."""
        return f"http://{HOST}:{self._port}"

    def _started(self) -> OperatorProcess:
        operator = self._start(
            self._cluster, *FLAGS, f"--port={self._port}",
            server=self._line.url, ready=False, **self._options,
        )  # fmt: skip
        self.logs.append(operator.log)
        assert str(operator.http.base_url).startswith(self.url)
        self._is_back()
        return operator

    def suffer(self, fault: Fault) -> None:
        """Deal a blow, and take it back after its time."""
        with self._blow(fault.blow):
            time.sleep(fault.lasts)

    def _blow(self, blow: Blow) -> AbstractContextManager[None]:
        plane, line, call = self._plane, self._line, self._background.call
        dealt: dict[Blow, Callable[[], AbstractContextManager[None]]] = {
            Blow.APISERVER_KILLED: lambda: _between(plane.kill_apiserver, plane.start_apiserver),
            Blow.APISERVER_STOPPED: lambda: _between(plane.stop_apiserver, plane.start_apiserver),
            Blow.APISERVER_PAUSED: lambda: _between(plane.pause_apiserver, plane.resume_apiserver),
            Blow.ETCD_KILLED: lambda: _between(plane.kill_etcd, plane.start_etcd),
            Blow.ETCD_STOPPED: lambda: _between(plane.stop_etcd, plane.start_etcd),
            Blow.ETCD_PAUSED: lambda: _between(plane.pause_etcd, plane.resume_etcd),
            Blow.OPERATOR_KILLED: lambda: self._down(self.operator.kill),
            Blow.OPERATOR_STOPPED: lambda: self._down(self._stop_operator),
            Blow.OPERATOR_PAUSED: self._paused,
            Blow.LINE_CUT: lambda: _between(lambda: call(line.cut), lambda: None),
            Blow.LINE_DOWN: lambda: _between(self._take_line_down, self._bring_line_up),
            Blow.LINE_STALLED: lambda: _between(
                lambda: call(line.stall), lambda: call(line.resume)
            ),
            Blow.LINE_STALLED_OPEN: lambda: _between(
                lambda: call(line.stall_open), lambda: call(line.cut)
            ),
            Blow.HISTORY_LOST: lambda: _between(self._take_line_down, self._lose_history),
        }
        return dealt[blow]()

    def _take_line_down(self) -> None:
        self._background.call(self._line.refuse)
        self._background.call(self._line.cut)

    def _bring_line_up(self) -> None:
        self._background.run(self._line.accept())

    def _lose_history(self) -> None:
        """What happened meanwhile is told to no watch."""
        self._plane.compact_etcd()
        self._plane.restart_apiserver()
        self._bring_line_up()

    def _stop_operator(self) -> None:
        assert self.operator.stop() == 0, self.operator.log()

    @contextmanager
    def _down(self, end: Callable[[], object]) -> Iterator[None]:
        self.operator_out = True
        end()
        self._on_end()
        yield
        self.operator = self._started()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        self.operator_out = True
        self.operator.process.send_signal(signal.SIGSTOP)
        yield
        self.operator.process.send_signal(signal.SIGCONT)
        self._is_back()

    def _is_back(self) -> None:
        self.out_until, self.operator_out = time.monotonic(), False

    def was_out(self, since: float) -> bool:
        """Whether the operator was not expected to answer at any time since."""
        return self.operator_out or self.out_until >= since


@contextmanager
def _between(begin: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    begin()
    yield
    end()
