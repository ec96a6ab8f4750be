"""Frozen values that describe network and policy; nothing here decides or talks."""
