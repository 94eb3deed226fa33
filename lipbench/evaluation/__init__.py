"""The pruned evaluation of a zoo: what is certified, and which attack sees which sample."""
