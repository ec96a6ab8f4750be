"""What scenarios and tests share: waiting, REST calls, processes, networks and load."""
