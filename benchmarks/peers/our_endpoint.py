"""Our endpoint over a registry that was filled directly: 100,000 instances within seconds.

The view is a mirror's, as with `modelinstance run`: how current it is has to be worked out for each
answer. The cluster was listed once.
"""

from __future__ import annotations

from typing import Any

from modelinstance.http.access import OpenAccess
from modelinstance.http.endpoint import Endpoint
from modelinstance.metrics.exposition import exposition
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.instance import InstanceKey, InstanceSpec
from modelinstance.registry.mirror.mirror import WHOLE_CLUSTER, Mirror
from modelinstance.registry.mirror.view import ViewState
from modelinstance.standalone import StandaloneDesk
from peers import fleet

DAY = 24 * 3600.0


class FilledDesk(StandaloneDesk):
    """What the endpoint reads."""

    def __init__(self, wanted: fleet.Fleet) -> None:
        registry = EmbeddedModelRegistry(heartbeat_interval_secs=0, heartbeat_timeout_secs=DAY)
        super().__init__(registry, default_namespace="default", remove_after=DAY)
        self.mirror = Mirror(self.records, scopes=(WHOLE_CLUSTER,), resync_interval=DAY)
        self.mirror.end_list(self.mirror.begin_list(WHOLE_CLUSTER), {}, 1)
        for number, (model, host) in enumerate(wanted):
            spec = InstanceSpec(model, host, fleet.PORT)
            key = InstanceKey("default", f"instance-{number:06}")
            self.records.beat(self.records.put(key, f"uid-{number}", spec, created=number))

    def view_state(self) -> ViewState:
        """How far the answers can be trusted."""
        return self.mirror.state()


def build(wanted: fleet.Fleet) -> Any:
    """The app, and the protocol that reads its requests."""
    desk = FilledDesk(wanted)
    endpoint = Endpoint(desk, exposition(desk, desk.mirror), OpenAccess())
    return endpoint.app, endpoint.protocol


if __name__ == "__main__":
    fleet.main(build)
