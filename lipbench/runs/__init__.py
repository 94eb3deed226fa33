"""What a run has on disk: its plan, its records, the bounds they give, its journal and its state."""
