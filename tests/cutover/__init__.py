"""Cutover: moving a unit's operations from one system to the other."""
