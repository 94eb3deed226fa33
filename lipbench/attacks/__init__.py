"""The upper bound: attacks behind one guard, the network as they see it, and the suites that list them."""
