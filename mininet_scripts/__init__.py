"""Runnable scenarios: each builds a network, drives it, prints what it saw and ends with an exit code."""
