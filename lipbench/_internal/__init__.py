"""Parts that every room uses and no user needs: files, schemas, registries, processes, precision of torch."""
