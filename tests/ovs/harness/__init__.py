"""A private Open vSwitch and what can be read from it."""
