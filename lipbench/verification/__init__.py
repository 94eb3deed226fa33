"""Do the certificates hold? The linter of claims, attacks inside certified radii, and witnesses."""
