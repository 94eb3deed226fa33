"""Who computes what: leases on tasks, and the executors that run them."""
