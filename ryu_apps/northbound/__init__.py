"""HTTP connections: what passes between the clients of REST and its application, in bounded time."""
