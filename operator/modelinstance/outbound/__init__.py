"""Connections to addresses that users name: the only place where the operator makes any."""
