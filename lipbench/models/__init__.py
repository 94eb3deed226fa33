"""Models on disk and in memory: cards, zoos, stored networks, architectures and the layers they are built from."""
