"""Mininet topologies; each file carries a `topos` table for `mn --custom`."""
