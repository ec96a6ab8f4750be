"""OpenFlow at the edge: encoding and decoding, the receive loop, one outbox per datapath."""
