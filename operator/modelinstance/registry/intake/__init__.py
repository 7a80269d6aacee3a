"""What comes in beside the resources: from workers, routers, probes and pods."""
