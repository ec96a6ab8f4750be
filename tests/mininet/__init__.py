"""The network tier: real hosts in namespaces behind the system's Open vSwitch; needs root."""
