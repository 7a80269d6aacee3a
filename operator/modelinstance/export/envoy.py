"""``envoy-file``: the endpoints of one Envoy cluster (EDS from the file system, v3).

Envoy takes a file with exactly one ClusterLoadAssignment: one file for one model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from modelinstance.client.watching import Instance
from modelinstance.export.rendering import Rendering, ordered

TYPE_URL = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
WEIGHT_SCALE = 100
"""Envoy's weights are whole numbers from 1: the usual weight of 1.0 is 100."""
MOST_WEIGHT = 2**32 - 1
"""The weights of all endpoints together must not be more."""


class EnvoyEndpoints:
    """A format: the endpoints of the cluster whose (service) name is ``cluster``."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster

    def __call__(self, instances: Iterable[Instance]) -> Rendering:
        """The file. Its version changes with its endpoints alone."""
        left_out: dict[str, str] = {}
        places: dict[tuple[str, int], float] = {}
        for instance in ordered(instances):
            try:
                host = ip_address(instance.host).compressed
            except ValueError:
                left_out[instance.key] = f"Envoy resolves no name here, like {instance.host}"
                continue
            place = (host, instance.port)
            places[place] = max(places.get(place, 0.0), instance.weight)
        most = MOST_WEIGHT // max(len(places), 1)
        endpoints = [
            _endpoint(host, port, min(max(round(weight * WEIGHT_SCALE), 1), most))
            for (host, port), weight in sorted(places.items())
        ]
        assignment = {
            "@type": TYPE_URL,
            "cluster_name": self._cluster,
            "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
        }
        version = sha256(json.dumps(assignment).encode()).hexdigest()[:16]
        response = {"version_info": version, "type_url": TYPE_URL, "resources": [assignment]}
        return Rendering(json.dumps(response, indent=2, ensure_ascii=False) + "\n", left_out)


def _endpoint(host: str, port: int, weight: int) -> dict[str, Any]:
    return {
        "endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}},
        "load_balancing_weight": weight,
    }
