"""Mechanisms that can be left out of an operator's process, for a test to fail without them.

Each is a function that patches one thing away. What it patches has to be there: after a renaming
the operator does not start, and says so. The modules are by theme, and enter what they have into
the table.
"""

from __future__ import annotations

from support.left_out import checks, resources, routers, seeing
from support.left_out.table import LEFT_OUT

__all__ = ["LEFT_OUT", "checks", "resources", "routers", "seeing"]
