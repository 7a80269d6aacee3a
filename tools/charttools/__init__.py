"""What the chart is checked with (helm, kubeconform, helm-unittest), built from pinned sources.

Nothing here is part of the product: no module of the operator may import this package.
"""

from charttools.tools import ChartTools, ensure, tools_dir

__all__ = ["ChartTools", "ensure", "tools_dir"]
