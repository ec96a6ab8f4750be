"""The durable desired state: what was acknowledged is there again after a crash."""
